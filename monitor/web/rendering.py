"""The one Jinja environment of every page: it escapes everything, and an undefined name is an error."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from alerts.wording import event_text, sentence
from monitor.web.errors import NoSuch
from monitor.web.static_files import static_path
from stream.domain.alerts import EvidenceItem
from stream.domain.budgets import MARK
from stream.domain.documents import Precision
from stream.storage.desk.freshness import short_duration

# Scores below this are shown as neither good nor bad.
CLEAR = 0.05
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, /, fragment: str | None = None, **values: Any) -> str:
    """The HTML of a file in `templates`, or of the block of that name alone.

    Raises NoSuch if there is no such block.
    """
    found = environment().get_template(template)
    if fragment is None:
        return found.render(**values)
    if fragment not in found.blocks:
        raise NoSuch("no such part of this page")
    return "".join(found.blocks[fragment](found.new_context(values)))


@cache
def environment() -> jinja2.Environment:
    """The environment with the templates and filters of this package."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    made.filters |= {
        "mark_words": mark_words,
        "is_web_url": is_web_url,
        "path_segment": path_segment,
        "format_time": format_time,
        "format_published": format_published,
        "format_number": format_number,
        "format_duration": format_duration,
        "event_text": event_text,
        "sentence": sentence,
        "message_time": message_time,
        "time_tag": time_tag,
        "short_time": short_time,
        "short_duration": short_duration,
        "score": score,
        "signed": signed,
        "tone": tone,
    }
    # Of a page that is made without a visitor; a handler gives its own.
    made.globals |= {
        "prefix": "",
        "path": "",
        "user": None,
        "csrf": "",
        "can_log_out": False,
        "static_path": static_path,
    }
    return made


def mark_words(text: str, words: Sequence[str]) -> Markup:
    """The escaped text, with the words that carried its sentiment marked; of a cut word, its beginning."""
    if not words:
        return escape(text)
    shown = [word.removesuffix(MARK) or word for word in words]
    pattern = re.compile("|".join(re.escape(word) for word in sorted(shown, key=len, reverse=True)))
    marked, end = Markup(), 0
    for match in pattern.finditer(text):
        marked += escape(text[end : match.start()]) + Markup("<mark>{}</mark>").format(match.group())
        end = match.end()
    return marked + escape(text[end:])


def is_web_url(url: str | None) -> bool:
    """Whether a document's own address may become a link."""
    return bool(url) and str(url).startswith(("https://", "http://"))


def path_segment(text: str) -> str:
    """An id as one segment of a path, whatever it contains."""
    return quote(text, safe="")


def format_time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time else "-"


def time_tag(time: datetime | str | None) -> Markup:
    """A time that the browser shows in its own zone; without JavaScript it is in UTC."""
    if not time:
        return Markup("-")
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), format_time(moment))


def short_time(time: datetime | None) -> Markup:
    """The same where there is little room: UTC is in its tooltip alone."""
    if time is None:
        return Markup("-")
    return Markup('<time datetime="{}" data-short>{}</time>').format(time.isoformat(), format_time(time))


def signed(value: float | None) -> str:
    """A score or a difference of scores with its sign, such as +0.12."""
    if value is None:
        return "-"
    rounded = round(value, 2)
    return f"{rounded:+.2f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.00"


def score(value: float | None) -> Markup:
    """A mean score in its colour; no data is not the same as a neutral mood."""
    if value is None:
        return Markup('<span class="quiet">no texts</span>')
    return Markup('<span class="{}">{}</span>').format(tone(value), signed(value))


def tone(value: float | None) -> str:
    """The class of a score: good, bad, or none around zero."""
    if value is None or abs(value) < CLEAR:
        return ""
    return "good" if value > 0 else "bad"


def message_time(time: datetime | str) -> str:
    """A time of a message, which JSON makes a text."""
    return format_time(datetime.fromisoformat(time) if isinstance(time, str) else time)


def format_published(item: EvidenceItem) -> str:
    """When a document was published, as far as that is known."""
    match item.precision:
        case Precision.EXACT:
            return format_time(item.published_at)
        case Precision.DAY:
            return f"{item.published_at:%Y-%m-%d}, time unknown"
        case Precision.SEEN:
            return f"first seen {format_time(item.published_at)}"


def format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def format_duration(duration: timedelta) -> str:
    """Hours and minutes, such as 2 h 05 min."""
    minutes = round(duration.total_seconds() / 60)
    sign, minutes = ("-" if minutes < 0 else ""), abs(minutes)
    return f"{sign}{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{sign}{minutes} min"

"""The digest of a day as a message, in smaller forms, and as text.  Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import jinja2

from alerts.delivery.page_text import markdown_text, plain_text
from alerts.incidents.digest import Digest, Mood, Move, digest_key
from alerts.wording import number_text
from stream.domain.alerts import Severity
from stream.domain.budgets import cut
from stream.domain.incidents import LONGEST_TITLE, Incident, StoryBegun

# The `state` of the message: it tells of no change of an alert.
DIGEST = "digest"
LONGEST_HEADLINE = 200
# The lists of a message, those that a smaller form leaves out first.
LISTS = ("new_entities", "new_stories", "gaps", "moves", "incidents")


def is_digest(message: Mapping[str, Any]) -> bool:
    """Whether a message is the digest of a day."""
    return message.get("state") == DIGEST


def digest_message(
    digest: Digest, zone: str, incident_link: Callable[[str], str], link: str = ""
) -> dict[str, Any]:
    """The JSON of a digest.  It has what receivers look for in any page: key, title, message, severity and
    link.  Times are in UTC; `zone` is that of the digest's day."""
    key, title = digest_key(digest.day), _title(digest)
    return {
        "key": key,
        "id": key,
        "rule": DIGEST,
        "topic": "all",
        "state": DIGEST,
        "severity": Severity.INFO,
        "title": title,
        "message": title,
        "summary": title,
        "link": link,
        "labels": {},
        "sources": {},
        "evidence": [],
        "day": digest.day,
        "zone": zone,
        "from": digest.covered.start,
        "until": digest.covered.end,
        "counted": digest.counted,
        "total": _mood(digest.total),
        "before": _mood(digest.before),
        "compared": digest.compared,
        "moves": [_move(move) for move in digest.moves],
        "incidents": [_incident(one, incident_link(one.id)) for one in digest.incidents],
        "incident_count": digest.incident_count,
        "new_stories": [_story(story) for story in digest.new_stories],
        "new_entities": None if digest.new_entities is None else list(digest.new_entities),
        "gaps": list(digest.gaps),
        "missing": list(digest.missing),
    }


def _title(digest: Digest) -> str:
    count, quiet = digest.incident_count, len(digest.quiet_incidents)
    incidents = f"{count or 'no'} {'incident' if count == 1 else 'incidents'}"
    parts = [incidents + (f" ({quiet} paged nobody)" if quiet else "")]
    if digest.moves:
        first, others = digest.moves[0], len(digest.moves) - 1
        direction = "better" if first.change > 0 else "worse"
        parts.append(f"{first.name} {direction}" + (f", {others} more moved" if others else ""))
    if not digest.total.n:
        parts.append("no documents")
    return cut(f"{digest.day:%A} {digest.day.day} {digest.day:%B}: {'; '.join(parts)}", LONGEST_TITLE)


def _mood(mood: Mood) -> dict[str, Any]:
    """Unknown is absent: nothing has no mean, and one document no error."""
    error = mood.error if mood.n > 1 else None
    return {"n": mood.n, "mean": mood.mean if mood.n else None, "error": error}


def _move(move: Move) -> dict[str, Any]:
    return {
        "name": cut(move.name, LONGEST_HEADLINE),
        "entity": move.entity,
        "now": _mood(move.now),
        "before": _mood(move.before),
        "change": move.change,
        "margin": move.margin,
    }


def _incident(incident: Incident, link: str) -> dict[str, Any]:
    return {
        "id": incident.id,
        "title": incident.title or ", ".join(incident.lead_entities[:3]) or "without a page",
        "severity": incident.severity,
        "began_at": incident.began_at,
        "ended_at": incident.over_since,
        "pages": incident.paged_number,
        "paged": bool(incident.told),
        "link": link,
    }


def _story(story: StoryBegun) -> dict[str, Any]:
    headline = story.headline
    return {
        "story": headline.story,
        "headline": cut(headline.text, LONGEST_HEADLINE),
        "source": headline.source,
        "first_seen_at": headline.first_seen_at,
        "first_seen_by": headline.first_seen_by,
        "voices": story.voices,
        "documents": story.documents,
    }


def digest_forms(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A digest, and the same with less and less in it; one with less says so: `shortened` is true."""
    yield message
    form = dict(message)
    for name in LISTS:
        form = {**form, name: [], "shortened": True}
        yield form


@dataclass(frozen=True)
class DigestTexts:
    """Writes digests as text, by the templates' environment of pages: it makes what comes from others
    harmless."""

    templates: jinja2.Environment

    def __call__(self, message: Mapping[str, Any]) -> tuple[str, str]:
        """A digest as (title, body); times are by the clocks of its zone."""
        fields = {
            "page": message,
            "local": partial(_local, zone=ZoneInfo(message["zone"])),
            "number": number_text,
            "score": lambda value: "unknown" if value is None else f"{value:+.2f}",
        }
        title = self.templates.get_template("title").render(fields)
        return title, self.templates.get_template("body").render(fields).rstrip("\n")


def _local(time: datetime | str, zone: ZoneInfo) -> str:
    """A time of a message, which JSON makes a text."""
    at = (datetime.fromisoformat(time) if isinstance(time, str) else time).astimezone(zone)
    return f"{at.day} {at:%b %H:%M}"


TEMPLATES = {
    "title": "{{ page.title }}",
    "body": """\
From {{ local(page["from"]) }} to {{ local(page.until) }} ({{ page.zone }}).
{% for text in page.missing %}
Missing: {{ text }}.
{% endfor %}
{% for gap in page.gaps %}
Missing: no documents from {{ local(gap.start) }} to {{ local(gap.end) }}, where the day before had some.
{% endfor %}

{{ number(page.total.n, page.counted) }}, mean score {{ score(page.total.mean) }};
{{- " " }}the day before {{ page.before.n }}, {{ score(page.before.mean) }}.
{% if page.compared is not none %}
{% if page.moves %}
Moved beyond chance, of {{ page.compared }} topics and entities:
{% for move in page.moves %}
- {{ move.name }}: mean score {{ score(move.now.mean) }}, {{ score(move.before.mean) }} the day before
{{- " " }}(change {{ score(move.change) }} ± {{ "%.2f" | format(move.margin) }};
{{- " " }}{{ number(move.now.n, page.counted) }}, {{ move.before.n }} before)
{% endfor %}
{% elif page.compared and not page.shortened is defined %}
None of {{ page.compared }} topics and entities moved beyond chance.
{% endif %}
{% endif %}

{% if page.incident_count %}
Incidents: {{ page.incident_count }}
{% for one in page.incidents %}
- {{ local(one.began_at) }}, {{ one.title }} ({{ one.severity }};
{{- " " }}{{ "paged nobody" if not one.paged else "1 page" if one.pages == 1 else one.pages ~ " pages" }};
{{- " " }}{{ "still open" if one.ended_at is none else "over at " ~ local(one.ended_at) }})
{% endfor %}
{% else %}
No incidents.
{% endif %}
{% if page.new_stories %}

New stories, those with the most voices:
{% for story in page.new_stories %}
- {{ story.source }}: {{ story.headline }} ({{ number(story.voices, "voices") }}; first seen
{{- " " }}{{ local(story.first_seen_at) }} by {{ story.first_seen_by }})
{% endfor %}
{% endif %}
{% if page.new_entities %}

First seen: {% for one in page.new_entities %}
{{ one.name }} ({{ number(one.n, page.counted) }}){{ "" if loop.last else ", " }}
{%- endfor +%}
{% endif %}
{% if page.shortened is defined %}

(shortened)
{% endif %}
{% if page.link %}

{{ page.link | address }}
{% endif %}
""",
}


def _texts(pages: jinja2.Environment) -> DigestTexts:
    return DigestTexts(pages.overlay(loader=jinja2.DictLoader(TEMPLATES)))


digest_plain_text = _texts(plain_text.templates)
digest_markdown_text = _texts(markdown_text.templates)

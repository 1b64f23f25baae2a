"""The pages behind an alert's link: what fired, on what evidence, who was told.  Texts go in escaped."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from alerts.detectors.base import ALL_TOPICS
from stream.domain.alerts import Alert
from stream.domain.sums import window_start
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store

TEMPLATE = Path(__file__).with_suffix(".html")
LISTED = 100
# How much is shown before an alert began and after it ended: some times as long as its evidence spans.
SPANS, SHORTEST, LONGEST = 5, timedelta(minutes=20), timedelta(days=3)
BARS = 72


@dataclass(frozen=True)
class Bar:
    """Texts and negatives of a stretch of time."""

    start: datetime
    texts: int
    negative: int


class AlertPages:
    """/alerts lists the latest episodes, /alerts/ID shows one; read from SQL whenever asked for."""

    def __init__(self, alerts: SqlEpisodeStore, store: Store, clock: Callable[[], datetime]) -> None:
        self._alerts, self._store, self._clock = alerts, store, clock
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        environment.filters |= {"marked": marked, "web": is_web, "stamp": _stamp, "number": _number}
        self._template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))

    def get(self, path: str) -> str | None:
        """The HTML of a path; None where there is no such page.  Raises StoreUnavailable."""
        if path.rstrip("/") == "/alerts":
            return self._template.render(listed=self._alerts.recent_alerts(LISTED)[::-1], alert=None)
        id_ = path.removeprefix("/alerts/")
        alert = self._alerts.find(id_) if id_.isascii() and id_.isalnum() else None
        if alert is None:
            return None
        bars = self._bars(alert)
        return self._template.render(
            alert=alert,
            bars=bars,
            most=max((bar.texts for bar in bars), default=0) or 1,
            transitions=self._alerts.transitions(alert.id),
            deliveries=self._alerts.deliveries(alert.id),
        )

    def _bars(self, alert: Alert) -> list[Bar]:
        """The alert's topic around it, stretches without texts included."""
        oldest = min((exhibit.published_at for exhibit in alert.evidence), default=alert.since)
        around = min(max(SPANS * (alert.since - oldest), SHORTEST), LONGEST)
        now = self._clock()
        end = min(now, (alert.resolved_at or now) + around)
        width = max((end - alert.since + around) / BARS // self._store.width, 1) * self._store.width
        start = window_start(alert.since - around, width)
        bars = {start + i * width: Bar(start + i * width, 0, 0) for i in range((end - start) // width + 1)}
        for cell in self._store.reads.sums_by_window(start, end, width):
            if alert.topic in (ALL_TOPICS, cell.topic):
                bar = bars[cell.start]
                bars[cell.start] = Bar(bar.start, bar.texts + cell.n, bar.negative + cell.negative)
        return list(bars.values())


def marked(text: str, words: Sequence[str]) -> Markup:
    """The text with the words that carried its sentiment marked; all of it escaped."""
    if not words:
        return escape(text)
    found = re.compile("|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)))
    marked_text, at = Markup(), 0
    for match in found.finditer(text):
        marked_text += escape(text[at : match.start()]) + Markup("<mark>{}</mark>").format(match.group())
        at = match.end()
    return marked_text + escape(text[at:])


def is_web(url: str | None) -> bool:
    """Whether a document's own address may be a link."""
    return bool(url) and str(url).startswith(("https://", "http://"))


def _stamp(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "-"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}"

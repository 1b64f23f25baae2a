"""The pages behind links: of an incident, and of an alert by itself, with the evidence and who was told."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from alerts.detectors.base import ALL_TOPICS, DEFAULT_RELEVANCE
from alerts.incidents.joining import by_urgency
from monitor.web.rendering import path_segment
from stream.domain.alerts import Alert
from stream.domain.sums import Aggregate, MentionSelection, window_start
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store

LISTED_ALERTS = 100
# The chart shows this many times the evidence's time span before and after the alert, within limits.
MARGIN_SPANS, MIN_MARGIN, MAX_MARGIN = 5, timedelta(minutes=20), timedelta(days=3)
MAX_BARS = 72


@dataclass(frozen=True)
class Elsewhere:
    """The path of the page that tells of what was asked for."""

    path: str


@dataclass(frozen=True)
class Bar:
    """How many texts, and how many negative ones, in a stretch of time."""

    start: datetime
    texts: int
    negative: int


class AlertPages:
    """/alerts lists the latest alerts, /incidents/ID shows an incident with its alerts, /alerts/ID an alert
    that has none.  All are read from SQL at each request."""

    def __init__(
        self, alerts: SqlEpisodeStore, store: Store, clock: Callable[[], datetime], prefix: str = ""
    ) -> None:
        """`prefix` is the path under which a proxy publishes the monitor: every link begins with it."""
        self.episodes, self._store, self._clock, self._prefix = alerts, store, clock, prefix

    def alerts_values(self) -> dict[str, Any]:
        """What the list shows.  Raises StoreUnavailable."""
        return {"prefix": self._prefix, "alerts": self.episodes.recent_alerts(LISTED_ALERTS)[::-1]}

    def incident_values(self, id_: str) -> dict[str, Any] | None:
        """What the page of one incident shows; None if there is none with this id.

        Raises StoreUnavailable.
        """
        # PostgreSQL stores no NUL.
        incident = None if "\0" in id_ else self.episodes.incidents_of([id_]).get(id_)
        if incident is None:
            return None
        alerts = self.episodes.alerts_of(incident.id)
        bars = self._bars(min(alerts, key=by_urgency)) if alerts else []
        return {
            "prefix": self._prefix,
            "incident": incident,
            "pages": self.episodes.pages(incident.id),
            "alerts": alerts,
            "bars": bars,
            "highest": max((bar.texts for bar in bars), default=0) or 1,
            "deliveries": self.episodes.deliveries_of(incident.id),
        }

    def alert_values(self, id_: str) -> dict[str, Any] | Elsewhere | None:
        """What the page of one alert shows, or where its incident is; None if there is none with this id.

        Raises StoreUnavailable.
        """
        alert = None if "\0" in id_ else self.episodes.find(id_)
        if alert is None:
            return None
        if alert.incident is not None:
            incident, part = path_segment(alert.incident), path_segment(alert.id)
            return Elsewhere(f"{self._prefix}/incidents/{incident}#{part}")
        bars = self._bars(alert)
        return {
            "prefix": self._prefix,
            "alert": alert,
            "bars": bars,
            "highest": max((bar.texts for bar in bars), default=0) or 1,
            "transitions": self.episodes.transitions(alert.id),
            "deliveries": self.episodes.deliveries(alert.id),
        }

    def _bars(self, alert: Alert) -> list[Bar]:
        """Texts on the alert's topic, or about its entity, before, during and after it; a stretch without
        texts is an empty bar."""
        oldest = min((item.published_at for item in alert.evidence), default=alert.since)
        margin = min(max(MARGIN_SPANS * (alert.since - oldest), MIN_MARGIN), MAX_MARGIN)
        now = self._clock()
        end = min(now, (alert.resolved_at or now) + margin)
        width = max((end - alert.since + margin) / MAX_BARS // self._store.width, 1) * self._store.width
        start = window_start(alert.since - margin, width)
        bars = {start + i * width: Bar(start + i * width, 0, 0) for i in range((end - start) // width + 1)}
        for window in self._windows(alert, start, end, width):
            bar = bars[window.start]
            bars[window.start] = Bar(bar.start, bar.texts + window.n, bar.negative + window.negative)
        return list(bars.values())

    def _windows(self, alert: Alert, start: datetime, end: datetime, width: timedelta) -> list[Aggregate]:
        """The sums of what the alert is about.  An entity's have the relevance that rules have by default:
        the rule may have another, or be gone."""
        reads = self._store.reads
        if alert.entity is not None:
            mentions = MentionSelection((alert.entity,), DEFAULT_RELEVANCE)
            return reads.entity_sums_by_window(start, end, width, mentions)
        windows = reads.sums_by_window(start, end, width)
        return [window for window in windows if alert.topic in (ALL_TOPICS, window.topic)]

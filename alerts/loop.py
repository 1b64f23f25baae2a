"""The shell around the rules: read sums, let the pure parts decide, write what changed."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from alerts.evaluate import Watched, covered_seconds, observe
from alerts.lifecycle import FIRING, PENDING, RESOLVED, step
from alerts.metrics import AlertMetrics
from alerts.rules import ALL, NegativeSurgeRule, Rule, topics_of
from stream.nouns import Aggregate, Alert, Exhibit, printable, window_start

log = logging.getLogger(__name__)

EVIDENCE = 5
# A longer silence in the baseline is a feed that was away, and no part of the usual rate.
LONGEST_GAP = timedelta(hours=1)
# Many copies of one story must not push the others out of the evidence.
LOOKED_AT = 50


class AlertStore(Protocol):
    """What the loop needs of a store."""

    def sums(self, start: datetime, end: datetime) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""

    def windows(self, start: datetime, end: datetime) -> list[datetime]:
        """The starts of the windows with data in [start, end), in order."""

    def most_negative(self, topic: str | None, start: datetime, end: datetime, limit: int) -> list[Exhibit]:
        """The lowest-scored documents published in [start, end), on `topic` or on all of them."""

    def open_alerts(self) -> list[Alert]:
        """The episodes that are pending or firing."""

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        events: Sequence[tuple[str, dict[str, Any]]],
        pages: Sequence[tuple[str, dict[str, Any]]],
        now: datetime,
    ) -> None:
        """Write everything or nothing: episodes, ids to drop, events by key, pages by target."""


@dataclass(frozen=True, slots=True)
class Period:
    """A rule's window and baseline in event time, at one moment."""

    start: datetime
    end: datetime
    base_start: datetime | None


class AlertLoop:
    """Evaluates every rule on every topic; it keeps no state of its own between two calls."""

    def __init__(
        self,
        rules: Sequence[Rule],
        topics: Sequence[str],
        store: AlertStore,
        receivers: Sequence[str],
        width: timedelta,
        metrics: AlertMetrics,
    ) -> None:
        """`width` is that of the stored windows; `receivers` are the names of the webhooks."""
        self.rules, self._topics, self._store = rules, topics, store
        self._receivers, self._width, self._metrics = receivers, width, metrics

    def evaluate(self, now: datetime) -> list[Alert]:
        """Evaluate everything once, write what changed; the episodes that are open afterwards."""
        before = {(alert.rule, alert.topic): alert for alert in self._store.open_alerts()}
        after: list[Alert] = []
        ended = set(before)
        for rule in self.rules:
            period = self._period(rule, now)
            for topic, watched in self._watched(rule, period):
                alert = before.get((rule.name, topic))
                stepped = step(alert, rule, topic, observe(rule, topic, watched), now)
                if stepped is not None:
                    ended.discard((rule.name, topic))
                    after.append(self._with_evidence(alert, stepped, rule, period))
        self._write(before, after, ended, now)
        self._metrics.show(self.rules, self._topics, after)
        self._metrics.evaluated.set(now.timestamp())
        return [alert for alert in after if alert.state != RESOLVED]

    def _period(self, rule: Rule, now: datetime) -> Period:
        """The window ends now and holds whole stored windows; its last one is still filling."""
        start = window_start(now, self._width) - rule.window + self._width
        base = rule.baseline if isinstance(rule, NegativeSurgeRule) else None
        return Period(
            start=min(start, window_start(now, self._width)),
            end=now,
            base_start=window_start(now - base, self._width) if base else None,
        )

    def _watched(self, rule: Rule, period: Period) -> Iterable[tuple[str, Watched]]:
        window = self._store.sums(period.start, period.end)
        base: list[Aggregate] = []
        base_seconds = 0.0
        if period.base_start is not None:
            base = self._store.sums(period.base_start, period.start)
            starts = self._store.windows(period.base_start, period.start)
            base_seconds = covered_seconds(starts, period.start, max(LONGEST_GAP, 4 * rule.window))
        for topic in topics_of(rule, self._topics):
            yield (
                topic,
                Watched(
                    window=_total(window, rule, topic, period.start),
                    seconds=max(1.0, (period.end - period.start).total_seconds()),
                    base=_total(base, rule, topic, period.start),
                    base_seconds=base_seconds,
                    alive=bool(window),
                ),
            )

    def _with_evidence(self, before: Alert | None, alert: Alert, rule: Rule, period: Period) -> Alert:
        """Evidence is gathered once, when the episode begins to fire, and stays with it."""
        if alert.state != FIRING or (before and before.state == FIRING):
            return alert
        topic = None if alert.topic == ALL else alert.topic
        found = self._store.most_negative(topic, period.start, period.end, LOOKED_AT)
        stories = {exhibit.content.casefold(): exhibit for exhibit in reversed(found)}
        worst = sorted(stories.values(), key=lambda exhibit: exhibit.score)
        return replace(alert, evidence=tuple(worst[:EVIDENCE]))

    def _write(
        self,
        before: dict[tuple[str, str], Alert],
        after: Sequence[Alert],
        ended: Iterable[tuple[str, str]],
        now: datetime,
    ) -> None:
        changed = [alert for alert in after if before.get((alert.rule, alert.topic)) != alert]
        gone = [before[key] for key in ended if before[key].state == PENDING]
        orphans = [
            replace(before[key], state=RESOLVED, resolved_at=now, summary="its rule was removed")
            for key in ended
            if before[key].state == FIRING
        ]
        turned = [
            alert
            for alert in (*changed, *orphans)
            if (old := before.get((alert.rule, alert.topic))) is None or old.state != alert.state
        ]
        if not changed and not gone and not orphans:
            return
        paged = [alert for alert in turned if alert.state in (FIRING, RESOLVED)]
        self._store.save(
            [*changed, *orphans],
            [alert.id for alert in gone],
            [(page_key(alert), alert_message(alert)) for alert in paged],
            [(f"webhook:{name}", alert_message(alert)) for alert in paged for name in self._receivers],
            now,
        )
        for alert in turned:
            self._metrics.transitions.labels(alert.rule, alert.state).inc()
            _log(alert)


def _total(parts: Iterable[Aggregate], rule: Rule, topic: str, start: datetime) -> Aggregate:
    chosen = (part for part in parts if topic in (ALL, part.topic) and part.kind in rule.kinds)
    return sum(chosen, Aggregate(start, topic, ALL))


def page_key(alert: Alert) -> str:
    """What a receiver drops repeats by: the episode and the state it came into."""
    return f"{alert.id}:{alert.state}"


def alert_message(alert: Alert) -> dict[str, Any]:
    """An alert's transition as JSON: on the alerts topic and in a page."""
    return {
        "key": page_key(alert),
        "id": alert.id,
        "rule": alert.rule,
        "topic": alert.topic,
        "state": alert.state,
        "severity": alert.severity,
        "summary": alert.summary,
        "value": alert.value,
        "threshold": alert.threshold,
        "n": alert.n,
        "uncertainty": alert.uncertainty,
        "since": alert.since,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "evidence": alert.evidence,
    }


def _log(alert: Alert) -> None:
    level = logging.WARNING if alert.state == FIRING else logging.INFO
    log.log(level, "alert %s [%s] %s (%s)", alert.state.upper(), alert.rule, alert.summary, alert.uncertainty)
    if alert.state == FIRING:
        for exhibit in alert.evidence:
            story = printable(f"{exhibit.source}/{exhibit.id} {exhibit.score:+.2f} {exhibit.content[:120]}")
            log.warning("  evidence %s", story)

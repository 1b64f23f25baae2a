"""The shell around the rules: read sums, let the pure parts decide, write what changed."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, Protocol

from alerts.baseline import HOUR, Baseline, Stretch, live_stretches, without
from alerts.evaluate import Observation, Usual, Watched, observe
from alerts.evidence import stories
from alerts.lifecycle import FIRING, PENDING, RESOLVED, step
from alerts.metrics import AlertMetrics
from alerts.rules import ALL, BaselineRule, Rule, SilenceRule, topics_of
from stream.nouns import Aggregate, Alert, Exhibit, Scope, Selection, printable, window_start

log = logging.getLogger(__name__)

EVIDENCE = 5
# A longer silence in the baseline is a feed that was away, and no part of the usual rate.
LONGEST_GAP = HOUR
# Many copies of one story must not push the others out of the evidence.
LOOKED_AT = 50


class AlertStore(Protocol):
    """What the loop needs of a store.  An empty selection is every document."""

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""

    def cells(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        """The same by stretches of `width`, counted from the epoch: those with data, in order."""

    def most_negative(self, scope: Scope, limit: int) -> list[Exhibit]:
        """The lowest-scored documents."""

    def writers(self, scope: Scope) -> tuple[int, int]:
        """How many sources, and how many authors, wrote the negative documents."""

    def open_alerts(self) -> list[Alert]:
        """The episodes that are pending or firing."""

    def past_alerts(self, since: datetime) -> list[Alert]:
        """The episodes that fired and were resolved at `since` or later."""

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
    """A rule's window in event time, at one moment."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class History:
    """What was before a rule's window: cells of every topic, and what was learned from them by topic."""

    end: datetime
    width: timedelta
    cells: Sequence[Aggregate]
    live: Sequence[Stretch]
    past: Sequence[Alert]
    usual: dict[str, Usual] = field(default_factory=dict)

    def learn(self, rule: BaselineRule, topic: str) -> Usual:
        """What is usual on one topic, the rule's own past alerts left out."""
        alerted = [
            (alert.since - rule.window, alert.resolved_at)
            for alert in self.past
            if alert.topic == topic and alert.resolved_at is not None
        ]
        kept = [cell for cell in _by_cell(self.cells, rule, topic) if not _inside(cell.start, alerted)]
        return Usual(rule, Baseline(kept, without(self.live, alerted), self.width))


class AlertLoop:
    """Evaluates every rule on every topic.  Between two calls it keeps only what is usual, for a while."""

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
        self._histories: dict[str, History] = {}

    def use(self, rules: Sequence[Rule]) -> None:
        """Go on with other rules; episodes of rules that are gone are resolved at the next evaluation."""
        self.rules = rules
        self._histories.clear()
        self._metrics.state.clear()  # no series of a rule that is gone

    def evaluate(self, now: datetime) -> list[Alert]:
        """Evaluate everything once, write what changed; the episodes that are open afterwards."""
        before = {(alert.rule, alert.topic): alert for alert in self._store.open_alerts()}
        past = self._store.past_alerts(now - max((r.cool_down for r in self.rules), default=timedelta(0)))
        ended_at = {(alert.rule, alert.topic): alert.resolved_at for alert in past}
        after: list[Alert] = []
        ended = set(before)
        for rule in self.rules:
            period = self._period(rule, now)
            for topic, watched in self._watched(rule, period):
                alert = before.get((rule.name, topic))
                seen = self._with_writers(rule, topic, period, observe(rule, topic, watched))
                last = ended_at.get((rule.name, topic))
                stepped = step(alert, rule, topic, seen, now, last + rule.cool_down if last else None)
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
        return Period(min(start, window_start(now, self._width)), now)

    def _watched(self, rule: Rule, period: Period) -> Iterable[tuple[str, Watched]]:
        window = self._store.sums(period.start, period.end, rule.selection)
        topics = topics_of(rule, self._topics)
        for topic in topics:
            usual = (
                partial(self._usual, rule, topic, period.start) if isinstance(rule, BaselineRule) else None
            )
            total = _total(window, rule, topic, period.start)
            yield topic, Watched(total, period.start, period.end, bool(window), usual, len(topics))

    def _usual(self, rule: BaselineRule, topic: str, before: datetime) -> Usual:
        """What is usual on a topic, learned anew a few times a window but no oftener than it can matter."""
        refresh = max(rule.window / 4, rule.baseline / 1000)
        end = window_start(before, max(self._width, refresh))
        history = self._histories.get(rule.name)
        if history is None or history.end != end:
            history = self._histories[rule.name] = self._history(rule, end)
        if topic not in history.usual:
            history.usual[topic] = history.learn(rule, topic)
        return history.usual[topic]

    def _history(self, rule: BaselineRule, end: datetime) -> "History":
        width = max(min(HOUR, rule.window) // self._width, 1) * self._width
        start = window_start(end - rule.baseline, width)
        cells = self._store.cells(start, end, width, rule.selection)
        starts = sorted({cell.start for cell in cells})
        live = live_stretches(starts, width, end, max(LONGEST_GAP, 4 * rule.window))
        past = [alert for alert in self._store.past_alerts(start) if alert.rule == rule.name]
        return History(end, width, cells, live, past)

    def _with_writers(self, rule: Rule, topic: str, period: Period, seen: Observation) -> Observation:
        """A breach that too few sources or authors speak of is none."""
        if not seen.breached or (rule.min_sources <= 1 and rule.min_authors < 1):
            return seen
        sources, authors = self._store.writers(_scope(rule, topic, period))
        if sources >= rule.min_sources and authors >= rule.min_authors:
            return seen
        return replace(seen, breached=False)

    def _with_evidence(self, before: Alert | None, alert: Alert, rule: Rule, period: Period) -> Alert:
        """Evidence is gathered once, when the episode begins to fire, and stays with it."""
        if alert.state != FIRING or (before and before.state == FIRING) or isinstance(rule, SilenceRule):
            return alert
        found = self._store.most_negative(_scope(rule, alert.topic, period), LOOKED_AT)
        return replace(alert, evidence=stories(found, EVIDENCE))

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


def _scope(rule: Rule, topic: str, period: Period) -> Scope:
    """The documents that a rule's window holds."""
    return Scope(None if topic == ALL else topic, rule.kinds, period.start, period.end, rule.selection)


def _by_cell(cells: Sequence[Aggregate], rule: BaselineRule, topic: str) -> list[Aggregate]:
    """The cells of one topic, its kinds added up; `cells` come in order of time."""
    chosen = [cell for cell in cells if topic in (ALL, cell.topic) and cell.kind in rule.kinds]
    return [
        sum(same, Aggregate(start, topic, ALL)) for start, same in groupby(chosen, lambda cell: cell.start)
    ]


def _inside(moment: datetime, periods: Iterable[Stretch]) -> bool:
    return any(start <= moment < end for start, end in periods)


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

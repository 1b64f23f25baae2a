"""The shell around the rules: look, let the pure parts decide, write what changed."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.delivery.pages import Delivery, alert_message
from alerts.delivery.template import render
from alerts.detectors.observe import observe
from alerts.lifecycle import step
from alerts.metrics import AlertMetrics
from alerts.observing import LATEST, Period, Watcher
from alerts.ports import AggregateReader, EpisodeStore
from alerts.rules import HeartbeatRule, Rule, SilenceRule, SlowDriftRule
from stream.domain.alerts import FIRING_STATES, Alert, AlertState, Transition
from stream.domain.documents import printable

log = logging.getLogger(__name__)

# Documents that were received before the last evaluation may have been committed after it.
OVERLAP = timedelta(seconds=15)
Key = tuple[str, str]


@dataclass(frozen=True)
class Known:
    """What is known of episodes before an evaluation, by rule and topic."""

    open: dict[Key, Alert]
    past: Sequence[Alert]

    def ended_at(self, key: Key) -> datetime | None:
        """When the last episode of `key` was resolved."""
        return max(
            (a.resolved_at for a in self.past if (a.rule, a.topic) == key and a.resolved_at), default=None
        )

    def fired_since(self, key: Key, since: datetime) -> int:
        """How many episodes of `key` fired and ended since then."""
        return sum(
            (a.rule, a.topic) == key and a.resolved_at is not None and a.resolved_at >= since
            for a in self.past
        )

    def last_transition(self, turned: Alert) -> datetime | None:
        """When an earlier episode of the same rule, on whatever topic, came into such a state."""
        same = [a for a in (*self.open.values(), *self.past) if a.rule == turned.rule and a.id != turned.id]
        stamps = [a.resolved_at if turned.state == AlertState.RESOLVED else a.fired_at for a in same]
        return max((stamp for stamp in stamps if stamp), default=None)


class AlertEvaluator:
    """Evaluates every rule on every topic, and saves what changed."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        topics: Sequence[str],
        reader: AggregateReader,
        episodes: EpisodeStore,
        delivery: Delivery,
        window_width: timedelta,
        metrics: AlertMetrics,
    ) -> None:
        """`window_width` is the width of the stored windows."""
        self.rules, self._topics, self._reader, self._episode_store = rules, topics, reader, episodes
        self._delivery, self._metrics = delivery, metrics
        self._watcher = Watcher(topics, reader, episodes, window_width)
        self._looked_at: datetime | None = None

    def replace_rules(self, rules: Sequence[Rule]) -> None:
        """Evaluate these rules from now on.  The next evaluation resolves the episodes of removed rules."""
        self.rules = rules
        self._watcher.forget()
        self._metrics.state.clear()  # no series of a rule that is gone
        self._metrics.create_labels(rules, ())

    def stand_by(self) -> None:
        """Another monitor evaluates now: documents that it sees must not count as late here afterwards."""
        self._looked_at = None

    def evaluate(self, now: datetime) -> list[Alert]:
        """Evaluate every rule once, save what changed, and return the open episodes."""
        back = max((max(r.cool_down, r.flap_window) for r in self.rules), default=LATEST)
        known = Known(
            {(alert.rule, alert.topic): alert for alert in self._episode_store.open_alerts()},
            self._episode_store.past_alerts(now - max(back, LATEST)),
        )
        after = [alert for rule in self.rules for alert in self._episodes(rule, known, now)]
        taken = known.open.keys() | {(alert.rule, alert.topic) for alert in after}
        after += self._raised_late(known, taken, now)
        self._write(known, after, now)
        self._looked_at = now
        self._metrics.show(self.rules, self._topics, after)
        self._metrics.evaluated.set(now.timestamp())
        return [alert for alert in after if alert.state != AlertState.RESOLVED]

    def _episodes(self, rule: Rule, known: Known, now: datetime) -> Iterable[Alert]:
        """What becomes of a rule's episodes, topic by topic, those that end included."""
        period = self._watcher.period(rule, now)
        for topic, watched in self._watcher.watched(rule, period):
            key = (rule.name, topic)
            seen = self._watcher.with_writers(rule, topic, period, observe(rule, topic, watched))
            ended = known.ended_at(key)
            recent = known.fired_since(key, now - rule.flap_window)
            before = known.open.get(key)
            alert = step(before, rule, topic, seen, now, ended + rule.cool_down if ended else None, recent)
            if alert is not None:
                yield self._told(before, alert, rule, period)

    def _raised_late(self, known: Known, taken: set[Key], now: datetime) -> list[Alert]:
        """Episodes for windows that are over and were a breach, as documents show that came late only.

        They fire at once, so only for rules that wait for nothing, and then go the way of all others.  What
        was paged since such a window needs no second page, and nothing that was sent is rewritten.
        """
        since = self._looked_at
        stamps = self._reader.late_windows(since - OVERLAP, now - OVERLAP) if since else []
        if not stamps:
            return []
        self._watcher.came_late(stamps[0])
        raised: dict[Key, Alert] = {}
        for rule in self.rules:
            if rule.hold or isinstance(rule, SilenceRule | HeartbeatRule | SlowDriftRule):
                continue
            for period in self._watcher.late_periods(rule, now, stamps):
                for topic, watched in self._watcher.watched(rule, period, max(stamps[0], now - LATEST)):
                    key = (rule.name, topic)
                    ended = known.ended_at(key)
                    if key in taken or key in raised or (ended and ended + rule.cool_down > period.start):
                        continue
                    seen = self._watcher.with_writers(rule, topic, period, observe(rule, topic, watched))
                    until = period.start + rule.window
                    told = f"late, {period.start:%H:%M} to {until:%H:%M} UTC: {seen.summary}"
                    recent = known.fired_since(key, now - rule.flap_window)
                    alert = step(None, rule, topic, replace(seen, summary=told), now, None, recent)
                    if alert is not None:
                        raised[key] = self._told(None, alert, rule, period)
        return list(raised.values())

    def _told(self, before: Alert | None, alert: Alert, rule: Rule, period: Period) -> Alert:
        """Evidence is gathered once, when the episode begins to fire, and stays with it; the rule's own words
        are found for every state."""
        if before is not None and before.state == alert.state:
            return alert
        if alert.state in FIRING_STATES:
            alert = self._watcher.with_evidence(alert, rule, period)
        if rule.message is None:
            return alert
        try:
            return replace(alert, message=render(rule.message, alert))
        except ValueError as error:
            log.error("rule %s: its message: %s; the plain one is sent", rule.name, error)
            return replace(alert, message="")

    def _write(self, known: Known, after: Sequence[Alert], now: datetime) -> None:
        changed = [alert for alert in after if known.open.get((alert.rule, alert.topic)) != alert]
        left = [known.open[key] for key in known.open.keys() - {(a.rule, a.topic) for a in after}]
        gone = [
            replace(alert, state=AlertState.DISMISSED) for alert in left if alert.state == AlertState.PENDING
        ]
        orphans = [
            replace(
                alert, state=AlertState.RESOLVED, resolved_at=now, summary="its rule was removed", message=""
            )
            for alert in left
            if alert.state in FIRING_STATES
        ]
        if not changed and not gone and not orphans:
            return
        rules = {rule.name: rule for rule in self.rules}
        transitions = [
            transition
            for alert in (*changed, *orphans, *gone)
            if (transition := self._transition(known.open.get((alert.rule, alert.topic)), alert, rules, now))
        ]
        page_requests = [
            request
            for transition in transitions
            if transition.alert.state in (*FIRING_STATES, AlertState.RESOLVED)
            for request in self._delivery.page_requests(
                transition.alert,
                rules.get(transition.alert.rule),
                known.last_transition(transition.alert),
                now,
            )
        ]
        self._episode_store.save(
            [*changed, *orphans], [alert.id for alert in gone], transitions, page_requests, now
        )
        for transition in transitions:
            self._metrics.transitions.labels(transition.alert.rule, transition.alert.state).inc()
            _log(transition.alert, self._delivery.link(transition.alert))

    def _transition(
        self, before: Alert | None, alert: Alert, rules: Mapping[str, Rule], now: datetime
    ) -> Transition | None:
        if before is not None and before.state == alert.state:
            return None
        message = alert_message(alert, rules.get(alert.rule), self._delivery.link(alert))
        came_from = before.state if before else None
        return Transition(alert, came_from, now, message | {"before": came_from, "at": now})


def _log(alert: Alert, link: str) -> None:
    level = logging.WARNING if alert.state in FIRING_STATES else logging.INFO
    log.log(level, "alert %s [%s] %s (%s)", alert.state.upper(), alert.rule,
            printable(alert.message or alert.summary), alert.uncertainty)  # fmt: skip
    if alert.state in FIRING_STATES:
        for exhibit in alert.evidence:
            story = printable(f"{exhibit.source}/{exhibit.id} {exhibit.score:+.2f} {exhibit.content[:120]}")
            log.warning("  evidence %s", story)
        if link:
            log.warning("  %s", link)

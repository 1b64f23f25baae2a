"""The life of an episode: pending, firing or flapping, resolved.  Pure: now is an argument."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from alerts.detectors.base import Observation, Rule, Subject
from stream.domain.alerts import Alert, AlertState, entity_labels


def step(
    alert: Alert | None,
    rule: Rule,
    subject: Subject,
    observation: Observation,
    now: datetime,
    quiet_until: datetime | None = None,
    recent: int = 0,
) -> Alert | None:
    """The episode after one observation; None if there is none, or a pending one ended.

    No episode begins before `quiet_until`: the rule cools down after its last one.  `recent` is how many
    episodes of the rule on the subject fired and ended within its `flap_window`.  When it reaches
    `flap_count`, the next episode is flapping: it resolves only after a calm as long as that window, so that
    it pages once.

    Missing data neither starts nor resolves an episode.  It drops a pending one, and the calm that a firing
    one waits for starts again.  When the clock was set back, a wait begins again at `now`.

    An episode that fires keeps the severity and the labels that its rule has at that moment, and an entity's
    name: receivers recognise it by them.
    """
    if alert is None:
        cooling = quiet_until is not None and now < quiet_until
        begins = observation.breached and not cooling
        return _begin(rule, subject, observation, now, recent) if begins else None
    if alert.labels is None:
        alert = replace(alert, labels=_labels(rule, subject))
    if observation.value is not None:
        alert = replace(
            alert,
            value=observation.value,
            n=observation.n,
            uncertainty=observation.uncertainty,
            summary=observation.summary,
            usual=observation.usual,
        )
    if alert.state == AlertState.PENDING:
        return _fire_when_due(alert, rule, now, recent) if observation.breached else None
    if observation.calm:
        return _resolve_when_due(alert, rule, now)
    return replace(alert, clear_since=None)


def _begin(rule: Rule, subject: Subject, observation: Observation, now: datetime, recent: int) -> Alert:
    alert = Alert(
        id=episode_id(rule.name, subject, now),
        rule=rule.name,
        topic=subject.topic,
        entity=subject.entity,
        severity=rule.severity,
        state=AlertState.PENDING,
        since=now,
        value=observation.value or 0.0,
        threshold=observation.threshold,
        n=observation.n,
        uncertainty=observation.uncertainty,
        summary=observation.summary,
        usual=observation.usual,
        labels=_labels(rule, subject),
    )
    return _fire_when_due(alert, rule, now, recent)


def _fire_when_due(alert: Alert, rule: Rule, now: datetime, recent: int) -> Alert:
    if alert.since > now:
        alert = replace(alert, since=now)
    if now - alert.since < rule.hold:
        return alert
    state = AlertState.FLAPPING if recent >= rule.flap_count else AlertState.FIRING
    labels = {**rule.labels, **entity_labels(alert.entity, alert.entity_name)}
    return replace(alert, state=state, fired_at=now, severity=rule.severity, labels=labels)


def _resolve_when_due(alert: Alert, rule: Rule, now: datetime) -> Alert:
    since = min(alert.clear_since or now, now)
    wait = rule.keep_firing_for
    if alert.state == AlertState.FLAPPING:
        wait = max(wait, rule.flap_window)
    if now - since < wait:
        return replace(alert, clear_since=since)
    return replace(alert, state=AlertState.RESOLVED, clear_since=since, resolved_at=now)


def _labels(rule: Rule, subject: Subject) -> Mapping[str, str]:
    return {**rule.labels, **entity_labels(subject.entity, subject.text)}


def episode_id(rule: str, subject: Subject, since: datetime) -> str:
    """The id of an episode: the same whenever and wherever it is computed."""
    parts = [rule, subject.topic, since.isoformat(), *([subject.entity] if subject.entity else [])]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]

"""From observations to episodes: pending, firing or flapping, resolved.  Pure: now is an argument."""

import hashlib
from dataclasses import replace
from datetime import datetime

from alerts.detectors.observe import Observation
from alerts.rules import Rule
from stream.domain.alerts import Alert, AlertState


def step(
    alert: Alert | None,
    rule: Rule,
    topic: str,
    seen: Observation,
    now: datetime,
    quiet_until: datetime | None = None,
    recent: int = 0,
) -> Alert | None:
    """The episode after one observation; None where there is none (or a pending one is over).

    After its last episode a rule cools down: until `quiet_until` none begins.  `recent` is how many episodes
    of the rule on the topic fired and ended within its `flap_window`: one more than `flap_count` allows is
    flapping, and resolves only after a calm as long as that window, so that it pages once.

    Missing data neither starts nor resolves an episode: a pending one is dropped, and the calm that a
    firing one waits for begins anew.  A clock that steps back only makes the waits longer.
    """
    if alert is None:
        cooling = quiet_until is not None and now < quiet_until
        return _begin(rule, topic, seen, now, recent) if seen.breached and not cooling else None
    if seen.value is None and not seen.calm:
        return None if alert.state == AlertState.PENDING else replace(alert, clear_since=None)
    if seen.value is not None:
        alert = replace(
            alert, value=seen.value, n=seen.n, uncertainty=seen.uncertainty, summary=seen.summary,
            usual=seen.usual,
        )  # fmt: skip
    if alert.state == AlertState.PENDING:
        return _maybe_fire(alert, rule, now, recent) if seen.breached else None
    if not seen.calm:
        return replace(alert, clear_since=None)
    return _maybe_resolve(alert, rule, now)


def _begin(rule: Rule, topic: str, seen: Observation, now: datetime, recent: int) -> Alert:
    alert = Alert(
        id=episode_id(rule.name, topic, now),
        rule=rule.name,
        topic=topic,
        severity=rule.severity,
        state=AlertState.PENDING,
        since=now,
        value=seen.value or 0.0,
        threshold=seen.threshold,
        n=seen.n,
        uncertainty=seen.uncertainty,
        summary=seen.summary,
        usual=seen.usual,
    )
    return _maybe_fire(alert, rule, now, recent)


def _maybe_fire(alert: Alert, rule: Rule, now: datetime, recent: int) -> Alert:
    if now - alert.since < rule.hold:
        return alert
    return replace(
        alert, state=AlertState.FLAPPING if recent >= rule.flap_count else AlertState.FIRING, fired_at=now
    )


def _maybe_resolve(alert: Alert, rule: Rule, now: datetime) -> Alert:
    since = alert.clear_since or now
    wait = rule.keep_firing_for
    if alert.state == AlertState.FLAPPING:
        wait = max(wait, rule.flap_window)
    if now - since < wait:
        return replace(alert, clear_since=since)
    return replace(alert, state=AlertState.RESOLVED, clear_since=since, resolved_at=now)


def episode_id(rule: str, topic: str, since: datetime) -> str:
    """The key of an episode: the same wherever and however often it is worked out."""
    return hashlib.sha256(f"{rule}\x1f{topic}\x1f{since.isoformat()}".encode()).hexdigest()[:24]

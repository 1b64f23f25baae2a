"""What people may do with an incident, and what becomes of it.  Pure: now is an argument.

Acknowledged, an incident pages again only if it gets worse than it was then, and is escalated no more.  Kept
quiet, it pages nobody until its time.  Closed, it is over; what fires on the same stories later is part of
it, unless that is more urgent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from alerts.errors import ActionOutdated, ActionRefused
from stream.domain.alerts import FIRING_STATES, Alert
from stream.domain.documents import printable
from stream.domain.incident_actions import (
    LONGEST_COMMENT,
    LONGEST_KEY,
    LONGEST_NAME,
    Action,
    ActionKind,
    ActionRequest,
    Verdict,
)
from stream.domain.incidents import Incident, SeenByDesk

LONGEST_QUIET = timedelta(days=7)
VERDICT_TEXTS = {
    Verdict.RIGHT: "right",
    Verdict.NOT_NEWS: "not news",
    Verdict.WRONG_COMPANY: "wrong company",
    Verdict.WRONG_MOOD: "wrong mood",
    Verdict.OLD: "old",
    Verdict.TOO_SMALL: "too small",
}


def act(
    incident: Incident,
    alerts: Iterable[Alert],
    since: Sequence[Action],
    request: ActionRequest,
    now: datetime,
) -> tuple[Incident, Action]:
    """The incident after a request, and the action to record.

    `alerts` are those of the incident that are open, and `since` the actions that the actor has not seen.
    Raises ActionRefused if the request makes no sense, ActionOutdated if somebody else was first.
    """
    request = checked(request, now)
    _check_state(incident, since, request)
    action = Action(
        incident.id,
        incident.actions + 1,
        request.key,
        request.kind,
        request.actor,
        now,
        request.text,
        request.assignee,
        request.until,
        request.verdict,
    )
    return replace(_changed(incident, alerts, action), actions=action.number), action


def checked(request: ActionRequest, now: datetime) -> ActionRequest:
    """The request with only the fields of its kind, all within limits.  Raises ActionRefused."""
    kind, text = request.kind, _clean(request.text)
    if not 0 < len(request.key) <= LONGEST_KEY or not 0 < len(request.actor) <= LONGEST_NAME:
        raise ActionRefused(f"a key has up to {LONGEST_KEY} characters, and a name up to {LONGEST_NAME}")
    if len(text) > LONGEST_COMMENT:
        raise ActionRefused(f"a comment has at most {LONGEST_COMMENT} characters, and this has {len(text)}")
    if kind is ActionKind.COMMENT and not text:
        raise ActionRefused("write a comment first")
    assignee = printable(request.assignee or "").strip() if kind is ActionKind.ASSIGN else None
    if assignee is not None and not 0 < len(assignee) <= LONGEST_NAME:
        raise ActionRefused(f"name whom to assign it to, in up to {LONGEST_NAME} characters")
    if kind is ActionKind.CLOSE and request.verdict is None:
        raise ActionRefused(f"say why it is closed: {', '.join(Verdict)}")
    return replace(
        request,
        actor=printable(request.actor),
        text=text,
        assignee=assignee,
        until=_quiet_until(request.until, now) if kind is ActionKind.QUIET else None,
        verdict=request.verdict if kind is ActionKind.CLOSE else None,
    )


def _clean(text: str) -> str:
    """A comment as people wrote it, on lines of its own."""
    return "\n".join(printable(line).rstrip() for line in text.strip().splitlines())


def _quiet_until(until: datetime | None, now: datetime) -> datetime | None:
    """When a quiet ends; None ends the present one now."""
    if until is None:
        return None
    if until.tzinfo is None:
        raise ActionRefused("say the time with its offset, such as 2026-05-04T08:00:00+02:00")
    if not now < until <= now + LONGEST_QUIET:
        raise ActionRefused(f"quiet lasts until a time within the next {LONGEST_QUIET.days} days")
    return until.astimezone(UTC)


def _check_state(incident: Incident, since: Sequence[Action], request: ActionRequest) -> None:
    """Raises ActionOutdated if somebody has changed what the actor decided by."""
    kind = request.kind
    if kind is ActionKind.COMMENT:
        return
    if incident.closed_at is not None and kind is not ActionKind.CLOSE:
        raise ActionOutdated(f"{incident.closed_by} has closed it meanwhile")
    if kind is ActionKind.ACKNOWLEDGE and incident.acknowledged_at is not None:
        at = f"{incident.acknowledged_at:%Y-%m-%d %H:%M:%S} UTC"
        raise ActionOutdated(f"{incident.acknowledged_by} has acknowledged it at {at}")
    if kind is ActionKind.QUIET and not incident.is_open:
        raise ActionRefused("it is over: there is nothing to keep quiet")
    changes = [action for action in since if action.kind is not ActionKind.COMMENT]
    if changes:
        raise ActionOutdated(f"meanwhile {in_words(changes[-1])}; look at it again")


def _changed(incident: Incident, alerts: Iterable[Alert], action: Action) -> Incident:
    match action.kind:
        case ActionKind.ACKNOWLEDGE:
            return replace(
                incident,
                acknowledged_at=action.at,
                acknowledged_by=action.actor,
                assigned_to=incident.assigned_to or action.actor,
                seen=_seen(incident, alerts),
            )
        case ActionKind.ASSIGN:
            return replace(incident, assigned_to=action.assignee)
        case ActionKind.QUIET:
            return replace(incident, quiet_until=action.until, seen=_seen(incident, alerts))
        case ActionKind.CLOSE:
            return replace(incident, closed_at=action.at, closed_by=action.actor, verdict=action.verdict)
        case ActionKind.COMMENT:
            return incident


def _seen(incident: Incident, alerts: Iterable[Alert]) -> SeenByDesk:
    """What the actor sees: the alerts that fire, as they are now."""
    values = {alert.id: alert.value for alert in alerts if alert.state in FIRING_STATES}
    return SeenByDesk(incident.severity, values, incident.lead_entities)


def in_words(action: Action) -> str:
    """An action as a sentence without its end, such as: ann has kept it quiet until 08:00 UTC."""
    match action.kind:
        case ActionKind.ACKNOWLEDGE:
            did = "has acknowledged it"
        case ActionKind.ASSIGN:
            did = f"has assigned it to {action.assignee}"
        case ActionKind.COMMENT:
            did = "has commented"
        case ActionKind.QUIET if action.until is None:
            did = "has ended the quiet"
        case ActionKind.QUIET:
            did = f"keeps it quiet until {action.until:%Y-%m-%d %H:%M} UTC"
        case ActionKind.CLOSE:
            did = f"has closed it as {VERDICT_TEXTS[action.verdict or Verdict.RIGHT]}"
    return f"{action.actor} {did}"

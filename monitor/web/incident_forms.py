"""What a browser or a script sends to act on an incident, as the request that is carried out."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from alerts.incidents.actions import VERDICT_TEXTS
from monitor.web.errors import BadRequest
from stream.domain.incident_actions import ActionKind, ActionRequest, Verdict

# For how many minutes an incident can be kept quiet with one choice.
QUIET_MINUTES = (30, 60, 120, 240, 480)
# When people are back: the choice of a night.
MORNING = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values that a form offers."""

    value: str
    text: str


def quiet_choices(now: datetime, zone: str) -> list[Choice]:
    """For how long an incident can be kept quiet; the morning is that of the house's time zone."""
    local = now.astimezone(ZoneInfo(zone))
    morning = local.replace(hour=MORNING, minute=0, second=0, microsecond=0)
    if morning <= local:
        morning += timedelta(days=1)
    lengths = [Choice(str(minutes), _length(minutes)) for minutes in QUIET_MINUTES]
    return [*lengths, Choice(morning.isoformat(), f"until {morning:%a %H:%M} ({zone})")]


def _length(minutes: int) -> str:
    return f"for {minutes} minutes" if minutes < 120 else f"for {minutes // 60} hours"


def verdict_choices() -> list[Choice]:
    """What the desk can say of an incident when it closes it."""
    return [Choice(verdict, text) for verdict, text in VERDICT_TEXTS.items()]


def new_key() -> str:
    """The key of one form: however often it is sent, it is one action."""
    return uuid.uuid4().hex


def request_of(kind: str, form: Mapping[str, Any], actor: str, now: datetime) -> ActionRequest:
    """The request in a form or in the body of a script.  Raises BadRequest.

    Its fields are `key`, `expected`, `comment`, `assignee`, `quiet` and `verdict`.  Without a key, one who
    acknowledges twice does so once, and everything else is done again.
    """
    if kind not in tuple(ActionKind):
        raise BadRequest(f"there is no action {kind[:40]!r}; there are {', '.join(ActionKind)}")
    action = ActionKind(kind)
    own_key = _acknowledging(actor) if action is ActionKind.ACKNOWLEDGE else new_key()
    return ActionRequest(
        action,
        _text(form, "key") or own_key,
        actor,
        _number(form, "expected"),
        _text(form, "comment"),
        _text(form, "assignee") or None,
        _until(_text(form, "quiet"), now) if action is ActionKind.QUIET else None,
        _verdict(_text(form, "verdict")) if action is ActionKind.CLOSE else None,
    )


def _acknowledging(actor: str) -> str:
    """The key of one who acknowledges: the same each time."""
    return f"acknowledge:{hashlib.sha256(actor.encode()).hexdigest()[:32]}"


def _text(form: Mapping[str, Any], name: str) -> str:
    value = form.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name}: it must be a text")
    return value


def _number(form: Mapping[str, Any], name: str) -> int | None:
    value = form.get(name)
    if value in (None, ""):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{name}: it must be a number") from error
    if not 0 <= number < 1 << 31:
        raise BadRequest(f"{name}: it must be the number of an action")
    return number


def _until(quiet: str, now: datetime) -> datetime | None:
    """The end of a quiet of so many minutes, or until a time; None, for an empty text, ends one."""
    if not quiet:
        return None
    try:
        return now + timedelta(minutes=int(quiet)) if quiet.isdecimal() else datetime.fromisoformat(quiet)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            "quiet: write minutes, such as 60, or a time with its offset, such as 2026-05-04T08:00:00+02:00"
        ) from error


def _verdict(verdict: str) -> Verdict | None:
    if not verdict:
        return None
    try:
        return Verdict(verdict)
    except ValueError as error:
        raise BadRequest(f"verdict: it is one of {', '.join(Verdict)}") from error

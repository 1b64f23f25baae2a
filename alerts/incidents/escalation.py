"""Escalation: who is notified of an incident that nobody has acknowledged.  Pure: now is an argument."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stream.domain.incidents import Incident


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """The receivers that are notified of an incident `after` so long without acknowledgement, as the
    outbox names them: webhook:desk."""

    after: timedelta
    targets: Sequence[str]


def escalation_due(
    incident: Incident, steps: Sequence[EscalationStep], told_at: datetime | None, now: datetime
) -> tuple[str, ...]:
    """The receivers to tell of an incident now that were not told of it; empty if nobody is due.

    `told_at` is when its first page was made, None if it has none yet: nobody could acknowledge it.  Nothing
    is due while none of its alerts fires.  If somebody kept it quiet, the time counts from the end of that.
    Whoever is due gets the page with which it began, by its usual key; once the receivers are in `told`,
    nobody is due twice.
    """
    if told_at is None or incident.acknowledged_at or incident.calm_since or not incident.is_open:
        return ()
    since = max(told_at, incident.quiet_until or told_at)
    due = (target for step in steps if now - since >= step.after for target in step.targets)
    return tuple(dict.fromkeys(target for target in due if target not in incident.told))

"""Who is told of an incident that nobody has acknowledged, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from alerts.incidents.escalation import EscalationStep, escalation_due
from alerts.settings import AlertSettings
from stream.domain.alerts import Severity
from stream.domain.incidents import Incident

BEGAN = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OPEN = Incident("i", BEGAN, Severity.PAGE, "Acme", paged_number=1, told=("webhook:desk",))
STEPS = (
    EscalationStep(15 * MINUTE, ("webhook:lead",)),
    EscalationStep(45 * MINUTE, ("webhook:head", "channel:head")),
)
BOTH = ("webhook:desk", "webhook:lead")

CASES = [
    ("nobody before the first step", OPEN, 14, ()),
    ("its receivers at the first step", OPEN, 15, ("webhook:lead",)),
    ("nobody twice", replace(OPEN, told=BOTH, escalated_at=BEGAN), 20, ()),
    ("the next receivers at the next step", replace(OPEN, told=BOTH), 45, ("webhook:head", "channel:head")),
    ("those of both steps, if the monitor was down at the first", OPEN, 60, ("webhook:lead", "webhook:head", "channel:head")),
    ("nobody once it is acknowledged", replace(OPEN, acknowledged_at=BEGAN + 10 * MINUTE), 60, ()),
    ("nobody while none of its alerts fires", replace(OPEN, calm_since=BEGAN + 10 * MINUTE), 60, ()),
    ("nobody once it has ended", replace(OPEN, ended_at=BEGAN + 10 * MINUTE), 60, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("incident", "minutes", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_who_is_due(incident: Incident, minutes: int, expected: tuple[str, ...]) -> None:
    assert escalation_due(incident, STEPS, BEGAN, BEGAN + minutes * MINUTE) == expected


def test_the_time_counts_from_the_first_page_and_not_from_a_mute_before_it() -> None:
    paged_at = BEGAN + 60 * MINUTE
    assert escalation_due(OPEN, STEPS, paged_at, paged_at + 14 * MINUTE) == ()
    assert escalation_due(OPEN, STEPS, paged_at, paged_at + 15 * MINUTE) == ("webhook:lead",)


def test_an_incident_without_a_page_is_not_escalated() -> None:
    assert escalation_due(replace(OPEN, paged_number=0, told=()), STEPS, None, BEGAN + 60 * MINUTE) == ()


RECEIVERS = {
    "webhooks": {"desk": "https://desk.example", "lead": "https://lead.example"},
    "channels": {"lead": "json://lead.example"},
}


def settings(*steps: tuple[float, list[str]]) -> AlertSettings:
    escalation = [{"after_minutes": minutes, "receivers": receivers} for minutes, receivers in steps]
    return AlertSettings.model_validate({**RECEIVERS, "escalation": escalation})


def test_receivers_of_a_step_are_not_told_at_first() -> None:
    alerts = settings((15, ["lead"]))
    assert alerts.first_targets == ("webhook:desk",)
    assert alerts.escalation_steps == (EscalationStep(15 * MINUTE, ("webhook:lead", "channel:lead")),)
    assert alerts.targets == ("webhook:desk", "webhook:lead", "channel:lead")


def test_without_steps_every_receiver_is_told_at_first() -> None:
    assert settings().first_targets == settings().targets


WRONG = [
    ("an unknown receiver", [(15, ["boss"])], "there is no webhook or channel 'boss'; there are: desk, lead"),
    ("one in two steps", [(15, ["lead"]), (30, ["lead"])], "each receiver may be in one step only"),
    ("all of them", [(15, ["lead", "desk"])], "nobody would be notified at first"),
    ("at once", [(0, ["lead"])], "greater than 0"),
    ("nobody", [(15, [])], "at least 1 item"),
]


@pytest.mark.parametrize(("steps", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_step_is_refused(steps: list[tuple[float, list[str]]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(*steps)

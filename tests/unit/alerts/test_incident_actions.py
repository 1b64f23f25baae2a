"""What people may do with an incident, and which pages follow from it."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from alerts.errors import ActionOutdated, ActionRefused
from alerts.incidents.actions import LONGEST_QUIET, act, in_words
from alerts.incidents.escalation import EscalationStep, escalation_due
from alerts.incidents.joining import Signal, begin, follow, home, page_due, paged
from stream.domain.alerts import Alert, Severity
from stream.domain.incident_actions import Action, ActionKind, ActionRequest, Verdict
from stream.domain.incidents import Incident, PageKind, SeenByDesk
from tests.unit.alerts.test_incidents import HOUR, MINUTE, NOW, POLICY, TARGETS, alert, signal

LATER = NOW + HOUR


def request(kind: ActionKind, **fields: Any) -> ActionRequest:
    return ActionRequest(kind, **{"key": "k", "actor": "ann", **fields})


def paged_incident(**changes: Any) -> Incident:
    """An incident of one alert, `first`, that has paged its beginning with the value 4."""
    first = alert("first")
    incident = begin(Signal(first, 4, {1: 4}, {"crypto:CEL": 4}), NOW)
    due = page_due(incident, [first], TARGETS, POLICY, NOW)
    assert due is not None
    return replace(paged(incident, due, [first], NOW), **changes)


def after(kind: ActionKind, incident: Incident | None = None, *alerts: Alert, **fields: Any) -> Incident:
    seen = alerts or (alert("first"),)
    changed, _ = act(incident or paged_incident(), seen, (), request(kind, **fields), LATER)
    return changed


def due_kinds(incident: Incident, *firing: Alert, now: datetime = LATER + HOUR) -> PageKind | None:
    due = page_due(incident, firing, TARGETS, POLICY, now)
    return None if due is None else due.kind


def test_who_acknowledges_has_it_from_then_on_as_it_was_when_they_saw_it() -> None:
    incident = after(ActionKind.ACKNOWLEDGE, None, alert("first", value=6.0))
    assert (incident.acknowledged_by, incident.acknowledged_at) == ("ann", LATER)
    assert incident.assigned_to == "ann" and incident.actions == 1
    assert incident.seen == SeenByDesk(Severity.PAGE, {"first": 6.0}, ("crypto:CEL",))
    handed = after(ActionKind.ASSIGN, incident, assignee="bob")
    assert (handed.assigned_to, handed.acknowledged_by, handed.actions) == ("bob", "ann", 2)


def test_an_acknowledged_incident_pages_only_what_is_worse_than_what_was_acknowledged() -> None:
    ticket = paged_incident(severity=Severity.TICKET, paged_severity=Severity.TICKET)
    acknowledged = after(ActionKind.ACKNOWLEDGE, ticket, alert("first", value=10.0))
    urgent = alert("second", severity=Severity.PAGE)
    calm = alert("first", value=15.0, severity=Severity.TICKET)
    twice = alert("first", value=20.0, severity=Severity.TICKET)
    wider = replace(acknowledged, lead_entities=("crypto:CEL", "XNAS:NGTB"))
    # Without the acknowledgement a value of 15 is worse than the 4 that was paged.
    assert due_kinds(ticket, calm) is PageKind.UPDATE
    assert due_kinds(acknowledged, calm) is None
    assert due_kinds(acknowledged, twice) is PageKind.UPDATE
    assert due_kinds(acknowledged, calm, urgent) is PageKind.UPDATE
    assert due_kinds(wider, calm) is PageKind.UPDATE


def test_what_somebody_acknowledged_before_it_paged_begins_to_page_when_it_gets_worse() -> None:
    muted = begin(signal("first", {1: 4}), NOW)
    acknowledged = after(ActionKind.ACKNOWLEDGE, muted)
    assert due_kinds(muted, alert("first")) is PageKind.BEGIN
    assert due_kinds(acknowledged, alert("first")) is None
    assert due_kinds(acknowledged, alert("first", value=8.0)) is PageKind.BEGIN


def test_an_alert_that_joined_after_the_acknowledgement_is_worse_at_twice_its_first_value() -> None:
    acknowledged = after(ActionKind.ACKNOWLEDGE)
    joined = replace(acknowledged, paged_values={**acknowledged.paged_values, "second": 5.0})
    assert due_kinds(joined, alert("first"), alert("second", value=9.0)) is None
    assert due_kinds(joined, alert("first"), alert("second", value=10.0)) is PageKind.UPDATE


def test_a_quiet_incident_pages_nobody_until_its_time_and_its_end_waits_for_it() -> None:
    until = LATER + 2 * HOUR
    quiet = after(ActionKind.QUIET, None, alert("first", value=6.0), until=until)
    worse = alert("first", value=40.0)
    assert due_kinds(quiet, worse, now=until - MINUTE) is None
    assert due_kinds(quiet, worse, now=until) is PageKind.UPDATE
    assert due_kinds(quiet, alert("first", value=11.0), now=until) is None
    assert due_kinds(replace(quiet, ended_at=LATER)) is PageKind.END
    loud = after(ActionKind.QUIET, quiet)
    assert loud.quiet_until is None and due_kinds(loud, worse) is PageKind.UPDATE


def test_nobody_is_told_further_of_what_is_acknowledged_and_a_quiet_counts_first() -> None:
    steps = [EscalationStep(10 * MINUTE, ("webhook:head",))]
    incident = paged_incident()
    quiet = after(ActionKind.QUIET, incident, until=LATER + HOUR)
    assert escalation_due(incident, steps, NOW, LATER) == ("webhook:head",)
    assert escalation_due(after(ActionKind.ACKNOWLEDGE, incident), steps, NOW, LATER) == ()
    assert escalation_due(quiet, steps, NOW, LATER + HOUR + 9 * MINUTE) == ()
    assert escalation_due(quiet, steps, NOW, LATER + HOUR + 10 * MINUTE) == ("webhook:head",)


def test_what_is_closed_ends_at_once_and_tells_whoever_was_told() -> None:
    closed = after(ActionKind.CLOSE, verdict=Verdict.OLD)
    assert (closed.closed_by, closed.verdict, closed.state) == ("ann", Verdict.OLD, "closed")
    ended = follow(closed, [alert("first")], POLICY, LATER + MINUTE)
    assert ended.ended_at == LATER + MINUTE
    assert due_kinds(ended, alert("first", value=99.0)) is PageKind.END


@pytest.mark.parametrize(
    ("stories", "severity", "joins"),
    [
        ({1: 6, 9: 4}, Severity.PAGE, True),
        ({9: 10}, Severity.PAGE, False),
        ({1: 10}, Severity.TICKET, True),
    ],
)
def test_what_fires_on_the_stories_of_a_closed_incident_belongs_to_it(
    stories: dict[int, int], severity: Severity, joins: bool
) -> None:
    closed = replace(after(ActionKind.CLOSE, verdict=Verdict.OLD), ended_at=LATER)
    second = replace(signal("second", stories, {"crypto:CEL": 10}), alert=alert("second", severity=severity))
    assert (home(second, [closed], POLICY, LATER) == closed) is joins


def test_what_is_more_urgent_than_a_closed_incident_or_has_an_open_one_does_not_belong_to_it() -> None:
    closed = replace(after(ActionKind.CLOSE, verdict=Verdict.TOO_SMALL), ended_at=LATER)
    second = signal("second", {1: 10}, {"crypto:LUNA": 10})
    assert home(second, [replace(closed, severity=Severity.TICKET)], POLICY, LATER) is None
    is_open = begin(signal("third", {9: 4}, {"crypto:LUNA": 4}), NOW)
    assert home(second, [closed, is_open], POLICY, LATER) == is_open
    assert home(second, [replace(closed, closed_at=None, verdict=None)], POLICY, LATER) is None


OTHER = Action("i", 1, "other", ActionKind.ASSIGN, "bob", NOW, assignee="carla")


def refusal(incident: Incident, since: tuple[Action, ...] = (), **fields: Any) -> str:
    with pytest.raises(ActionRefused) as raised:
        act(incident, [alert("first")], since, request(**fields), LATER)
    return f"{type(raised.value).__name__}: {raised.value}"


def test_whoever_comes_second_learns_who_was_first() -> None:
    acknowledged = after(ActionKind.ACKNOWLEDGE)
    closed = after(ActionKind.CLOSE, verdict=Verdict.OLD)
    assert refusal(acknowledged, kind=ActionKind.ACKNOWLEDGE, actor="bob") == (
        "ActionOutdated: ann has acknowledged it at 2026-03-01 13:00:00 UTC"
    )
    assert refusal(closed, kind=ActionKind.ASSIGN, assignee="bob").startswith(
        "ActionOutdated: ann has closed"
    )
    assert refusal(paged_incident(), (OTHER,), kind=ActionKind.CLOSE, verdict=Verdict.OLD) == (
        "ActionOutdated: meanwhile bob has assigned it to carla; look at it again"
    )


def test_a_comment_of_somebody_else_is_no_reason_to_look_again() -> None:
    comment = replace(OTHER, kind=ActionKind.COMMENT, text="a broker says so too", assignee=None)
    changed, action = act(paged_incident(), [], (comment,), request(ActionKind.ASSIGN, assignee="ann"), LATER)
    assert changed.assigned_to == "ann" and action.number == 1
    _, said = act(paged_incident(), [], (OTHER,), request(ActionKind.COMMENT, text="so what"), LATER)
    assert said.text == "so what"


def test_a_verdict_can_be_changed_later_and_given_when_it_is_over() -> None:
    closed = after(ActionKind.CLOSE, verdict=Verdict.OLD)
    assert after(ActionKind.CLOSE, closed, verdict=Verdict.RIGHT).verdict is Verdict.RIGHT
    over = paged_incident(ended_at=LATER)
    assert after(ActionKind.CLOSE, over, verdict=Verdict.WRONG_MOOD).verdict is Verdict.WRONG_MOOD


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": ActionKind.COMMENT, "text": "  \n "},
        {"kind": ActionKind.COMMENT, "text": "x" * 4001},
        {"kind": ActionKind.ASSIGN},
        {"kind": ActionKind.ASSIGN, "assignee": "x" * 257},
        {"kind": ActionKind.CLOSE},
        {"kind": ActionKind.QUIET, "until": LATER},
        {"kind": ActionKind.QUIET, "until": LATER + LONGEST_QUIET + MINUTE},
        {"kind": ActionKind.QUIET, "until": (LATER + HOUR).replace(tzinfo=None)},
        {"kind": ActionKind.COMMENT, "text": "x", "key": ""},
        {"kind": ActionKind.COMMENT, "text": "x", "key": "k" * 65},
        {"kind": ActionKind.COMMENT, "text": "x", "actor": ""},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ActionRefused) as raised:
        act(paged_incident(), [], (), request(**fields), LATER)
    assert not isinstance(raised.value, ActionOutdated)


def test_what_is_over_cannot_be_kept_quiet() -> None:
    over = paged_incident(ended_at=LATER)
    assert refusal(over, kind=ActionKind.QUIET, until=LATER + HOUR).startswith("ActionRefused: it is over")


def test_a_comment_keeps_its_lines_and_loses_what_could_steer_a_terminal() -> None:
    _, action = act(paged_incident(), [], (), request(ActionKind.COMMENT, text=" one\x1b[2J \r\ntwo "), LATER)
    assert action.text == "one [2J\ntwo"


def test_each_action_reads_as_a_sentence() -> None:
    words = [in_words(replace(OTHER, kind=kind, verdict=Verdict.NOT_NEWS, until=NOW)) for kind in ActionKind]
    assert words == [
        "bob has acknowledged it",
        "bob has assigned it to carla",
        "bob has commented",
        "bob keeps it quiet until 2026-03-01 12:00 UTC",
        "bob has closed it as not news",
    ]
    assert in_words(replace(OTHER, kind=ActionKind.QUIET)) == "bob has ended the quiet"

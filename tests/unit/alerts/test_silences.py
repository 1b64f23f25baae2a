"""Which silences of Alertmanager acknowledge an incident, and which ones tell it what the desk said."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.delivery.silences import (
    OWN,
    RENEWED_FOR,
    Changes,
    Matcher,
    Silence,
    acknowledgement,
    changes,
    matches_exactly,
    read_silences,
    wanted_silences,
)
from stream.domain.alerts import Severity
from stream.domain.incident_actions import ActionKind
from stream.domain.incidents import Incident, SeenByDesk
from tests.unit.alerts.test_incidents import HOUR, MINUTE, NOW

INCIDENT = Incident("i1", NOW, Severity.TICKET, "Halcyon: payouts stop", paged_number=1, last_page_at=NOW)
LABELS = {"incident": "i1", "alertname": "surge", "severity": "ticket", "topic": "Crypto"}
NAMED = Matcher("incident", "i1")


def silence(*matchers: Matcher, **fields: object) -> Silence:
    made = Silence(matchers, NOW, NOW + HOUR, "ann", "mine", "s1")
    return replace(made, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("matchers", "exact"),
    [
        ((NAMED,), True),
        ((NAMED, Matcher("alertname", "surge"), Matcher("severity", "ticket")), True),
        ((NAMED, Matcher("team", "")), True),
        # A mute of more than the incident.
        ((Matcher("alertname", "surge"),), False),
        ((Matcher("incident", "i1|i2", is_regex=True),), False),
        ((Matcher("incident", "i2"),), False),
        ((Matcher("incident", "i1", is_equal=False),), False),
        # A part of the incident.
        ((NAMED, Matcher("severity", "page")), False),
        ((NAMED, Matcher("topic", "Cr.*", is_regex=True)), False),
        ((), False),
    ],
)
def test_only_a_silence_of_exactly_the_incident_acknowledges_it(
    matchers: tuple[Matcher, ...], exact: bool
) -> None:
    assert matches_exactly(silence(*matchers), "i1", [LABELS]) is exact


def test_where_each_alert_goes_by_itself_a_silence_of_one_of_two_is_no_acknowledgement() -> None:
    both = [LABELS, LABELS | {"alertname": "drift"}]
    assert matches_exactly(silence(NAMED), "i1", both)
    assert not matches_exactly(silence(NAMED, Matcher("alertname", "surge")), "i1", both)
    assert not matches_exactly(silence(NAMED), "i1", [])


def test_who_made_the_silence_has_acknowledged_it_once_and_the_monitor_acknowledges_nothing_itself() -> None:
    request = acknowledgement(silence(NAMED), NOW)
    assert request is not None
    assert (request.kind, request.actor, request.key) == (ActionKind.ACKNOWLEDGE, "ann", "silence:s1")
    assert acknowledgement(silence(NAMED, created_by=OWN), NOW) is None
    assert acknowledgement(silence(NAMED, starts_at=NOW + MINUTE), NOW) is None
    assert acknowledgement(silence(NAMED), NOW + HOUR) is None
    nameless = acknowledgement(silence(NAMED, created_by="\n", comment="x" * 9000), NOW)
    assert nameless is not None and nameless.actor == "Alertmanager" and len(nameless.text) == 4000


def test_what_the_desk_keeps_quiet_is_silenced_until_its_time() -> None:
    quiet = replace(INCIDENT, quiet_until=NOW + HOUR)
    (wanted,) = wanted_silences(quiet, "https://monitor.example/incidents/i1", NOW)
    assert (wanted.silence.matchers, wanted.silence.ends_at) == ((NAMED,), NOW + HOUR)
    assert "https://monitor.example/incidents/i1" in wanted.silence.comment
    assert wanted_silences(quiet, "", NOW + HOUR) == []
    assert wanted_silences(replace(quiet, ended_at=NOW), "", NOW) == []
    assert wanted_silences(replace(quiet, closed_at=NOW), "", NOW) == []


ACKNOWLEDGED = replace(
    INCIDENT,
    acknowledged_at=NOW + MINUTE,
    acknowledged_by="ann",
    seen=SeenByDesk(Severity.TICKET, {}),
)


def test_what_the_desk_acknowledged_is_silenced_until_it_gets_worse_or_more_urgent() -> None:
    (wanted,) = wanted_silences(ACKNOWLEDGED, "", NOW + HOUR)
    urgency = Matcher("severity", "ticket|info", is_regex=True)
    assert wanted.silence.matchers == (NAMED, urgency)
    assert wanted_silences(replace(ACKNOWLEDGED, last_page_at=NOW + HOUR), "", NOW + HOUR) == []


def test_alertmanager_is_told_only_what_it_does_not_have() -> None:
    (wanted,) = wanted_silences(ACKNOWLEDGED, "", NOW)
    known = {"i1"}
    assert changes([], [wanted], known) == Changes([wanted.silence], [])
    stored = replace(wanted.silence, id="s7")
    assert changes([stored], [wanted], known) == Changes([], [])
    (later,) = wanted_silences(ACKNOWLEDGED, "", NOW + RENEWED_FOR / 2 + MINUTE)
    assert changes([stored], [later], known) == Changes([replace(later.silence, id="s7")], [])


def test_a_quiet_that_was_made_longer_is_changed_and_one_that_is_over_is_lifted() -> None:
    stored = silence(NAMED, created_by=OWN, ends_at=NOW + HOUR)
    (longer,) = wanted_silences(replace(INCIDENT, quiet_until=NOW + 2 * HOUR), "", NOW)
    assert changes([stored], [longer], {"i1"}) == Changes([replace(longer.silence, id="s1")], [])
    assert changes([stored], [], {"i1"}) == Changes([], ["s1"])


def test_silences_of_people_and_of_other_monitors_stay() -> None:
    of_somebody = silence(NAMED)
    of_another_monitor = silence(Matcher("incident", "elsewhere"), created_by=OWN)
    assert changes([of_somebody, of_another_monitor], [], {"i1"}) == Changes([], [])


ROW = {
    "id": "s1",
    "status": {"state": "active"},
    "comment": "mine",
    "createdBy": "ann",
    "startsAt": "2026-03-01T13:00:00.000+01:00",
    "endsAt": "2026-03-01T13:00:00.000Z",
    "matchers": [{"name": "incident", "value": "i1", "isRegex": False}],
}


def test_a_silence_is_read_as_alertmanager_has_it() -> None:
    expired = ROW | {"status": {"state": "expired"}}
    (found,) = read_silences(json.dumps([ROW, expired]).encode())
    assert found == silence(NAMED)
    assert found.incident == "i1" and timedelta(hours=1) == found.ends_at - found.starts_at


@pytest.mark.parametrize("body", [b"", b"{}x", b'{"a": 1}', b'[{"id": "s1"}]', b"[1]", b"[" * 100_000])
def test_an_answer_that_is_no_list_of_silences_is_said_to_be_unreadable(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_silences(body)

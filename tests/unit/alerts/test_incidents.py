"""Which alerts are one incident, and when it pages."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from alerts.incidents.joining import (
    IncidentPolicy,
    Signal,
    adopt,
    begin,
    by_urgency,
    follow,
    home,
    incident_id,
    is_adopted,
    join,
    page_due,
    paged,
    with_stories,
)
from stream.domain.alerts import Alert, AlertState, Severity
from stream.domain.incidents import Incident, PageDocument, PageKind, page_key

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
POLICY = IncidentPolicy()
TARGETS = ("webhook:desk", "channel:chat")


def alert(
    name: str = "a", *, value: float = 4.0, severity: Severity = Severity.PAGE, **changes: object
) -> Alert:
    made = Alert(
        id=name,
        rule=f"rule {name}",
        topic="Crypto",
        severity=severity,
        state=AlertState.FIRING,
        since=NOW,
        value=value,
        threshold=3.0,
        n=20,
        uncertainty="",
        summary="",
        fired_at=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def signal(
    name: str = "a",
    stories: Mapping[int, int] | None = None,
    entities: Mapping[str, int] | None = None,
    *,
    entity: str | None = None,
    stands_alone: bool = False,
) -> Signal:
    """An alert whose voices are on these stories; none if they are not given."""
    stories = stories or {}
    return Signal(alert(name, entity=entity), sum(stories.values()), stories, entities or {}, stands_alone)


def document(number: int, **changes: object) -> PageDocument:
    made = PageDocument(f"news:wire:{number}", 0, "news", "wire", NOW, NOW, "Crypto", -0.9, is_voice=True)
    return replace(made, **changes)  # type: ignore[arg-type]


OPEN = begin(signal("first", {1: 6, 2: 3, 3: 1}, {"crypto:CEL": 8, "crypto:BTC": 5}), NOW)


@pytest.mark.parametrize(
    ("stories", "joins"), [({1: 5, 9: 5}, True), ({1: 4, 9: 5}, False), ({9: 10}, False), ({}, False)]
)
def test_an_alert_joins_the_incident_that_half_of_its_voices_are_on(
    stories: dict[int, int], joins: bool
) -> None:
    assert (home(signal("second", stories), [OPEN], POLICY, NOW) == OPEN) is joins


@pytest.mark.parametrize(
    ("entity", "n", "joins"),
    [
        ("crypto:CEL", 5, True),
        ("crypto:CEL", 4, False),
        ("crypto:BTC", 10, False),
        ("crypto:LUNA", 10, False),
    ],
)
def test_an_alert_joins_by_a_leading_entity_that_is_not_broad(entity: str, n: int, joins: bool) -> None:
    second = signal("second", {9: 10}, {entity: n})
    assert (home(second, [OPEN], POLICY, NOW) == OPEN) is joins


def test_an_alert_about_an_entity_leads_with_it_and_joins_by_it() -> None:
    second = signal("second", {9: 10}, {"crypto:CEL": 3}, entity="crypto:CEL")
    assert second.lead_entities == ("crypto:CEL",)
    assert home(second, [OPEN], POLICY, NOW) == OPEN


@pytest.mark.parametrize("broad", ["index:SPX", "currency:USD", "commodity:OIL", "cb:FED", "crypto:ETH"])
def test_the_shipped_list_says_what_is_broad_and_a_house_may_say_otherwise(broad: str) -> None:
    first = begin(signal("first", {1: 2}, {broad: 2}), NOW)
    second = signal("second", {9: 2}, {broad: 2})
    assert home(second, [first], POLICY, NOW) is None
    assert home(second, [first], replace(POLICY, broad=("XNAS:*",)), NOW) == first


def test_an_alert_goes_where_most_of_its_voices_are_and_of_equals_to_the_oldest() -> None:
    small = begin(signal("small", {1: 3}), NOW - HOUR)
    large = begin(signal("large", {1: 3, 2: 3}), NOW)
    assert home(signal("second", {1: 4, 2: 4}), [small, large], POLICY, NOW) == large
    assert home(signal("second", {1: 8}), [large, small], POLICY, NOW) == small


def test_nothing_joins_an_incident_of_a_day_or_one_that_is_over_or_stands_alone() -> None:
    second = signal("second", {1: 10})
    for other in (
        replace(OPEN, began_at=NOW - 24 * HOUR),
        replace(OPEN, ended_at=NOW),
        replace(OPEN, stands_alone=True),
    ):
        assert home(second, [other], POLICY, NOW) is None
    assert home(replace(second, stands_alone=True), [OPEN], POLICY, NOW) is None
    assert home(second, [replace(OPEN, began_at=NOW - 23 * HOUR)], POLICY, NOW) is not None


def test_an_incident_keeps_the_stories_that_half_of_the_voices_are_on_and_all_that_are_as_large() -> None:
    assert OPEN.stories == (1,)
    assert signal("a", {1: 5, 2: 3, 3: 3, 4: 1}).main_stories == (1, 2, 3)
    assert signal("a", {1: 1, 2: 1, 3: 1}).main_stories == (1, 2, 3)


def test_an_incident_goes_on_to_the_stories_that_its_alerts_see_by_now() -> None:
    second = signal("second", {8: 3})
    assert home(second, [OPEN], POLICY, NOW) is None
    later = with_stories(OPEN, signal("first", {8: 5, 1: 1}))
    assert later.stories == (1, 8) and home(second, [later], POLICY, NOW) == later


def test_copies_are_no_voices_and_a_text_without_a_story_tells_one_of_its_own() -> None:
    documents = [
        document(1, story=7, entities=("crypto:CEL",)),
        document(2, story=7, is_voice=False, copy_of="news:wire:1", entities=("crypto:LUNA",)),
        document(3, is_voice=None),
    ]
    found = Signal.of(alert(), documents)
    assert found.voices == 2 and found.stories[7] == 1 and len(found.stories) == 2
    assert found.lead_entities == ("crypto:CEL",)
    other = Signal.of(alert("b"), [document(3)])
    assert home(other, [begin(found, NOW)], POLICY, NOW) is not None


def test_the_same_alerts_give_the_same_incidents_in_whatever_order_they_are_found() -> None:
    signals = [
        signal("a", {1: 4}), signal("b", {1: 3, 2: 3}), signal("c", {2: 4}, {"crypto:CEL": 4}),
        signal("d", {5: 4}, {"crypto:CEL": 4}),
    ]  # fmt: skip
    outcomes = set()
    for found in permutations(signals):
        incidents: dict[str, Incident] = {}
        for each in sorted(found, key=lambda one: by_urgency(one.alert)):
            joined = home(each, incidents.values(), POLICY, NOW)
            after = begin(each, NOW) if joined is None else join(joined, each)
            incidents[after.id] = after
        outcomes.add(tuple(incident.alerts for incident in incidents.values()))
    assert len(outcomes) == 1


def test_the_id_of_an_incident_depends_on_its_first_alert_alone() -> None:
    first = alert("a")
    assert incident_id(first) == incident_id(replace(first, value=99.0, incident="x")) != first.id
    assert begin(signal("a", {1: 4}), NOW).id == begin(signal("a", {2: 4}), NOW + HOUR).id
    assert page_key("i", PageKind.UPDATE, 2) == "i:update:2"


def began(*, value: float = 4.0, severity: Severity = Severity.PAGE) -> Incident:
    """An incident that has paged its beginning."""
    first = alert("first", value=value, severity=severity)
    incident = begin(Signal(first, 4, {1: 4}, {"crypto:CEL": 4}), NOW)
    due = page_due(incident, [first], TARGETS, POLICY, NOW)
    assert due is not None and (due.kind, due.targets) == (PageKind.BEGIN, TARGETS)
    return paged(incident, due, [first], NOW)


def test_an_incident_begins_with_a_page_that_is_not_repeated() -> None:
    after = began()
    assert (after.paged_number, after.last_page_at, after.told) == (1, NOW, TARGETS)
    for minutes in (0, 1, 40, 600):
        assert page_due(after, [alert("first")], TARGETS, POLICY, NOW + minutes * MINUTE) is None


@pytest.mark.parametrize(
    ("paged_value", "value", "worse"),
    [(4.0, 8.0, True), (4.0, 7.9, False), (-0.3, -0.6, True), (-0.3, 0.6, False), (4.0, 1.0, False)],
)
def test_twice_the_paged_value_is_an_update_when_half_an_hour_has_passed(
    paged_value: float, value: float, worse: bool
) -> None:
    after, now = began(value=paged_value), alert("first", value=value)
    assert page_due(after, [now], TARGETS, POLICY, NOW + 29 * MINUTE) is None
    due = page_due(after, [now], TARGETS, POLICY, NOW + 30 * MINUTE)
    assert (due is not None and due.kind is PageKind.UPDATE) is worse


def test_another_alert_is_no_update_by_itself_and_is_compared_with_its_own_value() -> None:
    second = alert("second", value=90.0)
    after = join(began(), Signal(second, 4, {1: 4}, {"crypto:CEL": 4}))
    later = NOW + HOUR
    assert page_due(after, [alert("first"), second], TARGETS, POLICY, later) is None
    grown = replace(second, value=180.0)
    assert page_due(after, [alert("first"), grown], TARGETS, POLICY, later) is not None


@pytest.mark.parametrize(("entity", "pages"), [("crypto:LUNA", True), ("crypto:BTC", False)])
def test_a_new_leading_entity_is_an_update_unless_it_is_broad(entity: str, pages: bool) -> None:
    after = join(began(), signal("second", {1: 4}, {entity: 4}))
    due = page_due(after, [alert("first")], TARGETS, POLICY, NOW + HOUR)
    assert (due is not None) is pages
    if due is not None:
        told = paged(after, due, [alert("first")], NOW + HOUR)
        assert page_due(told, [alert("first")], TARGETS, POLICY, NOW + 2 * HOUR) is None


def test_a_higher_severity_pages_at_once_and_a_lower_one_never() -> None:
    after, page = began(severity=Severity.TICKET), alert("second", severity=Severity.PAGE)
    due = page_due(after, [page], TARGETS, POLICY, NOW + MINUTE)
    assert due is not None and due.kind is PageKind.UPDATE
    told = paged(after, due, [page], NOW + MINUTE)
    assert told.paged_severity is Severity.PAGE
    ticket = alert("first", severity=Severity.TICKET)
    assert page_due(told, [ticket], TARGETS, POLICY, NOW + HOUR) is None


def test_whoever_was_not_told_yet_is_told_at_once_when_it_is_worse_and_the_others_in_time() -> None:
    after, worse = began(), alert("first", value=8.0)
    targets = (*TARGETS, "webhook:late")
    assert page_due(after, [alert("first")], targets, POLICY, NOW + MINUTE) is None
    due = page_due(after, [worse], targets, POLICY, NOW + MINUTE)
    assert due is not None and due.targets == ("webhook:late",)
    told = paged(after, due, [worse], NOW + MINUTE)
    assert page_due(told, [worse], targets, POLICY, NOW + 2 * MINUTE) is None
    later = page_due(told, [worse], targets, POLICY, NOW + 30 * MINUTE)
    assert later is not None and later.targets == targets


def test_an_alert_without_a_value_of_now_makes_no_update_but_a_higher_severity_does() -> None:
    ticket, later = began(severity=Severity.TICKET), NOW + HOUR
    grown = alert("first", value=8.0, severity=Severity.TICKET)
    assert page_due(ticket, [grown], TARGETS, POLICY, later, measured=[grown]) is not None
    assert page_due(ticket, [grown], TARGETS, POLICY, later, measured=[]) is None
    wider = join(ticket, signal("second", {1: 4}, {"crypto:LUNA": 4}))
    assert page_due(wider, [grown], TARGETS, POLICY, later, measured=[]) is None
    urgent = alert("second", severity=Severity.PAGE)
    assert page_due(ticket, [urgent], TARGETS, POLICY, later, measured=[]) is not None


def test_what_was_paged_in_the_future_by_a_wrong_clock_holds_no_update_back() -> None:
    after = replace(began(), last_page_at=NOW + 24 * HOUR)
    assert page_due(after, [alert("first", value=8.0)], TARGETS, POLICY, NOW + MINUTE) is not None


def test_an_incident_ends_after_a_calm_and_a_new_fire_begins_the_calm_again() -> None:
    calm = follow(began(), [], POLICY, NOW)
    assert (calm.calm_since, calm.ended_at) == (NOW, None)
    assert follow(calm, [], POLICY, NOW + 119 * MINUTE).ended_at is None
    again = follow(calm, [alert()], POLICY, NOW + HOUR)
    assert again.calm_since is None
    calm = follow(again, [], POLICY, NOW + 2 * HOUR)
    assert follow(calm, [], POLICY, NOW + 3 * HOUR).ended_at is None
    ended = follow(calm, [], POLICY, NOW + 4 * HOUR)
    assert ended.ended_at == NOW + 4 * HOUR
    due = page_due(ended, [], (*TARGETS, "webhook:new"), POLICY, NOW + 4 * HOUR)
    assert due is not None and (due.kind, due.targets) == (PageKind.END, TARGETS)


def test_people_are_told_that_an_incident_was_over_when_its_calm_began() -> None:
    calm = replace(OPEN, calm_since=OPEN.began_at + HOUR)
    ended = replace(calm, ended_at=calm.began_at + 3 * HOUR)
    assert (calm.over_since, ended.over_since) == (None, calm.calm_since)
    closed = replace(OPEN, ended_at=OPEN.began_at - HOUR)
    assert closed.over_since == OPEN.began_at, "by a clock that was set back"


def test_a_calm_that_lies_in_the_future_begins_now() -> None:
    ahead = replace(began(), calm_since=NOW + 24 * HOUR)
    assert follow(ahead, [], POLICY, NOW).calm_since == NOW


def test_an_incident_that_stands_alone_ends_with_its_alert() -> None:
    alone = begin(signal("silence", stands_alone=True), NOW)
    assert follow(alone, [], POLICY, NOW + MINUTE).ended_at == NOW + MINUTE


def test_what_nobody_was_told_of_ends_without_a_page() -> None:
    muted = begin(signal("a", {1: 4}), NOW)
    assert page_due(muted, [], TARGETS, POLICY, NOW) is None
    ended = replace(muted, ended_at=NOW + HOUR)
    assert page_due(ended, [], TARGETS, POLICY, NOW + HOUR) is None


def test_an_alert_that_an_older_version_paged_is_an_incident_of_its_own_that_pages_its_end_alone() -> None:
    old = alert("old", entity="crypto:CEL")
    adopted = adopt(old, TARGETS)
    assert adopted.id == "old" and is_adopted(old) and is_adopted(replace(old, incident="old"))
    assert not is_adopted(replace(old, incident=incident_id(old)))
    assert page_due(adopted, [old], TARGETS, POLICY, NOW + 5 * HOUR) is None
    assert home(signal("second", {}, {"crypto:CEL": 0}, entity="crypto:CEL"), [adopted], POLICY, NOW) is None
    ended = follow(adopted, [], POLICY, NOW + HOUR)
    due = page_due(ended, [], TARGETS, POLICY, NOW + HOUR)
    assert due is not None and page_key("old", due.kind, adopted.paged_number + 1) == "old:end:2"


def test_an_incident_without_end_keeps_a_bounded_number_of_everything() -> None:
    incident = OPEN
    for number in range(1000):
        stories = {number * 10 + i: 1 for i in range(10)}
        incident = join(incident, signal(f"alert {number}", stories, {f"XNAS:{number}": 10}))
    assert (len(incident.stories), len(incident.lead_entities), len(incident.alerts)) == (500, 50, 200)
    assert len(incident.paged_values) == 200 and "alert 999" in incident.paged_values

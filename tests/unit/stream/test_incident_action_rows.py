"""The desk's actions in SQL, on both databases: once each, whoever acts and evaluates at the same time."""

import threading
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from alerts.errors import ActionOutdated
from alerts.incidents.actions import act
from stream.domain.alerts import PageRequest, Severity
from stream.domain.errors import IncidentChanged, IncidentMissing
from stream.domain.incident_actions import ActionKind, ActionRequest, JudgedAlert, Verdict
from stream.domain.incidents import PageKind, SeenByDesk
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.audit import read_audit
from stream.storage.batches import Store
from stream.storage.desk.incidents import (
    IncidentFilter,
    Which,
    alert_changes,
    list_incidents,
    listed_incident,
)
from stream.storage.desk.judgements import judged_alerts
from stream.storage.incident_actions import Done, IncidentActions, Work
from stream.storage.outbox import Outbox
from stream.storage.retention import purge
from tests.unit.stream.samples import NOW
from tests.unit.stream.test_episode_store import firing_alert
from tests.unit.stream.test_incident_rows import (
    HOUR,
    INCIDENT,
    MINUTE,
    TARGET,
    episodes_of,
    evaluator_of,
    keys,
    page,
    surge,
)


def decide(work: Work, request: ActionRequest, now: datetime) -> Done:
    return Done(*act(work.incident, work.alerts, work.since, request, now))


def request(kind: ActionKind, key: str = "k", actor: str = "ann", **fields: Any) -> ActionRequest:
    return ActionRequest(kind, key, actor, **fields)


ACKNOWLEDGE = request(ActionKind.ACKNOWLEDGE)


def begun(store: Store) -> tuple[SqlEpisodeStore, IncidentActions]:
    """An incident that has paged its beginning; the page waits in the outbox."""
    episodes = episodes_of(store)
    first = page(PageKind.BEGIN, 1)
    waiting = PageRequest(TARGET, first.key, "i", first.message, NOW + HOUR)
    episodes.save([firing_alert(incident="i")], [], [], [waiting], NOW, [INCIDENT], [first])
    return episodes, IncidentActions(store, decide)


def test_an_action_is_read_as_it_was_carried_out_and_the_incident_with_it(store: Store) -> None:
    episodes, actions = begun(store)
    done = actions.act("i", replace(ACKNOWLEDGE, text="on it"), NOW + MINUTE)
    assert actions.of("i") == [done.action] and done.action.number == 1
    assert episodes.incidents_of(["i"]) == {"i": done.incident}
    assert done.incident.acknowledged_by == "ann"
    (entry,) = read_audit(store.engine, 9)
    assert (entry.user, entry.action, entry.subject, entry.detail) == (
        "ann", "incident.acknowledge", "i", "on it",
    )  # fmt: skip
    assert done.incident.seen == SeenByDesk(Severity.PAGE, {"abc": 4.5}, ("crypto:CEL",))
    closed = actions.act("i", request(ActionKind.CLOSE, "c", verdict=Verdict.OLD), NOW + HOUR)
    assert episodes.open_incidents() == [closed.incident]
    assert closed.incident.verdict is Verdict.OLD
    with pytest.raises(IncidentMissing):
        actions.act("j", ACKNOWLEDGE, NOW)


def test_a_form_that_is_sent_many_times_at_once_is_one_action(store: Store) -> None:
    _, actions = begun(store)
    comment = request(ActionKind.COMMENT, text="a broker says so too")
    results: list[Done] = []
    threads = [
        threading.Thread(target=lambda: results.append(actions.act("i", comment, NOW))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.repeated for done in results) == [False] + [True] * 5
    assert [action.text for action in actions.of("i")] == ["a broker says so too"]


def test_of_two_people_who_acknowledge_at_once_one_is_the_first_and_the_other_learns_it(store: Store) -> None:
    _, actions = begun(store)
    outcomes: list[str] = []
    both = threading.Barrier(2)

    def acknowledge(name: str) -> None:
        both.wait()
        try:
            actions.act("i", request(ActionKind.ACKNOWLEDGE, f"key of {name}", name, expected=0), NOW)
            outcomes.append("first")
        except ActionOutdated as outdated:
            outcomes.append(str(outdated).split()[0])

    threads = [threading.Thread(target=acknowledge, args=(name,)) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (action,) = actions.of("i")
    assert sorted(outcomes) == sorted(["first", action.actor])


def test_a_change_that_the_actor_has_not_seen_is_found_by_its_number(store: Store) -> None:
    _, actions = begun(store)
    actions.act("i", request(ActionKind.ASSIGN, "a", assignee="bob"), NOW)
    actions.act("i", request(ActionKind.COMMENT, "b", text="x"), NOW)
    close = request(ActionKind.CLOSE, "c", verdict=Verdict.OLD)
    with pytest.raises(ActionOutdated, match="ann has assigned it to bob"):
        actions.act("i", replace(close, expected=0), NOW)
    assert actions.act("i", replace(close, expected=1), NOW).action.number == 3


def test_an_evaluation_keeps_what_the_desk_said(store: Store) -> None:
    episodes, actions = begun(store)
    (before,) = episodes.open_incidents()
    done = actions.act("i", ACKNOWLEDGE, NOW)
    with pytest.raises(IncidentChanged):
        episodes.save([], [], [], [], NOW, [replace(before, calm_since=NOW)], [])
    assert episodes.open_incidents() == [done.incident]
    later = replace(done.incident, calm_since=NOW, acknowledged_by="a wrong clock", actions=1)
    episodes.save([], [], [], [], NOW, [later], [])
    assert episodes.open_incidents() == [replace(done.incident, calm_since=NOW)]


def waiting(store: Store, now: datetime) -> list[str | None]:
    return [entry.key for entry in Outbox(store.engine).due([TARGET], now, 9)]


def outcomes(episodes: SqlEpisodeStore) -> list[tuple[str, str | None]]:
    return [(row.key, row.outcome) for row in episodes.deliveries_of("i")]


def test_a_page_that_waits_is_not_sent_to_whoever_knows(store: Store) -> None:
    episodes, actions = begun(store)
    actions.act("i", ACKNOWLEDGE, NOW)
    assert waiting(store, NOW + 2 * HOUR) == []
    assert outcomes(episodes) == [("i:begin:1", "withdrawn")]


def test_what_waits_is_held_until_the_quiet_is_over_and_the_end_comes_through(store: Store) -> None:
    episodes, actions = begun(store)
    actions.act("i", request(ActionKind.QUIET, until=NOW + 3 * HOUR), NOW)
    assert waiting(store, NOW + 2 * HOUR) == []
    assert waiting(store, NOW + 3 * HOUR) == ["i:begin:1"]
    (incident,) = episodes.open_incidents()
    end = page(PageKind.END, 2)
    ended = replace(incident, ended_at=NOW, paged_number=2)
    episodes.save([], [], [], [PageRequest(TARGET, end.key, "i", end.message, NOW)], NOW, [ended], [end])
    actions.act("i", request(ActionKind.CLOSE, "c", verdict=Verdict.OLD), NOW)
    assert waiting(store, NOW + 4 * HOUR) == ["i:end:2"]
    assert outcomes(episodes) == [("i:begin:1", "withdrawn"), ("i:end:2", None)]


def test_the_evaluation_ends_a_closed_incident_with_one_page_and_is_silent_then(store: Store) -> None:
    surge(store)
    evaluator, episodes = evaluator_of(store)
    (alert,) = evaluator.evaluate(NOW)
    assert alert.incident is not None
    actions = IncidentActions(store, decide)
    actions.act(alert.incident, request(ActionKind.CLOSE, verdict=Verdict.NOT_NEWS), NOW + MINUTE)
    for minutes in (2, 3, 4):
        evaluator.evaluate(NOW + minutes * MINUTE)
    assert keys(store) == [f"{alert.incident}:begin:1", f"{alert.incident}:end:2"]
    assert [each.ended_at for each in episodes.recent_incidents(9)] == [NOW + 2 * MINUTE]


def test_purging_erases_what_people_wrote_and_keeps_who_did_what(store: Store) -> None:
    _, actions = begun(store)
    actions.act("i", request(ActionKind.COMMENT, text="Ada Byron told me"), NOW)
    purge(store, NOW + HOUR, NOW + 2 * HOUR)
    (action,) = actions.of("i")
    assert (action.text, action.actor, action.kind) == ("", "ann", ActionKind.COMMENT)


def ids(store: Store, **wanted: Any) -> list[str]:
    return [each.incident.id for each in list_incidents(store, IncidentFilter(**wanted), 10)]


def several(store: Store) -> None:
    """Three incidents: an open one, one that is over, and one that somebody closed."""
    episodes = episodes_of(store)
    over = replace(
        INCIDENT,
        id="over",
        began_at=NOW - HOUR,
        ended_at=NOW,
        severity=Severity.TICKET,
        alerts=("b",),
        lead_entities=(),
    )
    closed = replace(INCIDENT, id="closed", began_at=NOW + HOUR, alerts=("c",), lead_entities=("XNAS:A_C",))
    alerts = [
        firing_alert(incident="i"),
        firing_alert(id="b", incident="over", rule="other", topic="Macro", sources={"wire": 2, "blog": 1}),
        firing_alert(id="c", incident="closed", entity="XNAS:NGTB", voices=7),
    ]
    episodes.save(alerts, [], [], [], NOW, [INCIDENT, over, closed], [])
    actions = IncidentActions(store, decide)
    actions.act("closed", request(ActionKind.CLOSE, verdict=Verdict.TOO_SMALL), NOW)
    actions.act("over", ACKNOWLEDGE, NOW)


def test_the_list_is_of_what_is_open_or_past_by_rule_topic_entity_and_severity(store: Store) -> None:
    several(store)
    assert ids(store) == ["closed", "i", "over"]
    assert ids(store, which=Which.OPEN) == ["i"] and ids(store, which=Which.PAST) == ["closed", "over"]
    assert ids(store, rule="other") == ["over"] and ids(store, topic="Earnings") == ["closed", "i"]
    assert ids(store, entity="crypto:CEL") == ["i"] and ids(store, entity="XNAS:NGTB") == ["closed"]
    # No sign of a pattern means anything but itself.
    assert ids(store, entity="XNAS:A_C") == ["closed"] and ids(store, entity="XNAS:AXC") == []
    assert ids(store, severity=Severity.TICKET) == ["over"]
    listed = listed_incident(store, "over")
    assert listed is not None and (listed.rules, listed.topics) == (("other",), ("Macro",))
    assert listed_incident(store, "nope") is None and listed_incident(store, "\0") is None


def test_the_list_goes_on_where_the_part_before_ended(store: Store) -> None:
    several(store)
    after, found = None, []
    while part := list_incidents(store, IncidentFilter(), 1, after):
        (each,) = part
        found.append(each.incident.id)
        after = (each.incident.began_at, each.incident.id)
    assert found == ["closed", "i", "over"]


def test_each_alert_of_an_incident_that_paged_has_what_the_desk_said_of_it(store: Store) -> None:
    several(store)
    said = {row.incident: row for row in judged_alerts(store, NOW - HOUR)}
    assert said == {
        "i": JudgedAlert("i", "r", None, False, False, 0),
        "over": JudgedAlert("over", "other", None, True, True, 2),
        "closed": JudgedAlert("closed", "r", Verdict.TOO_SMALL, False, False, 0, 7),
    }
    assert {row.incident for row in judged_alerts(store, NOW)} == {"i", "closed"}


def test_the_changes_of_an_incident_s_alerts_are_in_order(store: Store) -> None:
    surge(store)
    evaluator, _ = evaluator_of(store)
    (alert,) = evaluator.evaluate(NOW)
    (change,) = alert_changes(store, [alert.id])
    assert (change.at, change.rule, change.state) == (NOW, "share", "firing")
    assert alert_changes(store, []) == []


def test_what_was_stored_before_there_were_actions_reads_as_if_nobody_had_acted(store: Store) -> None:
    begun(store)
    table = schema.incidents.c
    with database.reading(store.engine) as connection:
        row = connection.execute(select(table.seen, table.verdict, table.actions)).one()
    assert tuple(row) == (None, None, 0)

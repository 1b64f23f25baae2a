"""Incidents and their pages in SQL, and what is read for them, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from alerts.delivery.pages import PageRouter
from alerts.detectors.threshold import ThresholdRule
from alerts.evaluator import AlertEvaluator
from alerts.incidents.joining import IncidentPolicy, incident_id
from alerts.metrics import AlertMetrics
from stream.domain.alerts import Alert, AlertState, PageRequest, Severity
from stream.domain.documents import EPOCH
from stream.domain.errors import LeaseLost
from stream.domain.incidents import (
    AlertInputs,
    Incident,
    Page,
    PageInputs,
    PageKind,
    page_key,
)
from stream.domain.sums import Scope
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox
from stream.storage.retention import purge
from tests.unit.stream.samples import NEWS_1, NOW, about, classified, mention, write
from tests.unit.stream.test_episode_store import firing_alert

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TARGET = "webhook:desk"
INCIDENT = Incident(
    "i",
    NOW,
    Severity.PAGE,
    "Celsius: withdrawals halted",
    lead_entities=("crypto:CEL",),
    stories=(7, 1 << 62 | 5, -3),
    alerts=("abc",),
    last_page_at=NOW,
    paged_number=1,
    paged_value=1.5,
    paged_severity=Severity.PAGE,
    paged_values={"abc": 4.5},
    paged_entities=("crypto:CEL",),
    told=(TARGET,),
)
INPUTS = PageInputs(
    NOW,
    (AlertInputs("abc", "r", "d1", NOW - MINUTE, NOW, 4.5, "d2", 40),),
    ("m-1",),
    "g-1",
    99,
    {"news/0": 5},
)


def page(kind: PageKind, number: int, incident: str = "i") -> Page:
    message = {"id": "abc", "key": page_key(incident, kind, number), "state": "firing", "incident": incident}
    return Page(page_key(incident, kind, number), incident, kind, number, NOW, message, INPUTS)


def episodes_of(store: Store, holder: str = "me") -> SqlEpisodeStore:
    return SqlEpisodeStore(store, Lease(store, "alerts", holder, 20), "alerts")


def test_an_incident_and_its_pages_are_read_as_they_were_saved(store: Store) -> None:
    episodes = episodes_of(store)
    request = PageRequest(TARGET, "i:begin:1", "i", page(PageKind.BEGIN, 1).message, NOW)
    alert = firing_alert(incident="i")
    episodes.save([alert], [], [], [request], NOW, [INCIDENT], [page(PageKind.BEGIN, 1)])
    assert episodes.open_incidents() == [INCIDENT] == episodes.recent_incidents(5)
    assert episodes.pages("i") == [page(PageKind.BEGIN, 1)] == [episodes.page("i:begin:1")]
    assert episodes.alerts_of("i") == [alert]
    assert [(row.target, row.key) for row in episodes.deliveries_of("i")] == [(TARGET, "i:begin:1")]
    ended = replace(INCIDENT, ended_at=NOW + HOUR, paged_number=2)
    episodes.save([], [], [], [], NOW, [ended], [page(PageKind.END, 2)])
    assert episodes.open_incidents() == []
    assert episodes.followed_incidents(NOW) == [ended]
    assert episodes.followed_incidents(NOW + 2 * HOUR) == []
    assert episodes.last_pages(["i", "j"]) == {"i": page(PageKind.END, 2)}


def test_a_monitor_that_was_suspended_sends_no_page_that_another_one_has_sent(store: Store) -> None:
    episodes = episodes_of(store)
    begun = replace(INCIDENT, paged_number=1)
    episodes.save([firing_alert(incident="i")], [], [], [], NOW, [begun], [page(PageKind.BEGIN, 1)])
    request = PageRequest(TARGET, "i:begin:1", "i", page(PageKind.BEGIN, 1).message, NOW)
    with pytest.raises(LeaseLost, match="another monitor has sent page 1 of incident i"):
        episodes.save([], [], [], [request], NOW, [begun], [page(PageKind.BEGIN, 1)])
    assert episodes.deliveries_of("i") == []


def test_what_is_urgent_does_not_wait_behind_what_waits_for_the_morning(store: Store) -> None:
    episodes, outbox = episodes_of(store), Outbox(store.engine)
    morning = NOW + 8 * HOUR
    ticket = PageRequest(TARGET, "i:begin:1", "i", page(PageKind.BEGIN, 1).message, morning)
    other = PageRequest(TARGET, "j:begin:1", "j", page(PageKind.BEGIN, 1, "j").message, morning)
    episodes.save([], [], [], [ticket, other], NOW)
    assert outbox.due([TARGET], NOW, 9) == []
    urgent = PageRequest(TARGET, "i:update:2", "i", page(PageKind.UPDATE, 2).message, NOW)
    episodes.save([], [], [], [urgent], NOW)
    assert [entry.key for entry in outbox.due([TARGET], NOW, 9)] == ["i:begin:1", "i:update:2"]
    assert [entry.key for entry in outbox.due([TARGET], morning, 9)][-1] == "i:update:2"
    assert len(outbox.due([TARGET], morning, 9)) == 3


def test_purging_erases_what_pages_said_and_keeps_their_digests(store: Store) -> None:
    episodes = episodes_of(store)
    ended = replace(INCIDENT, ended_at=NOW)
    episodes.save([], [], [], [], NOW, [ended], [page(PageKind.BEGIN, 1)])
    purge(store, NOW + HOUR, NOW + 2 * HOUR)
    (erased,) = episodes.pages("i")
    assert (erased.message, erased.inputs) == ({}, INPUTS)
    assert [incident.title for incident in episodes.recent_incidents(1)] == [""]


def test_the_documents_behind_an_alert_have_entities_and_versions_as_of_one_moment(store: Store) -> None:
    scope = Scope(None, ("news", "comment"), NOW - HOUR, NOW + HOUR)
    bank, passing = mention("XNAS:NGTB"), mention("XNAS:AAPL", relevance=10)
    write(store, about(classified("a", 0), bank, passing), classified("b", 1, sentiment="neutral", score=0.0))
    with store.reads.at_one_moment(NOW) as moment:
        write(store, classified("c", 0, NEWS_1))
        (found,) = store.reads.negative_documents(scope, 20, 10)
    assert (found.key, found.version, found.entities, found.score) == ("news:wire:a", 0, ("XNAS:NGTB",), -0.5)
    assert (found.model, found.gazetteer, found.story) == ("m-1", "g-1", None)
    assert (moment.offsets, moment.story_seq) == ({"news/0": 2}, None)
    after = store.reads.negative_documents(scope, 20, 10)
    assert [document.key for document in after] == ["news:wire:a", "news:wire:c"]
    assert [document.key for document in store.reads.negative_documents(scope, 20, 1)] == ["news:wire:c"]


def test_a_read_that_fails_spoils_none_after_it_at_the_same_moment(store: Store) -> None:
    with store.reads.at_one_moment(NOW):
        with pytest.raises(Exception, match="nothing_like_it"), database.reading(store.engine) as connection:
            connection.execute(text("SELECT * FROM nothing_like_it"))
        assert store.reads.sums(EPOCH, NOW) == []


RULE = ThresholdRule.model_validate(
    {"name": "share", "type": "threshold", "watch": "negative_share", "threshold": 0.6, "topics": "all",
     "min_documents": 5, "window": "15m", "keep_firing_for": "1m"}
)  # fmt: skip


def evaluator_of(
    store: Store, holder: str = "me", policy: IncidentPolicy | None = None
) -> tuple[AlertEvaluator, SqlEpisodeStore]:
    episodes = episodes_of(store, holder)
    evaluator = AlertEvaluator(
        rules=[RULE],
        topics=("Earnings",),
        reader=store.reads,
        episodes=episodes,
        delivery=PageRouter((TARGET,)),
        window_width=MINUTE,
        metrics=AlertMetrics(),
        policy=policy or IncidentPolicy(),
    )
    return evaluator, episodes


def surge(store: Store) -> None:
    write(store, *[classified(str(i), i, at=NOW - MINUTE, title=f"Bank {i} fails") for i in range(8)])


def keys(store: Store) -> list[str]:
    with database.reading(store.engine) as connection:
        table = schema.deliveries
        return list(connection.scalars(select(table.c.key).order_by(table.c.queued_at, table.c.key)))


def test_an_event_is_one_beginning_and_one_end_whichever_monitor_evaluates(store: Store) -> None:
    surge(store)
    first, episodes = evaluator_of(store, "first")
    second, _ = evaluator_of(store, "second")
    (alert,) = first.evaluate(NOW)
    id_ = incident_id(alert)
    assert (alert.incident, keys(store)) == (id_, [f"{id_}:begin:1"])
    (begun,) = episodes.pages(id_)
    assert begun.inputs.offsets == {"news/0": 8} and begun.inputs.models == ("m-1",)
    assert [each.n for each in begun.inputs.alerts] == [8] and begun.message["voices"] == 8
    calm = [classified(f"c{i}", 10 + i, at=NOW + 30 * MINUTE, sentiment="neutral") for i in range(8)]
    write(store, *calm)
    with pytest.raises(LeaseLost):
        second.evaluate(NOW + 30 * MINUTE)
    Lease(store, "alerts", "first", 20).release()
    for minutes in (30, 31, 32, 152):
        second.evaluate(NOW + minutes * MINUTE)
    assert keys(store) == [f"{id_}:begin:1", f"{id_}:end:2"]
    assert episodes.open_incidents() == []
    assert [row["page"] for row in (each.message for each in episodes.pages(id_))] == ["begin", "end"]


def test_an_alert_that_the_last_release_paged_is_adopted_without_a_second_page(store: Store) -> None:
    surge(store)
    evaluator, episodes = evaluator_of(store)
    (alert,) = evaluator.evaluate(NOW)
    with database.writing(store.engine) as connection:
        for table in (schema.incidents, schema.pages, schema.outbox, schema.deliveries):
            connection.execute(table.delete())
        connection.execute(schema.alerts.update().values(incident=None))
    (adopted,) = evaluator.evaluate(NOW + MINUTE)
    assert adopted.incident == adopted.id == alert.id
    assert keys(store) == []
    write(store, *[classified(f"c{i}", 10 + i, at=NOW + 3 * MINUTE, sentiment="neutral") for i in range(8)])
    for minutes in (4, 6):
        evaluator.evaluate(NOW + minutes * MINUTE)
    assert keys(store) == [f"{alert.id}:end:2"]
    (ended,) = episodes.alerts_of(alert.id)
    assert isinstance(ended, Alert) and ended.state is AlertState.RESOLVED

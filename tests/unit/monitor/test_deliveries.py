"""Pages out of a real outbox to real receivers on loopback: grouped, in order, each followed to its end."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import update

from alerts.delivery.messages import alert_key, alert_message
from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.pages import PageRouter
from alerts.delivery.template import EXAMPLE
from alerts.detectors.threshold import ThresholdRule
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore, Text
from alerts.metrics import AlertMetrics
from monitor.runtime.log import LIBRARY_LEVELS, URL_LOGGERS
from monitor.runtime.tasks.page_delivery import PageDelivery
from stream.domain.alerts import (
    Alert,
    AlertState,
    EvidenceItem,
    PageRequest,
    Severity,
    Transition,
)
from stream.domain.records import OutboundMessage
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox, enqueue
from stream.storage.settings import DatabaseSettings
from tests.parts import Receiver
from tests.stand_ins import CHANNELS, RATE_LIMITS, REFUSES, TAKES, Reply, StandIns

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
RULE = ThresholdRule.model_validate(
    {"name": "rule", "type": "threshold", "watch": "mean_score", "threshold": -0.3}
)
TARGETS = ("webhook:desk", "channel:chat")


class Room:
    """A store, an outbox and its delivery to one webhook and one channel."""

    def __init__(self, folder: Path, desk: Receiver, chat_url: str) -> None:
        settings = DatabaseSettings.model_validate({"url": f"sqlite:///{folder / 'test.db'}"})
        database.upgrade(settings)
        self.store = Store(database.connect(settings), 60)
        self.now, self.metrics = NOW, AlertMetrics()
        self.alerts = SqlEpisodeStore(self.store, Lease(self.store, "alerts", "me", 20), "alerts")
        self.outbox = Outbox(self.store.engine)
        self.deliver = PageDelivery(
            webhooks=Webhooks({"desk": SecretStr(desk.url)}, 2),
            channels=Channels({"chat": SecretStr(chat_url)}, 10),
            webhook_bytes=100_000,
            channel_bytes=4000,
            outbox=self.outbox,
            metrics=self.metrics,
            clock=lambda: self.now,
        )

    def transition(self, state: AlertState, *topics: str, **changes: Any) -> None:
        for topic in topics:
            fields = {name: getattr(EXAMPLE, name) for name in Alert.__slots__}
            id_ = f"{changes.get('rule', '')}{topic}"
            named = {"id": id_, "topic": topic, "state": state, "summary": f"about {topic}"}
            alert = Alert(**fields | named | changes)
            message = PageRouter(address="https://monitor.example", max_bytes=10**7).message(alert, RULE)
            lane = f"{alert.rule}:{alert.severity}"
            page_requests = [PageRequest(target, alert_key(alert), lane, message, NOW) for target in TARGETS]
            transition = Transition(alert, None, NOW, alert_message(alert, RULE))
            self.alerts.save([alert], [], [transition], page_requests, NOW)

    def send(self, now: datetime = NOW) -> None:
        """Until nothing is due, as the runner does."""
        self.now = now
        while due := self.outbox.due(TARGETS, now, 50):
            self.deliver(due)


@pytest.fixture
def desk() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def chat() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def room(tmp_path: Path, desk: Receiver, chat: Receiver) -> Iterator[Room]:
    scene = Room(tmp_path, desk, chat.url.replace("http://", "json://"))
    yield scene
    scene.store.engine.dispose()


def test_topics_of_one_rule_are_grouped_in_one_page_when_firing_and_one_when_resolved(
    room: Room, desk: Receiver, chat: Receiver
) -> None:
    room.transition(AlertState.FIRING, "IPO", "Macro", "Fed")
    room.transition(AlertState.RESOLVED, "IPO", "Macro")
    room.send()
    firing, resolved = desk.taken
    assert (firing["topic"], firing["state"]) == ("IPO", "firing")
    assert [other["topic"] for other in firing["others"]] == ["Macro", "Fed"]
    assert [other["key"] for other in resolved["others"]] == ["Macro:resolved"]
    first, second = chat.taken
    assert first["title"] == second["title"].replace("1 more", "2 more") == "rule on IPO and 2 more [page]"
    assert (first["type"], second["type"]) == ("failure", "success")
    assert "also Macro: about Macro" in first["message"]
    assert second["message"].startswith("RESOLVED: about IPO")
    assert room.outbox.due(TARGETS, NOW, 50) == []
    assert {row.outcome for id_ in ("IPO", "Macro", "Fed") for row in room.alerts.deliveries(id_)} == {"sent"}


def test_a_failing_receiver_gets_its_pages_in_order_and_delays_no_other(
    room: Room, desk: Receiver, chat: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    for library in URL_LOGGERS:
        caplog.set_level(LIBRARY_LEVELS[library], library)
    caplog.set_level(logging.INFO)
    desk.status = chat.status = 503
    room.transition(AlertState.FIRING, "IPO")
    room.transition(AlertState.RESOLVED, "IPO")
    room.send()
    assert [page["state"] for page in desk.refused] == ["firing"]
    assert "secret-token" not in caplog.text
    assert "failed, will be retried" in caplog.text
    desk.status = chat.status = 200
    room.send(NOW + timedelta(minutes=1))
    assert [page["state"] for page in desk.taken] == ["firing", "resolved"]
    assert len(chat.taken) == 2


def test_a_page_that_is_refused_for_good_is_recorded_as_refused(room: Room, desk: Receiver) -> None:
    desk.status = 400
    room.transition(AlertState.FIRING, "IPO")
    room.send()
    outcomes = {row.target: row.outcome for row in room.alerts.deliveries("IPO")}
    assert outcomes == {"webhook:desk": "refused", "channel:chat": "sent"}


@pytest.mark.parametrize(("status", "outcome"), [(200, "sent"), (503, None)])
def test_an_answer_of_endless_brackets_is_one_like_any_other(
    room: Room, desk: Receiver, chat: Receiver, status: int, outcome: str | None
) -> None:
    desk.status = chat.status = status
    desk.answer = chat.answer = b"[" * 60_000
    room.transition(AlertState.FIRING, "IPO")
    room.send()
    assert {row.outcome for row in room.alerts.deliveries("IPO")} == {outcome}
    assert counted(room, "sent" if outcome else "failed") == 1


def test_a_page_that_is_not_accepted_for_a_week_no_longer_blocks_later_ones(
    room: Room, desk: Receiver
) -> None:
    desk.status = 503
    room.transition(AlertState.FIRING, "IPO")
    room.send(NOW + timedelta(days=6))
    depth = room.outbox.depth(TARGETS, NOW + timedelta(days=6))
    assert (depth.entries, depth.failing_since) == (1, NOW + timedelta(days=6))
    long_ago = datetime.now(UTC) - timedelta(days=8)
    with database.writing(room.store.engine) as connection:
        connection.execute(update(schema.deliveries).values(queued_at=long_ago))
    room.send(NOW + timedelta(days=6, minutes=5))
    outcomes = {row.target: row.outcome for row in room.alerts.deliveries("IPO")}
    assert outcomes == {"webhook:desk": "refused", "channel:chat": "sent"}
    assert room.outbox.depth(TARGETS, NOW + timedelta(days=8)).entries == 0


def test_a_fresh_page_is_not_given_up_with_an_old_one(
    room: Room, desk: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    desk.status = 503
    room.transition(AlertState.FIRING, "IPO", "Macro")
    long_ago = datetime.now(UTC) - timedelta(days=8)
    with database.writing(room.store.engine) as connection:
        old = schema.deliveries.c.key == "IPO:firing"
        connection.execute(update(schema.deliveries).where(old).values(queued_at=long_ago))
    room.send()
    outcomes = {row.outcome for row in room.alerts.deliveries("IPO") if row.target == "webhook:desk"}
    assert outcomes == {"refused"} and "page IPO:firing to receiver desk is given up" in caplog.text
    desk.status = 200
    room.send(NOW + timedelta(minutes=5))
    assert [page["topic"] for page in desk.taken] == ["Macro"]


def test_a_monitor_that_lost_its_lease_sends_no_smaller_form(room: Room, desk: Receiver) -> None:
    desk.status = 413
    room.transition(AlertState.FIRING, "IPO", "Macro", evidence=evidence())
    due = [entry for entry in room.outbox.due(TARGETS, NOW, 50) if entry.target == "webhook:desk"]
    room.deliver(due, lambda: False)
    assert len(desk.refused) == 1
    desk.status = 200
    room.send(NOW + timedelta(minutes=5))
    assert [page["topic"] for page in desk.taken] == ["IPO"] and len(desk.taken[0]["others"]) == 1


def test_a_host_whose_clock_is_far_ahead_gives_up_no_page(room: Room, desk: Receiver) -> None:
    desk.status = 503
    room.transition(AlertState.FIRING, "IPO")
    room.send(NOW + timedelta(days=30))
    assert room.outbox.depth(TARGETS, NOW + timedelta(days=30)).entries == 1


def test_pages_for_a_receiver_that_is_no_longer_configured_are_ignored(room: Room, desk: Receiver) -> None:
    desk.status = 503
    room.transition(AlertState.FIRING, "IPO")
    room.send()
    assert room.outbox.depth(TARGETS, NOW).failing_since == NOW
    assert room.outbox.depth(["channel:chat"], NOW).entries == 0


def counted(room: Room, outcome: str, receiver: str = "desk") -> float:
    samples = [sample for family in room.metrics.pages.collect() for sample in family.samples]
    labels = {"receiver": receiver, "outcome": outcome}
    return sum(s.value for s in samples if s.labels == labels and s.name.endswith("_total"))


def evidence(words: int = 5, characters: int = 1000) -> tuple[EvidenceItem, ...]:
    item = EvidenceItem("wire", "1", NOW, "\u7206" * 500, -0.9, ("\u8dcc" * characters,) * words)
    return (item,) * 5


@pytest.mark.parametrize(
    ("max_bytes", "left"), [(10**6, "evidence"), (3000, "labels"), (900, "title and link")]
)
def test_a_page_that_a_receiver_finds_too_large_goes_again_with_less_in_it(
    room: Room, desk: Receiver, chat: Receiver, max_bytes: int, left: str
) -> None:
    desk.max_bytes = chat.max_bytes = max_bytes
    room.transition(AlertState.FIRING, "IPO", evidence=evidence(), uncertainty="u" * 500)
    room.send()
    (page,), (text,) = desk.taken, chat.taken
    assert bool(page["evidence"]) is (left == "evidence")
    assert bool(page["uncertainty"]) is (left != "title and link")
    assert page["key"] == "IPO:firing" and page["link"] == "https://monitor.example/alerts/IPO"
    assert ("shortened" in page) is (left != "evidence")
    assert "https://monitor.example/alerts/IPO" in text["message"] and text["title"] == "rule on IPO [page]"
    assert {row.outcome for row in room.alerts.deliveries("IPO")} == {"sent"}


def test_a_receiver_that_takes_no_large_page_gets_what_belongs_together_one_by_one(
    room: Room, desk: Receiver
) -> None:
    desk.max_bytes = 900
    topics = [f"topic {number}" for number in range(20)]
    room.transition(AlertState.FIRING, *topics, evidence=evidence())
    room.transition(AlertState.RESOLVED, "topic 3")
    room.send()
    pages = [alert for page in desk.taken for alert in (page, *page["others"])]
    assert [page["topic"] for page in pages] == [*topics, "topic 3"] and pages[-1]["state"] == "resolved"
    assert {row.outcome for topic in topics for row in room.alerts.deliveries(topic)} == {"sent"}


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_page_that_is_refused_in_every_form_is_given_up_and_keeps_no_later_one_back(
    room: Room, desk: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    desk.status = status
    room.transition(AlertState.FIRING, "IPO", evidence=evidence())
    room.send()
    assert [bool(page["evidence"]) for page in desk.refused] == [True, False, False]
    assert "webhook:desk" in caplog.text and "is given up" in caplog.text
    assert counted(room, "refused") == 1
    desk.status = 200
    room.transition(AlertState.RESOLVED, "IPO")
    room.send()
    assert [page["state"] for page in desk.taken] == ["resolved"]
    outcomes = [row.outcome for row in room.alerts.deliveries("IPO") if row.target == "webhook:desk"]
    assert sorted(outcomes) == ["refused", "sent"]


def test_a_page_of_many_megabytes_that_an_older_version_queued_arrives_within_the_budgets(
    room: Room, desk: Receiver, chat: Receiver
) -> None:
    desk.max_bytes = 100_000
    fields = {name: getattr(EXAMPLE, name) for name in Alert.__slots__}
    alert = Alert(**fields | {"evidence": evidence()})
    message = alert_message(alert, RULE, "https://monitor.example/alerts/1") | {
        "evidence": evidence(50, 16_000), "sources": {f"source {n}": n for n in range(10_000)},
    }  # fmt: skip
    body = msgspec.json.encode(message)
    assert len(body) > 3_000_000
    with database.writing(room.store.engine) as connection:
        enqueue(connection, [OutboundMessage(target, body, key="k") for target in TARGETS], NOW)
    room.send()
    assert desk.refused == []
    (page,), (text,) = desk.taken, chat.taken
    assert page["shortened"] and page["evidence"] == [] and page["message"] == message["message"]
    assert "shortened" in text["message"] and len(text["message"].encode()) < 4000


def test_a_merged_page_keeps_the_evidence_of_its_first_alert_where_all_of_it_is_too_large(
    room: Room, desk: Receiver
) -> None:
    topics = [f"topic {number}" for number in range(20)]
    room.transition(AlertState.FIRING, *topics, evidence=evidence())
    room.send()
    (page,) = desk.taken
    assert page["evidence"] and page["shortened"]
    assert len(page["others"]) == 19 and not any(other["evidence"] for other in page["others"])


def test_an_outbox_row_that_cannot_be_read_is_given_up_and_stops_nothing(room: Room, desk: Receiver) -> None:
    bodies = [b"\xff", b"[]", b'{"title": "of a newer version"}']
    with database.writing(room.store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:desk", body, key="k") for body in bodies], NOW)
    room.transition(AlertState.FIRING, "IPO")
    room.send()
    assert [page["topic"] for page in desk.taken] == ["IPO"]
    assert counted(room, "refused") == 1 and room.outbox.depth(TARGETS, NOW).entries == 0


def test_rules_that_fire_on_one_event_are_one_page_with_the_most_urgent_first(
    room: Room, desk: Receiver, chat: Receiver
) -> None:
    room.transition(AlertState.FIRING, "all", rule="drift", severity=Severity.TICKET)
    room.transition(AlertState.FIRING, "IPO", rule="surge")
    room.transition(AlertState.FLAPPING, "all", rule="mood")
    room.transition(AlertState.RESOLVED, "IPO", rule="surge")
    room.send()
    fired, resolved = desk.taken
    assert [(page["rule"], page["topic"]) for page in (fired, *fired["others"])] == [
        ("surge", "IPO"), ("mood", "all"), ("drift", "all"),
    ]  # fmt: skip
    assert (resolved["state"], resolved["others"]) == ("resolved", [])
    assert "also mood on all: about all" in chat.taken[0]["message"]
    assert len(chat.taken) == 2
    assert {row.outcome for row in room.alerts.deliveries("driftall")} == {"sent"}


def test_one_event_that_makes_three_rules_fire_is_one_page_at_one_moment(room: Room, desk: Receiver) -> None:
    """From the documents to the receiver: the rules, the evaluator, the tables, the outbox."""
    watched = {"type": "threshold", "watch": "negative_share", "threshold": 0.6, "min_documents": 5}
    rules = [
        ThresholdRule.model_validate({**watched, "name": name, "topics": topics, "window": "15m"})
        for name, topics in (("negative-surge", "each"), ("mood-shift", "all"), ("slow-surge", "all"))
    ]
    texts = [
        Text(str(i), "wire", "news", NOW - timedelta(minutes=i % 10), "Bank fails", "IPO", "negative", -9000)
        for i in range(40)
    ]
    evaluator = AlertEvaluator(
        rules=rules,
        topics=("IPO", "Macro"),
        reader=MemoryStore(texts),
        episodes=room.alerts,
        delivery=PageRouter(TARGETS, timedelta(seconds=30)),
        window_width=timedelta(minutes=1),
        metrics=room.metrics,
    )
    evaluator.evaluate(NOW)
    room.send()
    (page,) = desk.taken
    assert {alert["rule"] for alert in page["alerts"]} == {rule.name for rule in rules}
    evaluator.evaluate(NOW + timedelta(seconds=5))
    room.send(NOW + timedelta(seconds=40))
    assert len(desk.taken) == 1


def test_pages_of_one_event_stay_one_page_when_the_receiver_comes_back(room: Room, desk: Receiver) -> None:
    desk.status = 503
    for rule in ("surge", "mood", "drift"):
        room.transition(AlertState.FIRING, "IPO", rule=rule)
    room.send()
    room.send(NOW + timedelta(seconds=2))
    assert [len(page["others"]) for page in desk.refused] == [2, 2]
    desk.status = 200
    room.send(NOW + timedelta(seconds=10))
    assert [len(page["others"]) for page in desk.taken] == [2]


def test_a_page_that_always_fails_delays_those_of_other_rules_for_some_attempts_only(
    room: Room, desk: Receiver
) -> None:
    desk.fails_on = b"poison"
    room.transition(AlertState.FIRING, "IPO", rule="poison")
    room.transition(AlertState.FIRING, "IPO", rule="surge")
    for seconds in (0, 2, 6, 14, 30):
        room.send(NOW + timedelta(seconds=seconds))
    assert [page["rule"] for page in desk.taken] == ["surge"]
    assert room.outbox.depth(TARGETS, NOW).entries == 1


def test_topics_of_one_page_are_incidents_of_their_own_and_end_one_by_one(
    tmp_path: Path, desk: Receiver, services: StandIns
) -> None:
    room = Room(tmp_path, desk, CHANNELS["pagerduty"])
    room.transition(AlertState.FIRING, "IPO", "Macro", "Fed")
    room.send()
    incidents = services.incidents["pagerduty"]
    assert len(desk.taken[0]["others"]) == 2 and set(incidents.open) == {"IPO", "Macro", "Fed"}
    room.transition(AlertState.RESOLVED, "Macro")
    room.send(NOW + timedelta(minutes=5))
    room.transition(AlertState.RESOLVED, "IPO", "Fed")
    room.send(NOW + timedelta(minutes=9))
    assert incidents.open == {} and incidents.resolved == ["Macro", "IPO", "Fed"]
    room.store.engine.dispose()


@pytest.mark.parametrize(
    ("replies", "outcome"), [(REFUSES, "failed"), (RATE_LIMITS, "failed"), (TAKES, "sent")]
)
def test_a_page_that_is_refused_under_http_200_is_not_noted_as_sent(
    tmp_path: Path, desk: Receiver, services: StandIns, replies: dict[str, Reply], outcome: str
) -> None:
    room = Room(tmp_path, desk, CHANNELS["dingtalk"])
    services.replies["dingtalk"] = replies["dingtalk"]
    room.transition(AlertState.FIRING, "IPO")
    room.send()
    assert counted(room, outcome, "chat") == 1
    (row,) = [row for row in room.alerts.deliveries("IPO") if row.target == "channel:chat"]
    assert row.outcome == ("sent" if outcome == "sent" else None)
    services.forget()
    room.send(NOW + timedelta(minutes=1))
    assert {row.outcome for row in room.alerts.deliveries("IPO")} == {"sent"}
    room.store.engine.dispose()


@pytest.mark.parametrize("target", TARGETS)
def test_an_outbox_row_without_a_field_is_given_up_and_stops_no_other(
    room: Room, desk: Receiver, chat: Receiver, target: str
) -> None:
    with database.writing(room.store.engine) as connection:
        body = b'{"state": "firing", "id": "1", "severity": "page"}'
        enqueue(connection, [OutboundMessage(target, body, lane="other", key="k")], NOW)
    room.transition(AlertState.FIRING, "IPO", "Macro")
    room.send()
    assert len(desk.taken) >= 1 and len(chat.taken) >= 1
    assert room.outbox.depth(TARGETS, NOW).entries == 0
    assert {row.outcome for id_ in ("IPO", "Macro") for row in room.alerts.deliveries(id_)} == {"sent"}

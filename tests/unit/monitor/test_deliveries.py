"""Pages out of a real outbox to real receivers on loopback: grouped, in order, each followed to its end."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.pages import PageRouter, alert_message
from alerts.delivery.template import EXAMPLE
from alerts.detectors.threshold import ThresholdRule
from alerts.metrics import AlertMetrics
from monitor.runtime.log import LIBRARY_LEVELS, URL_LOGGERS
from monitor.runtime.tasks.page_delivery import PageDelivery
from stream.domain.alerts import Alert, AlertState, Transition
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox
from stream.storage.settings import DatabaseSettings
from tests.parts import Receiver

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
RULE = ThresholdRule.model_validate(
    {"name": "rule", "type": "threshold", "watch": "mean_score", "threshold": -0.3}
)
TARGETS = ("webhook:desk", "channel:chat")


class Room:
    """A store, an outbox and its delivery to one webhook and one channel."""

    def __init__(self, folder: Path, desk: Receiver, chat: Receiver) -> None:
        settings = DatabaseSettings.model_validate({"url": f"sqlite:///{folder / 'test.db'}"})
        database.upgrade(settings)
        self.store = Store(database.connect(settings), 60)
        self.now = NOW
        self.alerts = SqlEpisodeStore(self.store, Lease(self.store, "alerts", "me", 20), "alerts")
        self.outbox = Outbox(self.store.engine)
        chat_url = chat.url.replace("http://", "json://")
        self.deliver = PageDelivery(
            webhooks=Webhooks({"desk": SecretStr(desk.url)}, 2),
            channels=Channels({"chat": SecretStr(chat_url)}, 10),
            outbox=self.outbox,
            metrics=AlertMetrics(),
            clock=lambda: self.now,
        )

    def transition(self, state: AlertState, *topics: str) -> None:
        for topic in topics:
            fields = {name: getattr(EXAMPLE, name) for name in Alert.__slots__}
            alert = Alert(
                **fields | {"id": topic, "topic": topic, "state": state, "summary": f"about {topic}"}
            )
            page_requests = PageRouter(TARGETS).page_requests(alert, RULE, None, NOW)
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
    scene = Room(tmp_path, desk, chat)
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


def test_a_page_that_is_not_accepted_for_a_week_no_longer_blocks_later_ones(
    room: Room, desk: Receiver
) -> None:
    desk.status = 503
    room.transition(AlertState.FIRING, "IPO")
    room.send(NOW + timedelta(days=6))
    depth = room.outbox.depth(TARGETS, NOW + timedelta(days=6))
    assert (depth.entries, depth.failing_since) == (1, NOW + timedelta(days=6))
    room.send(NOW + timedelta(days=8))
    outcomes = {row.target: row.outcome for row in room.alerts.deliveries("IPO")}
    assert outcomes == {"webhook:desk": "refused", "channel:chat": "sent"}
    assert room.outbox.depth(TARGETS, NOW + timedelta(days=8)).entries == 0


def test_pages_for_a_receiver_that_is_no_longer_configured_are_ignored(room: Room, desk: Receiver) -> None:
    desk.status = 503
    room.transition(AlertState.FIRING, "IPO")
    room.send()
    assert room.outbox.depth(TARGETS, NOW).failing_since == NOW
    assert room.outbox.depth(["channel:chat"], NOW).entries == 0

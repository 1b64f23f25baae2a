"""What becomes of an outbox entry of which Kafka takes all, some or nothing."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from monitor.runtime.tasks.kafka_delivery import KafkaDelivery
from stream.kafka.sender import SendResult
from stream.metrics import StreamMetrics
from stream.storage import database
from stream.storage.outbox import KafkaMessage, Outbox, OutboxEntry, enqueue, to_kafka
from stream.storage.settings import DatabaseSettings
from tests.unit.stream.samples import NOW

TARGETS = ["kafka:predictions"]


class Sender:
    """Answers with the results, in the order of the entries."""

    def __init__(self, *results: SendResult) -> None:
        self.results = results

    def send(self, entries: Sequence[OutboxEntry]) -> Mapping[int, SendResult]:
        return dict(zip([entry.id for entry in entries], self.results, strict=True))


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    settings = DatabaseSettings.model_validate({"url": f"sqlite:///{tmp_path / 'test.db'}"})
    database.upgrade(settings)
    engine = database.connect(settings)
    with database.writing(engine) as connection:
        entries = [to_kafka("predictions", [KafkaMessage(str(i), b"{}", shortened=i == 1)]) for i in range(2)]
        enqueue(connection, entries, NOW)
    yield Outbox(engine)
    engine.dispose()


def test_what_is_refused_for_good_is_settled_and_seen_and_what_failed_waits(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry)
    metrics.outbox.create_labels(["predictions"])

    def counted(name: str) -> float | None:
        return registry.get_sample_value(f"sentiment_outbox_{name}_total", {"target": "predictions"})

    names = ("sent", "failures", "refused_messages", "shortened_messages")
    assert [counted(name) for name in names] == [0, 0, 0, 0]
    entries = outbox.due(TARGETS, NOW, 10)
    sender = Sender(SendResult(refused=("key 'a', 2000000 bytes: too large",)), SendResult("no answer"))
    delivery = KafkaDelivery(sender=sender, outbox=outbox, metrics=metrics, clock=lambda: NOW)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        delivery(entries)
    assert [counted(name) for name in names] == [1, 1, 1, 0]
    assert "refuses 1 message(s) for good, the first: key 'a', 2000000 bytes" in caplog.text
    depth = outbox.depth(TARGETS, NOW)
    assert (depth.entries, depth.failing_since) == (1, NOW)

    sender.results = (SendResult(),)
    delivery(entries[1:])
    assert [counted(name) for name in names] == [2, 1, 1, 1]
    assert outbox.depth(TARGETS, NOW).entries == 0

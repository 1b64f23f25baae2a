"""Sending to Kafka while the broker stops and starts again."""

import multiprocessing
import shutil

from stream.domain.documents import EPOCH
from stream.kafka import admin
from stream.kafka.sender import KafkaSender
from stream.kafka.settings import KafkaSettings
from stream.storage.outbox import OutboxEntry, to_kafka
from tests.conftest import need, read_topic
from tests.parts import Kafka, java, kafka_jars, temporary_folder


def entry(id_: int, key: str = "") -> OutboxEntry:
    body = to_kafka("alerts", [(key or f"k{id_}", {"id": id_})]).body
    return OutboxEntry(id_, "kafka:alerts", "", None, body, 0, EPOCH)


def huge(id_: int) -> OutboxEntry:
    return OutboxEntry(
        id_, "kafka:alerts", "", None, to_kafka("alerts", [("k", {"x": "x" * 2**21})]).body, 0, EPOCH
    )


def scenario() -> None:
    folder = temporary_folder("kafka-")
    with Kafka(folder) as kafka:
        settings = KafkaSettings(bootstrap_servers=kafka.bootstrap)
        admin.create_topics(settings)
        sender = KafkaSender(settings)
        assert sender.send([entry(1)]) == {1: None}
        kafka.stop()
        error_text = sender.send([entry(2)])[2]
        assert error_text and "no answer" in error_text
        assert "no broker answers" in (sender.send([entry(2)])[2] or "")
        kafka.start()
        assert sender.send([entry(2)]) == {2: None}
        errors = sender.send([entry(3), huge(4)])
        assert errors[3] is None
        assert errors[4] and "MessageSizeTooLarge" in errors[4]
        assert sender.send([entry(5, "k3")]) == {5: None}
        sender.close()
        keys = [key for key, _ in read_topic(kafka.bootstrap, "alerts", 4)]
        assert sorted(keys) == ["k1", "k2", "k3", "k3"]
    shutil.rmtree(folder, ignore_errors=True)


def test_a_broker_outage_is_reported_per_message_and_a_huge_message_fails_alone() -> None:
    """In a process of its own: kafka-python leaves the sockets of failed connections to the collector."""
    need(lambda: (java(), kafka_jars()))
    process = multiprocessing.get_context("spawn").Process(target=scenario)
    process.start()
    process.join(150)
    assert process.exitcode == 0

"""Sending to Kafka: the broker stops and starts again, refuses some messages, has no topic or forbids it."""

import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence

import pytest

from stream.domain.documents import EPOCH
from stream.kafka import admin
from stream.kafka.sender import KafkaSender, SendResult
from stream.kafka.settings import KafkaSettings
from stream.storage.outbox import KafkaMessage, OutboxEntry, to_kafka
from tests.conftest import need, read_topic
from tests.parts import Kafka, java, kafka_jars, temporary_folder

SENT = SendResult()


def message(key: str, characters: int = 10) -> KafkaMessage:
    return KafkaMessage(key, b'{"x": "' + b"x" * characters + b'"}')


def entry(id_: int, *messages: KafkaMessage, topic: str = "alerts") -> OutboxEntry:
    body = to_kafka(topic, messages or [message(f"k{id_}")]).body
    return OutboxEntry(id_, f"kafka:{topic}", "", None, body, 0, EPOCH)


def outages() -> None:
    folder = temporary_folder("kafka-")
    with Kafka(folder) as kafka:
        settings = KafkaSettings(bootstrap_servers=kafka.bootstrap)
        admin.create_topics(settings)
        sender = KafkaSender(settings)
        assert sender.send([entry(1)]) == {1: SENT}
        kafka.stop()
        # No answer, or no connection: whichever aiokafka notices first.
        assert sender.send([entry(2)])[2].error
        assert "no broker answers" in (sender.send([entry(2)])[2].error or "")
        kafka.start()
        assert sender.send([entry(2)]) == {2: SENT}
        sender.close()
        keys = [key for key, _ in read_topic(kafka.bootstrap, "alerts", 2)]
        assert sorted(keys) == ["k1", "k2"]
    shutil.rmtree(folder, ignore_errors=True)


def refusals_of_the_broker() -> None:
    """The broker's own limit is below that of the client."""
    folder = temporary_folder("kafka-")
    with Kafka(folder, extra="message.max.bytes=50000") as kafka:
        settings = KafkaSettings(bootstrap_servers=kafka.bootstrap)
        admin.create_topics(settings)
        sender = KafkaSender(settings)
        # Together far above the limit; one of them alone, too.
        many = [message(f"k{i}", 300_000 if i == 77 else 2000) for i in range(200)]
        results = sender.send([entry(1, *many), entry(2), entry(3, message("giant", 2**21))])
        assert {id_: result.error for id_, result in results.items()} == {1: None, 2: None, 3: None}
        (refused,) = results[1].refused
        assert "key 'k77', 300009 bytes" in refused and "MessageSizeTooLarge" in refused
        assert results[2].refused == () and len(results[3].refused) == 1
        assert sender.send([entry(4)]) == {4: SENT}
        sender.close()
        keys = [key for key, _ in read_topic(kafka.bootstrap, "alerts", 201)]
        assert sorted(keys) == sorted([f"k{i}" for i in range(200) if i != 77] + ["k2", "k4"])[: len(keys)]
        assert len(keys) == 201
    shutil.rmtree(folder, ignore_errors=True)


def limits_of_topics() -> None:
    """A topic with a limit of its own, below the batches of the client, and one that does not exist."""
    from kafka.admin import KafkaAdminClient, NewTopic

    folder = temporary_folder("kafka-")
    with Kafka(folder) as kafka:
        settings = KafkaSettings(bootstrap_servers=kafka.bootstrap)
        client = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        small = {"max.message.bytes": "5000", "cleanup.policy": "compact"}
        client.create_topics([NewTopic("small", 1, 1, topic_configs=small)])
        client.close()

        sender = KafkaSender(settings)
        order = [message(f"k{i:03}", 6000 if i in (3, 50) else 400) for i in range(100)]
        (result,) = sender.send([entry(1, *order, topic="small")]).values()
        assert result.error is None and [text.split(",")[0] for text in result.refused] == [
            "key 'k003'",
            "key 'k050'",
        ]
        keys = [key for key, _ in read_topic(kafka.bootstrap, "small", 98)]
        assert keys == [f"k{i:03}" for i in range(100) if i not in (3, 50)], "and in order"

        started = time.monotonic()
        entries = [entry(i, topic="nowhere") for i in range(5)] + [entry(9, topic="small")]
        results = sender.send(entries)
        assert time.monotonic() - started < 15, "a missing topic is waited for once"
        assert results[9] == SENT
        for id_ in range(5):
            assert "run `monitor topics create`" in (results[id_].error or "")
        sender.close()
        _invalid_record(settings)
    shutil.rmtree(folder, ignore_errors=True)


def _invalid_record(settings: KafkaSettings) -> None:
    """What a compacted topic says to a record without a key, which the monitor never sends, is recognised."""
    import asyncio

    from aiokafka import AIOKafkaProducer

    from stream.kafka.sender import InvalidRecordError

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
            with pytest.raises(InvalidRecordError):
                await producer.send_and_wait("small", b"no key")

    asyncio.run(send())


@pytest.mark.parametrize("scenario", [outages, refusals_of_the_broker, limits_of_topics])
def test_what_kafka_refuses_for_good_is_told_from_what_must_be_sent_again(
    scenario: Callable[[], Sequence[object] | None],
) -> None:
    """In a process of its own: kafka-python leaves the sockets of failed connections to the collector."""
    need(lambda: (java(), kafka_jars()))
    process = multiprocessing.get_context("spawn").Process(target=scenario)
    process.start()
    process.join(150)
    assert process.exitcode == 0

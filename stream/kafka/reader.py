"""Reads chosen messages of Kafka with a consumer without a group: no group's offset is used or changed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from stream.bundles import Record
from stream.domain.errors import BrokerError
from stream.domain.tracing import TRACEPARENT, read_traceparent
from stream.kafka import record_batches
from stream.kafka.security import client_options
from stream.kafka.settings import KafkaSettings

POLL_MS = 500
# A broker that answers nothing for this long is not waited for.
MAX_EMPTY_POLLS = 40


@contextmanager
def open_consumer(kafka: KafkaSettings, max_poll_records: int) -> Iterator[KafkaConsumer]:
    """A consumer that reads committed messages, bounded as the daemon's.  Raises BrokerError."""
    record_batches.install(kafka.max_batch_bytes)
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=kafka.bootstrap_servers.split(","),
            api_version=kafka.api_version,
            group_id=None,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=max_poll_records,
            fetch_max_bytes=kafka.max_fetch_bytes,
            max_partition_fetch_bytes=kafka.max_partition_fetch_bytes,
            **client_options(kafka),
        )
        try:
            yield consumer
        finally:
            consumer.close()
    except KafkaError as error:
        raise BrokerError(f"{kafka.bootstrap_servers}: {error}") from error


def record_of(message: Any) -> Record:
    """The record of a message that kafka-python returned."""
    trace = [value for name, value in message.headers if name == TRACEPARENT]
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.value,
        message.checksum,
        timestamp=message.timestamp,
        traceparent=read_traceparent(trace[-1]) if trace else None,
    )


def partitions_of(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of a topic.  Raises BrokerError if there is no such topic."""
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise BrokerError(f"no topic {topic!r}")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def offsets_at(
    consumer: KafkaConsumer, since: datetime, ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """The first offset of each partition at or after `since`; its end without one.  Raises KafkaError."""
    first = consumer.offsets_for_times(dict.fromkeys(ends, int(since.timestamp() * 1000)))
    return {
        partition: first[partition].offset if first.get(partition) else end for partition, end in ends.items()
    }


def read_at(consumer: KafkaConsumer, partition: TopicPartition, offsets: Iterable[int]) -> dict[int, Any]:
    """The messages at these offsets of a partition, by offset, without those that Kafka does not hold.

    Raises BrokerError.
    """
    consumer.assign([partition])
    start, end = (
        consumer.beginning_offsets([partition])[partition],
        consumer.end_offsets([partition])[partition],
    )
    wanted = {offset for offset in offsets if start <= offset < end}
    found: dict[int, Any] = {}
    reached = start
    for offset in sorted(wanted):
        if offset < reached:  # it was among what the poll before returned
            continue
        consumer.seek(partition, offset)
        messages = messages_until(consumer, {partition: offset + 1})
        found |= {message.offset: message for message in messages if message.offset in wanted}
        reached = consumer.position(partition)
    return found


def messages_until(consumer: KafkaConsumer, ends: Mapping[TopicPartition, int]) -> Iterator[Any]:
    """The messages of the assigned partitions until the position of each is at its end, or beyond it.

    What one poll returns is complete: messages after an end may be among them.  Raises BrokerError.
    """
    empty = 0
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        record_batches.BUDGET.start_poll()
        before = [consumer.position(partition) for partition in ends]
        polled = consumer.poll(POLL_MS)
        for messages in polled.values():
            yield from messages
        moved = polled or before != [consumer.position(partition) for partition in ends]
        empty = 0 if moved else empty + 1
        if empty > MAX_EMPTY_POLLS:
            names = ", ".join(f"{partition.topic}[{partition.partition}]" for partition in ends)
            raise BrokerError(f"{names}: Kafka has sent nothing for {MAX_EMPTY_POLLS * POLL_MS // 1000} s")

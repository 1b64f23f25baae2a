"""Sends outbox entries to Kafka with aiokafka, which accepts whole batches of records.

Sending messages one at a time takes a producer 30 microseconds each, a third of a worker's Python time.
Batches that are built here take a third of that.

Kafka refuses a batch as a whole.  So a batch that is refused for one of its messages, or for its size, is cut
in halves until the message that it does not take is alone.  That one is refused for good: it must not hold up
those after it.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    BrokerResponseError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    kafka_errors,
)
from aiokafka.partitioner import DefaultPartitioner

from stream.domain.errors import BrokerError, error_text
from stream.domain.tracing import TRACEPARENT
from stream.kafka.admin import ANSWER_SECONDS, answers
from stream.kafka.security import client_options
from stream.kafka.settings import KafkaSettings
from stream.storage.outbox import KAFKA_PREFIX, KafkaMessage, OutboxEntry, decode_messages

BATCH_BYTES = 256_000
# What a record takes in a batch besides its key and value, at most.
RECORD_OVERHEAD_BYTES = 40
CLOSE_SECONDS = 2.0
# How long a topic is looked for: one that was created a moment ago is not known to every broker.
TOPIC_SECONDS = 5.0
choose_partition = DefaultPartitioner()
SendFuture = asyncio.Future[object]


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """The broker's validation refuses a record.  aiokafka does not know this error."""

    errno = 87
    message = "INVALID_RECORD"


kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

# Errors for which a message itself is the reason.  For every other a person or time can mend the cause.
REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError, InvalidRecordError)
ADVICE: dict[type[BaseException], str] = {
    UnknownTopicOrPartitionError: "the topic does not exist: run `monitor topics create`",
    TopicAuthorizationFailedError: "the broker does not allow it: grant Write and Describe on the topic",
}


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of an entry: `error` says why it must be sent again, None if it must not.

    `refused` names the messages of it that Kafka refuses for good, and why.
    """

    error: str | None = None
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    """Messages of one entry for one partition, that go in one batch."""

    entry: int
    topic: str
    partition: int
    messages: Sequence[KafkaMessage]

    def halves(self) -> list["_Part"]:
        middle = len(self.messages) // 2
        halves = (self.messages[:middle], self.messages[middle:])
        return [_Part(self.entry, self.topic, self.partition, half) for half in halves]


class KafkaSender:
    """Sends outbox entries, in one thread at a time.  The first call creates the producer.

    The event loop only runs during a call: between calls, nothing is in progress.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._producer: AIOKafkaProducer | None = None
        self._batch_bytes = BATCH_BYTES

    def send(self, entries: Sequence[OutboxEntry]) -> Mapping[int, SendResult]:
        """Send all messages of the entries; return by entry id what became of them.

        Messages with the same key stay in order, even across entries, unless one of them is refused.
        """
        self._loop = self._loop or asyncio.new_event_loop()
        try:
            results = self._loop.run_until_complete(self._send(entries))
        except (KafkaError, BrokerError, TimeoutError) as error:
            results = {entry.id: SendResult(error_text(error)) for entry in entries}
        if any(result.error for result in results.values()):
            self.close()
        return results

    def close(self) -> None:
        """Close the producer.  Unsent messages are dropped here, and stay in the outbox."""
        if self._loop is None:
            return
        self._loop.run_until_complete(self._stop())
        self._loop.close()
        self._loop = self._producer = None

    async def _stop(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.stop(), CLOSE_SECONDS)
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    async def _send(self, entries: Sequence[OutboxEntry]) -> dict[int, SendResult]:
        producer = self._producer or await self._start()
        outcome = _Outcome()
        missing: dict[str, BaseException] = {}
        partitions: dict[tuple[str, int], deque[_Part]] = {}
        for entry in entries:
            if entry.target not in missing:
                try:
                    for part in await self._parts(producer, entry):
                        partitions.setdefault((part.topic, part.partition), deque()).append(part)
                except ValueError as error:
                    outcome.refuse_entry(entry.id, error)
                except KafkaError as error:
                    missing[entry.target] = error  # the other entries for it need not wait as long
            if entry.target in missing:
                outcome.fail(entry.id, missing[entry.target])
        await asyncio.gather(
            *(self._send_in_order(producer, parts, outcome) for parts in partitions.values())
        )
        return {entry.id: outcome.of(entry.id) for entry in entries}

    async def _send_in_order(
        self, producer: AIOKafkaProducer, parts: deque[_Part], outcome: "_Outcome"
    ) -> None:
        """Send the parts for one partition, one after another; after a failure the rest is not tried."""
        failure: BaseException | None = None
        while parts:
            part = parts.popleft()
            failure = failure or await _send_part(producer, part)
            if failure is None:
                continue
            if not isinstance(failure, REFUSALS):
                outcome.fail(part.entry, failure)
                continue
            if len(part.messages) == 1:
                outcome.refuse(part.entry, part.messages[0], failure)
            else:
                parts.extendleft(reversed(part.halves()))
                if not isinstance(failure, InvalidRecordError):
                    self._batch_bytes = min(self._batch_bytes, _size(part.messages) // 2)
            failure = None

    async def _parts(self, producer: AIOKafkaProducer, entry: OutboxEntry) -> list[_Part]:
        """The messages of an entry by partition, in parts that fit in a batch.

        The partition of a key is the one that Kafka's own clients choose.
        """
        topic = entry.target.removeprefix(KAFKA_PREFIX)
        try:
            partitions = sorted(await asyncio.wait_for(producer.partitions_for(topic), TOPIC_SECONDS))
        except TimeoutError as error:
            raise UnknownTopicOrPartitionError from error
        by_partition: dict[int, list[KafkaMessage]] = {}
        for message in decode_messages(entry.body):
            partition = choose_partition(message.key.encode(), partitions, partitions)
            by_partition.setdefault(partition, []).append(message)
        return [
            _Part(entry.id, topic, partition, part)
            for partition, messages in by_partition.items()
            for part in _split(messages, self._batch_bytes)
        ]

    async def _start(self) -> AIOKafkaProducer:
        if not answers(self._settings):
            raise BrokerError(f"no broker answers at {self._settings.bootstrap_servers}")
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap_servers,
            acks="all",
            # With sequence numbers, a refused batch would make the broker refuse every one after it.  The
            # outbox sends at least once anyway, with a key for each message.
            enable_idempotence=False,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=ANSWER_SECONDS * 1000,
            **client_options(self._settings),
        )
        await asyncio.wait_for(self._producer.start(), ANSWER_SECONDS)
        return self._producer


class _Outcome:
    """What became of the entries of one call."""

    def __init__(self) -> None:
        self._errors: dict[int, str] = {}
        self._refused: dict[int, list[str]] = {}

    def fail(self, entry: int, error: BaseException) -> None:
        advice = ADVICE.get(type(error))
        text = error_text(error)
        self._errors.setdefault(entry, text if advice is None else f"{text}: {advice}")

    def refuse(self, entry: int, message: KafkaMessage, error: BaseException) -> None:
        text = f"key {message.key!r}, {len(message.value)} bytes: {error_text(error)}"
        self._refused.setdefault(entry, []).append(text)

    def refuse_entry(self, entry: int, error: ValueError) -> None:
        self._refused.setdefault(entry, []).append(f"outbox row {entry}: {error}")

    def of(self, entry: int) -> SendResult:
        return SendResult(self._errors.get(entry), tuple(self._refused.get(entry, ())))


async def _send_part(producer: AIOKafkaProducer, part: _Part) -> BaseException | None:
    """Send the messages as a batch; return why it failed."""
    batch = producer.create_batch()
    for message in part.messages:
        batch.append(key=message.key.encode(), value=message.value, timestamp=None, headers=_headers(message))
    try:
        future: SendFuture = await asyncio.wait_for(
            producer.send_batch(batch, part.topic, partition=part.partition), ANSWER_SECONDS
        )
        await asyncio.wait_for(future, ANSWER_SECONDS)
    except KafkaError as error:
        refusal: BaseException = error
        return refusal
    except TimeoutError:
        return TimeoutError(f"no answer within {ANSWER_SECONDS} s")
    return None


def _split(messages: Sequence[KafkaMessage], max_bytes: int) -> list[list[KafkaMessage]]:
    """The messages in order, in parts of at most so many bytes; a larger message is a part of its own."""
    parts: list[list[KafkaMessage]] = [[]]
    size = 0
    for message in messages:
        own = _size([message])
        if parts[-1] and size + own > max_bytes:
            parts.append([])
            size = 0
        parts[-1].append(message)
        size += own
    return parts


def _size(messages: Sequence[KafkaMessage]) -> int:
    """At least what the messages take in a batch."""
    # A character takes four bytes at most.
    sizes = (4 * len(each.key) + len(each.value) + 2 * len(each.traceparent or "") for each in messages)
    return sum(sizes) + len(messages) * RECORD_OVERHEAD_BYTES


def _headers(message: KafkaMessage) -> list[tuple[str, bytes]]:
    return [(TRACEPARENT, message.traceparent.encode())] if message.traceparent else []

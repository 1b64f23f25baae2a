"""Kafka messages on their way to a batch: single records, and bundles of them.

Faust spends more time on each message than all later stages together.  So the messages of one partition
that one fetch returns travel through it as a few bundles, each no larger than a batch.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from stream.codec import count
from stream.domain.records import UNKNOWN_EPOCH, RefusedBatch
from stream.publication import UNKNOWN_TIMESTAMP
from stream.settings import StreamSettings

# Client and broker spend a millisecond on each fetch, however small: wait this long for more messages.
SMALL_FETCH_PAUSE_SECONDS = 0.02
# Memory that a message takes besides its value.
MESSAGE_OVERHEAD_BYTES = 256
TopicPartition = tuple[str, int]
P = TypeVar("P")


class ReceivedMessage(Protocol):
    """A message as a Kafka client returns it."""

    @property
    def value(self) -> bytes | None: ...


M = TypeVar("M", bound=ReceivedMessage)


class Record(Struct, frozen=True, gc=False):
    """One Kafka message: its position and its value.

    `leader_epoch` is that of the leader that took it, `timestamp` when it was sent or received, in
    milliseconds since 1970; both are -1 if unknown.  `traceparent` is the trace that it belongs to, if it
    names one.  With `refused` it stands for a record batch that cannot be read, at its last offset.
    """

    topic: str
    partition: int
    offset: int
    value: bytes | None
    refused: RefusedBatch | None = None
    leader_epoch: int = UNKNOWN_EPOCH
    timestamp: int = UNKNOWN_TIMESTAMP
    traceparent: str | None = None


class Bundle(Struct, frozen=True):
    """Consecutive Kafka messages of one partition that travel through Faust as one.

    `documents` and `bytes` count towards the limits of a batch; `generation` is the consumer group's when
    it was fetched.  `receipt` belongs to the source, which needs it to acknowledge the bundle.
    """

    records: Sequence[Record]
    documents: int
    bytes: int
    generation: int
    receipt: Any = None

    @property
    def topic(self) -> str:
        return self.records[0].topic

    @property
    def partition(self) -> TopicPartition:
        return self.records[0].topic, self.records[0].partition

    @property
    def end(self) -> int:
        """The offset after the last message."""
        return self.records[-1].offset + 1


def size_of(records: Sequence[Record]) -> tuple[int, int]:
    """How many documents the records hold, and the bytes of memory they take."""
    documents = sum(count(record.value) for record in records)
    return documents, sum(len(record.value or b"") + MESSAGE_OVERHEAD_BYTES for record in records)


def split_messages(messages: Sequence[M], *, max_documents: int, max_bytes: int) -> Iterator[Sequence[M]]:
    """The messages in order, in parts within both limits; a message beyond a limit is a part of its own."""
    part: list[M] = []
    part_documents = part_bytes = 0
    for message in messages:
        documents, size = count(message.value), len(message.value or b"")
        if part and (part_documents + documents > max_documents or part_bytes + size > max_bytes):
            yield part
            part, part_documents, part_bytes = [], 0, 0
        part.append(message)
        part_documents, part_bytes = part_documents + documents, part_bytes + size
    if part:
        yield part


class BundleFetcher:
    """Splits what each fetch returns into parts for bundles, and pauses after a small fetch."""

    def __init__(self, settings: StreamSettings) -> None:
        self._max_documents, self._max_bytes = settings.batch_documents, settings.batch_bytes
        self._next_fetch_at = 0.0

    async def __call__(
        self, fetch: Callable[[], Awaitable[Mapping[P, Sequence[M]]]]
    ) -> dict[P, list[Sequence[M]]]:
        """What `fetch` returns, split, by partition; it is called once the pause is over."""
        await asyncio.sleep(self._next_fetch_at - time.monotonic())
        messages_by_partition = await fetch()
        if sum(map(len, messages_by_partition.values())) < self._max_documents:
            self._next_fetch_at = time.monotonic() + SMALL_FETCH_PAUSE_SECONDS
        return {
            partition: list(
                split_messages(messages, max_documents=self._max_documents, max_bytes=self._max_bytes)
            )
            for partition, messages in messages_by_partition.items()
        }

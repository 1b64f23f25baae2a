"""Compares the offsets in SQL, which decide what is read, with what Kafka holds and what the group committed.

Holes in the offsets are normal: transactions and compaction leave them.  What is not normal, and what a
monitor refuses because it would lose messages in silence, is a Problem.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from kafka.structs import TopicPartition

from stream.domain.errors import BrokerError, DeadLetterReason, OffsetsRefused, StoreUnavailable
from stream.domain.records import UNKNOWN_EPOCH, DeadLetter, MessagePosition, NextOffset, Outbound, Partition
from stream.kafka import admin
from stream.kafka.admin import LogRange
from stream.kafka.settings import KafkaSettings
from stream.lag import Hole
from stream.retry import Outage, RetryPolicy, retry
from stream.storage.batches import Store

log = logging.getLogger(__name__)

RETRY = RetryPolicy(first_pause=0.5, longest_pause=10.0, jitter=0.5)


class Problem(StrEnum):
    """Why reading on from the offset in SQL would lose messages."""

    TRUNCATED = "truncated"  # the log ends before it: a leader without the latest messages was elected
    EXPIRED = "expired"  # the log starts after it: messages were deleted before they were read
    AHEAD = "ahead"  # Kafka's committed offset is ahead of it: the database was restored or is new


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """The next offset to read of one partition, as committed to Kafka and as stored in SQL, and the log.

    None where Kafka or SQL has no offset, and where the partition has no leader that knows the log.  `cut` is
    where the log was cut, if that is before `stored`; `refused` an offset that Kafka would not read from.
    """

    partition: Partition
    committed: int | None
    stored: int | None
    log: LogRange | None
    cut: int | None = None
    refused: int | None = None

    @property
    def unread(self) -> int:
        """How many messages would be skipped: those that Kafka counts as read but SQL does not."""
        return max(0, (self.committed or 0) - (self.stored or 0))

    @property
    def lag(self) -> int | None:
        """How many offsets lie between SQL and the end of the log; None if the log is unknown.

        Offsets of an open transaction, and what follows it, are among them.
        """
        if self.log is None:
            return None
        return max(0, self.log.end - max(self.stored or 0, self.log.start))

    @property
    def problem(self) -> Problem | None:
        """Why reading on would lose messages; None if it would not."""
        if self.log is not None and self.stored is not None:
            if self.cut is not None or self.stored > self.log.end:
                return Problem.TRUNCATED
            if self.refused is not None and self.refused >= self.log.start:
                return Problem.TRUNCATED
            if self.stored < self.log.start:
                return Problem.EXPIRED
        return Problem.AHEAD if self.unread else None

    def explain(self, group: str) -> str:
        """What is wrong with this partition, and the command that mends it; empty if nothing is."""
        wrong, command = self.diagnosis(group)
        return f"{wrong}. Run {command}" if wrong else ""

    def diagnosis(self, group: str) -> tuple[str, str]:
        """The two parts of `explain`, for `monitor status`; both are empty if nothing is wrong."""
        name = f"{self.partition.topic}:{self.partition.number}"
        sql = "SQL has no offset" if self.stored is None else f"SQL is at {self.stored}"
        match self.problem, self.log:
            case Problem.TRUNCATED, LogRange(start, end):
                where, to = ("", start) if self.cut is None else (f" at {self.cut}", self.cut)
                return (
                    f"{self.partition}: Kafka holds offsets {start} up to {end}, but {sql}: the log was cut"
                    f"{where}, as after an unclean leader election, so new messages would be taken for known "
                    "ones",
                    f"`monitor offsets reset {name} --to {to}` to read from there again "
                    "(known documents are not counted twice)",
                )
            case Problem.EXPIRED, LogRange(start, end):
                return (
                    f"{self.partition}: Kafka holds offsets {start} up to {end}, but {sql}: up to "
                    f"{start - (self.stored or 0)} messages were deleted before they were read",
                    f"`monitor offsets skip {name} --from {self.stored} --to {start - 1}` "
                    "to continue without them",
                )
            case Problem.AHEAD, _:
                return (
                    f"{self.partition}: {self.unread} messages would be skipped: the group {group!r} "
                    f"committed offset {self.committed}, but {sql}: the database was restored from a backup "
                    "or is new",
                    "`monitor offsets rewind` to read the messages again, or `monitor offsets accept` to "
                    "skip them",
                )
        return "", ""


def compare_offsets(
    kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]
) -> list[PartitionOffsets]:
    """The offsets of every partition that Kafka has, or that Kafka or SQL has an offset of.

    `incarnations` maps each topic to its incarnation.  Raises BrokerError and StoreUnavailable.
    """

    def partition(key: TopicPartition) -> Partition:
        return Partition(incarnations[key.topic], key.topic, key.partition)

    # Workers may write and producers may send meanwhile.  So what may not be ahead of SQL is read before it,
    # and what may not be behind it is read after it.
    with admin.AdminClient(kafka) as client:
        committed = {
            partition(key): offset
            for key, offset in admin.committed(client, kafka.group, incarnations).items()
        }
        starts = admin.log_starts(client, incarnations)
        stored = store.next_offsets(incarnations.values())
        logs = {partition(key): log for key, log in admin.log_ranges(client, starts).items()}
        epochs = {
            TopicPartition(key.topic, key.number): next_offset.leader_epoch
            for key, next_offset in stored.items()
            if key in logs and next_offset.leader_epoch != UNKNOWN_EPOCH
        }
        ends = {partition(key): end for key, end in admin.epoch_ends(client, epochs).items()}
    return [
        PartitionOffsets(
            partition=key,
            committed=committed.get(key),
            stored=stored[key].offset if key in stored else None,
            log=logs.get(key),
            cut=_cut(stored[key], logs[key], ends[key]) if key in ends else None,
        )
        for key in sorted(stored.keys() | committed.keys() | logs.keys())
    ]


def _cut(stored: NextOffset, log: LogRange, epoch_end: tuple[int, int]) -> int | None:
    """Where the log was cut, if that is before the stored offset: where the epoch of what is stored ends now.

    A log that never saw this epoch is another one, of a restored broker; nobody knows since where.
    """
    epoch, end = epoch_end
    if epoch >= 0:
        return max(end, log.start) if end < stored.offset else None
    return log.start if log.latest_epoch is not None and log.latest_epoch < stored.leader_epoch else None


def check(
    kafka: KafkaSettings,
    store: Store,
    incarnations: Mapping[str, str],
    refused: Mapping[tuple[str, int], int] = MappingProxyType({}),
) -> None:
    """Raises OffsetsRefused if reading on would lose messages, BrokerError and StoreUnavailable.

    `refused` are offsets that Kafka would not read from, by topic and partition.
    """
    compared = [
        replace(offsets, refused=refused.get((offsets.partition.topic, offsets.partition.number)))
        for offsets in compare_offsets(kafka, store, incarnations)
    ]
    wrong = [offsets for offsets in compared if offsets.problem]
    if not wrong:
        return
    worst = min(wrong, key=lambda offsets: (offsets.problem is Problem.AHEAD, -offsets.unread))
    others = ""
    if len(wrong) > 1:
        unread = sum(offsets.unread for offsets in wrong)
        skipped = f", {unread} messages would be skipped" if unread else ""
        others = f". In all {len(wrong)} partitions{skipped}: see `monitor offsets show`"
    raise OffsetsRefused(worst.explain(kafka.group) + others)


class OffsetGuard:
    """The check, for a running monitor: waits for broker and database, as everything else does there."""

    def __init__(
        self,
        kafka: KafkaSettings,
        store: Store,
        incarnations: Mapping[str, str],
        stopping: threading.Event,
        clock: Callable[[], datetime],
    ) -> None:
        self._kafka, self._store, self._incarnations = kafka, store, incarnations
        self._stopping, self._clock = stopping, clock
        self._outage = Outage("offsets: database or broker", log)

    def check(self, refused: Mapping[tuple[str, int], int] = MappingProxyType({})) -> None:
        """Raises OffsetsRefused if reading on would lose messages, and StopRequested."""
        retry(
            lambda: self.check_once(refused),
            errors=(BrokerError, StoreUnavailable),
            policy=RETRY,
            on_failure=self._outage.failed,
            wait=self._stopping.wait,
        )
        self._outage.recovered()

    def check_once(self, refused: Mapping[tuple[str, int], int] = MappingProxyType({})) -> None:
        """The same, without waiting: raises BrokerError and StoreUnavailable instead."""
        self._check_incarnations()
        check(self._kafka, self._store, self._incarnations, refused)

    def _check_incarnations(self) -> None:
        """The offsets of a new incarnation begin at 0 again: new messages would look like known ones.

        The next start reads the incarnations again, and the new one from its beginning.
        """
        current = admin.incarnations(self._kafka, self._incarnations)
        for topic, incarnation in self._incarnations.items():
            if current[topic] != incarnation:
                raise OffsetsRefused(
                    f"the topic {topic!r} was deleted and created again: restart the monitor"
                )

    def note_holes(self, holes: Mapping[tuple[str, int], Hole]) -> None:
        """Advance SQL past offsets that hold no message, so that they do not look like lost ones later."""
        by_partition = {
            Partition(self._incarnations[topic], topic, number): (
                hole.first,
                NextOffset(hole.end, hole.leader_epoch),
            )
            for (topic, number), hole in holes.items()
        }
        with suppress(StoreUnavailable):  # the next start finds the same holes
            self._store.note_holes(by_partition, self._clock())


def rewind(kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]) -> list[PartitionOffsets]:
    """Set the consumer group back to the offsets in SQL; return the partitions that were changed.

    Raises BrokerError if a worker of the group is running, or if Kafka does not answer.
    """
    ahead = _ahead_of_sql(kafka, store, incarnations)
    admin.commit(
        kafka, {(offsets.partition.topic, offsets.partition.number): offsets.stored or 0 for offsets in ahead}
    )
    return ahead


def accept(
    kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str], now: datetime
) -> list[PartitionOffsets]:
    """Advance SQL to the offsets of the consumer group; return the partitions that were changed.

    The messages in between are never read.
    """
    ahead = _ahead_of_sql(kafka, store, incarnations)
    store.skip_to({offsets.partition: offsets.committed or 0 for offsets in ahead}, now)
    return ahead


def _ahead_of_sql(
    kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]
) -> list[PartitionOffsets]:
    """The partitions where Kafka's committed offset is ahead of SQL."""
    return [offsets for offsets in compare_offsets(kafka, store, incarnations) if offsets.unread]


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of one partition, both ends included."""

    topic: str
    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition} offsets {self.first} to {self.last}"


@dataclass(frozen=True)
class Repair:
    """Moves one partition's offset where an operator says.  Every monitor of the group must be stopped."""

    kafka: KafkaSettings
    store: Store
    incarnations: Mapping[str, str]
    outbound: Outbound

    def skip(self, wanted: OffsetRange, why: str, now: datetime) -> OffsetRange:
        """Step over these offsets, and leave a dead letter that says so; return what was skipped.

        Raises OffsetsRefused if the next message to read is not among them or the log ends before the last,
        BrokerError if a worker of the group is running, and StoreUnavailable.
        """
        partition, log, at = self._where(wanted.topic, wanted.partition)
        name = f"{wanted.topic}:{wanted.partition}"
        if wanted.last >= log.end:
            raise OffsetsRefused(f"{name}: the log ends before offset {log.end}: --to must be below it")
        if at > wanted.last:
            raise OffsetsRefused(f"{name}: nothing to skip: the next message to read is at {at}")
        if at < wanted.first:
            raise OffsetsRefused(
                f"{name}: the next message to read is at {at}, so the messages before {wanted.first} are not "
                f"read yet: let a monitor read them first, or skip them too with --from {at}"
            )
        skipped = OffsetRange(wanted.topic, wanted.partition, at, wanted.last)
        # Kafka first: it refuses while a worker is running.
        admin.commit(self.kafka, {(wanted.topic, wanted.partition): wanted.last + 1})
        letter = DeadLetter(
            MessagePosition(self.kafka.kinds[wanted.topic], partition, at, None),
            DeadLetterReason.SKIPPED,
            f"an operator skipped offsets {at} to {wanted.last} ({wanted.last - at + 1}): {why}",
        )
        self.store.skip(letter, wanted.last + 1, self.outbound, now)
        return skipped

    def reset(self, topic: str, number: int, to: int, now: datetime) -> int:
        """Set the next offset to read back to `to`; return where it was.

        Documents that are read again are not counted again.  Raises OffsetsRefused if Kafka does not hold
        `to` or it is ahead, BrokerError if a worker of the group is running, and StoreUnavailable.
        """
        partition, log, at = self._where(topic, number)
        if not log.start <= to <= log.end:
            raise OffsetsRefused(
                f"{topic}:{number}: Kafka holds offsets {log.start} up to {log.end}: --to must be among them"
            )
        if to > at:
            raise OffsetsRefused(
                f"{topic}:{number}: the next message to read is at {at}: to leave out what is before {to}, "
                f"run `monitor offsets skip {topic}:{number} --from {at} --to {to - 1}`"
            )
        admin.commit(self.kafka, {(topic, number): to})
        self.store.set_back(partition, to, now)
        return at

    def _where(self, topic: str, number: int) -> tuple[Partition, LogRange, int]:
        """The partition, what Kafka holds of it, and the next offset that a monitor would read."""
        if topic not in self.incarnations:
            raise OffsetsRefused(
                f"{topic!r} is not read: the topics are {', '.join(map(repr, self.incarnations))}"
            )
        partition, key = Partition(self.incarnations[topic], topic, number), TopicPartition(topic, number)
        with admin.AdminClient(self.kafka) as client:
            committed = admin.committed(client, self.kafka.group, [topic]).get(key)
            log = admin.log_ranges(client, admin.log_starts(client, [topic])).get(key)
        if log is None:
            raise BrokerError(f"{topic}:{number}: there is no such partition, or it has no leader")
        stored = self.store.next_offsets([partition.incarnation]).get(partition)
        at = stored.offset if stored is not None else committed
        return partition, log, log.start if at is None else at

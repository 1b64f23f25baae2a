"""Compares Kafka's committed offsets with those in SQL, which decide what is read.

Kafka gets its commit after the SQL transaction, so Kafka is normally never ahead of SQL.  If it is, the
database was restored from a backup or is new, and the messages in between would be skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stream.domain.errors import OffsetsAhead
from stream.domain.records import Partition
from stream.kafka import admin
from stream.kafka.settings import KafkaSettings
from stream.storage.batches import Store


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """The next offset to read of one partition: as committed to Kafka, and as stored in SQL.

    None if Kafka or SQL has no offset for it.
    """

    partition: Partition
    committed: int | None
    stored: int | None

    @property
    def unread(self) -> int:
        """How many messages would be skipped: those that Kafka counts as read but SQL does not."""
        return max(0, (self.committed or 0) - (self.stored or 0))


def compare_offsets(
    kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]
) -> list[PartitionOffsets]:
    """The offsets of every partition that Kafka or SQL has one for.

    `incarnations` maps each topic to its incarnation.  Raises BrokerError and StoreUnavailable.
    """
    # Kafka first: other workers may write in the meantime, and SQL is allowed to be ahead.
    committed = {
        Partition(incarnations[topic], topic, number): offset
        for (topic, number), offset in admin.committed(kafka, incarnations).items()
    }
    stored = store.next_offsets(incarnations.values())
    return [
        PartitionOffsets(partition, committed.get(partition), stored.get(partition))
        for partition in sorted(stored.keys() | committed.keys())
    ]


def _ahead_of_sql(
    kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]
) -> list[PartitionOffsets]:
    """The partitions where Kafka is ahead of SQL."""
    return [offsets for offsets in compare_offsets(kafka, store, incarnations) if offsets.unread]


def check(kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]) -> None:
    """Raises OffsetsAhead if Kafka is ahead of SQL, so that reading on would skip messages."""
    ahead = _ahead_of_sql(kafka, store, incarnations)
    if not ahead:
        return
    unread = sum(offsets.unread for offsets in ahead)
    worst = max(ahead, key=lambda offsets: offsets.unread)
    stored = "has none" if worst.stored is None else f"is at {worst.stored}"
    raise OffsetsAhead(
        f"{unread} messages would be skipped: the group {kafka.group!r} committed offset "
        f"{worst.committed} of {worst.partition}, but the database {stored}. "
        "It was restored from a backup or is new: run "
        "`monitor offsets rewind` to read the messages again, or `monitor offsets accept` to skip them"
    )


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

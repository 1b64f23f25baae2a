"""Kafka's committed offsets held against those in SQL, which are the ones that count.

A commit follows the SQL transaction, so Kafka is never ahead of SQL: where it is, the database was restored
from an older state, or is a new one, and what lies between would never be read.
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
class Standing:
    """How far one partition was read: by Kafka's commit and by SQL, None where it holds nothing."""

    partition: Partition
    committed: int | None
    stored: int | None

    @property
    def unread(self) -> int:
        """How many messages a start would leap over."""
        return max(0, (self.committed or 0) - (self.stored or 0))


def standings(kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]) -> list[Standing]:
    """Every partition that one of the two knows.  Raises BrokerError, StoreUnavailable."""
    # In this order: other workers go on meanwhile, and SQL is then ahead as it should be.
    committed = {
        Partition(incarnations[topic], topic, number): offset
        for (topic, number), offset in admin.committed(kafka, incarnations).items()
    }
    stored = store.next_offsets(incarnations.values())
    known = sorted(stored.keys() | committed.keys())
    return [Standing(partition, committed.get(partition), stored.get(partition)) for partition in known]


def _ahead(kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]) -> list[Standing]:
    """Those of which a start would leap over messages."""
    return [standing for standing in standings(kafka, store, incarnations) if standing.unread]


def check(kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]) -> None:
    """Raises OffsetsAhead where a start would leap over messages."""
    ahead = _ahead(kafka, store, incarnations)
    if not ahead:
        return
    unread, first = sum(s.unread for s in ahead), max(ahead, key=lambda standing: standing.unread)
    held = "nothing of it" if first.stored is None else f"it up to {first.stored}"
    raise OffsetsAhead(
        f"{unread} messages would be left out: the group {kafka.group!r} was at {first.committed} of "
        f"{first.partition}, and the database holds {held}. It was restored or is new: "
        "`monitor offsets rewind` reads them again, `monitor offsets accept` leaves them out"
    )


def rewind(kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str]) -> list[Standing]:
    """Set the group back to where SQL is; what was changed.  No worker may run.  Raises BrokerError."""
    ahead = _ahead(kafka, store, incarnations)
    admin.commit(kafka, {(s.partition.topic, s.partition.number): s.stored or 0 for s in ahead})
    return ahead


def accept(
    kafka: KafkaSettings, store: Store, incarnations: Mapping[str, str], now: datetime
) -> list[Standing]:
    """Move SQL up to where the group is: what lies between is never read; what was changed."""
    ahead = _ahead(kafka, store, incarnations)
    store.skip_to({standing.partition: standing.committed or 0 for standing in ahead}, now)
    return ahead

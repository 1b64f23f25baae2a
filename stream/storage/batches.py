"""The one transaction: documents, mentions, sums, dead letters, outbox and offsets are written together.

This is why nothing is lost and nothing is counted twice.  The transaction locks the offset rows of the
batch's partitions, skips every message below the stored offset, writes the rest, and advances the offsets.
A message that is delivered again is therefore skipped, and a worker that lost its partition cannot write
again what its successor has written.  A document that is sent again under a new offset is recognised by its
identity; if it is a corrected story, its text and labels replace those that are stored.
"""

import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, select, tuple_, update

from stream.domain.errors import StoreRefused
from stream.domain.records import (
    MAX_DETAIL_CHARACTERS,
    UNKNOWN_EPOCH,
    Batch,
    ClassifiedDocument,
    DeadLetter,
    NextOffset,
    Outbound,
    Outcome,
    Partition,
    SkipReason,
    Tombstone,
    WriteResult,
)
from stream.domain.stories import StoryFeatures
from stream.domain.sums import entity_sums_by_key, sums_by_key
from stream.storage import schema
from stream.storage.corrections import Resent, apply_corrections
from stream.storage.database import reading, writing
from stream.storage.documents import insert_documents
from stream.storage.event_labels import insert_event_labels
from stream.storage.mentions import insert_mentions, mention_rows
from stream.storage.outbox import enqueue
from stream.storage.reads import StoreReader
from stream.storage.sql import dialect_insert, insert_rows
from stream.storage.stories import insert_story_inputs
from stream.storage.sums import HOUR, Sums, add_sums, delete_empty
from stream.stories.features import story_features, story_input
from stream.stories.publishers import Publishers, shipped_publishers

PARTITION_COLUMNS = ("incarnation", "kafka_topic", "kafka_partition")
SET_OFFSETS = (
    update(schema.offsets)
    .where(*[schema.offsets.c[name] == bindparam(f"key_{name}") for name in PARTITION_COLUMNS])
    .values(next_offset=bindparam("end"), leader_epoch=bindparam("epoch"), updated_at=bindparam("now"))
)


class Store:
    """Writes batches over one engine; safe to share between threads.

    `reads` has the queries of rules and pages.
    """

    def __init__(self, engine: Engine, window_seconds: int, publishers: Publishers | None = None) -> None:
        """`publishers` tell who said a text first (`stream.stories.origin`); None for the shipped ones."""
        self.engine, self._publishers = engine, publishers
        self.width = timedelta(seconds=window_seconds)
        self.reads = StoreReader(engine, self.width)

    def write(self, batch: Batch, outbound: Outbound, now: datetime) -> WriteResult:
        """Write a batch in one transaction.

        `outbound` decides what to send because of what is new; it is queued in the same transaction.  Raises
        StoreUnavailable or StoreRefused; nothing of the batch is written then.
        """
        ends = batch.ends
        features = self.story_features(batch.outcomes)
        with writing(self.engine) as connection:
            stored = _lock_offsets(connection, ends, now)
            fresh = [
                item for item in batch.outcomes if item.position.offset >= stored[item.position.partition]
            ]
            documents = [item for item in fresh if isinstance(item, ClassifiedDocument)]
            dead_letters = [item for item in fresh if isinstance(item, DeadLetter)]
            new, resent = self._add(connection, documents, dead_letters, outbound, now)
            inputs = (story_input(item.document, features[id(item)], now) for item in new)
            insert_story_inputs(connection, inputs)
            _advance_offsets(connection, ends, stored, now)
        return WriteResult(
            documents=new,
            dead_letters=dead_letters,
            skipped=_count_skipped(batch.outcomes, fresh, documents, new, resent),
            missing_offsets=_count_missing_offsets(batch.first_offsets, stored),
            corrected=resent.corrected,
        )

    def restore(
        self, documents: Sequence[ClassifiedDocument], outbound: Outbound, now: datetime
    ) -> tuple[Sequence[ClassifiedDocument], Sequence[ClassifiedDocument]]:
        """Write the documents that are not stored yet, regardless of the offsets.  What is newer than a
        stored document replaces its text.  Return the new and the corrected documents.

        Raises StoreUnavailable or StoreRefused.
        """
        features = self.story_features(documents)
        with writing(self.engine) as connection:
            new, resent = self._add(connection, documents, [], outbound, now)
            inputs = (story_input(item.document, features[id(item)], now) for item in new)
            insert_story_inputs(connection, inputs)
        return new, resent.corrected

    def refusal_reason(
        self, documents: Sequence[ClassifiedDocument], outbound: Outbound, now: datetime
    ) -> str | None:
        """Why these documents cannot be stored; None if they can.  Nothing is written.

        Raises StoreUnavailable.
        """
        try:
            self.story_features(documents)
            with writing(self.engine) as connection:
                self._add(connection, documents, [], outbound, now)
                connection.rollback()
        except StoreRefused as error:
            return str(error)
        return None

    def stored_versions(self, keys: Iterable[str]) -> dict[str, datetime | None]:
        """When the stored texts of these documents were updated, by key.  Raises StoreUnavailable."""
        columns = schema.documents.c
        query = select(columns.key, columns.updated_at).where(columns.key.in_(list(keys)))
        with reading(self.engine) as connection:
            return {row.key: row.updated_at for row in connection.execute(query)}

    def next_offsets(self, incarnations: Iterable[str]) -> dict[Partition, NextOffset]:
        """The next offset to read of every partition of these incarnations that was ever read."""
        table = schema.offsets
        query = select(table).where(table.c.incarnation.in_(list(incarnations)))
        with reading(self.engine) as connection:
            return {
                Partition(row.incarnation, row.kafka_topic, row.kafka_partition): NextOffset(
                    row.next_offset, UNKNOWN_EPOCH if row.leader_epoch is None else row.leader_epoch
                )
                for row in connection.execute(query)
            }

    def skip_to(self, offsets: Mapping[Partition, int], now: datetime) -> None:
        """Advance partitions to these offsets without reading the messages in between.

        Raises StoreUnavailable.
        """
        with writing(self.engine) as connection:
            stored = _lock_offsets(connection, offsets, now)
            ends = {partition: NextOffset(offset) for partition, offset in offsets.items()}
            _advance_offsets(connection, ends, stored, now)

    def note_holes(self, holes: Mapping[Partition, tuple[int, NextOffset]], now: datetime) -> None:
        """Advance partitions past offsets that hold no message: from a first offset up to the next one.

        A partition whose next offset is not in its hole stays: another worker has it, or is behind.  Raises
        StoreUnavailable.
        """
        with writing(self.engine) as connection:
            stored = _select_offsets(connection, sorted(holes))
            ends = {
                partition: end
                for partition, (first, end) in holes.items()
                if first <= stored.get(partition, -1) < end.offset
            }
            _advance_offsets(connection, ends, stored, now)

    def skip(self, letter: DeadLetter, next_offset: int, outbound: Outbound, now: datetime) -> None:
        """Advance a partition without reading the messages in between, and keep the letter that says so.

        Raises StoreUnavailable.
        """
        partition = letter.position.partition
        with writing(self.engine) as connection:
            stored = _lock_offsets(connection, [partition], now)
            self._add(connection, [], [letter], outbound, now)
            _advance_offsets(connection, {partition: NextOffset(next_offset)}, stored, now)

    def set_back(self, partition: Partition, next_offset: int, now: datetime) -> None:
        """Set a partition's next offset, to read messages again.  Raises StoreUnavailable."""
        with writing(self.engine) as connection:
            _lock_offsets(connection, [partition], now)
            _set_offsets(connection, {partition: NextOffset(next_offset)}, now)

    def story_features(self, outcomes: Iterable[Outcome]) -> dict[int, StoryFeatures]:
        """What the stories of documents depend on, by their identity in memory.

        It takes a while, and is done before a transaction holds locks.  Raises StoreRefused for a text that
        they cannot be computed of.
        """
        publishers = self._publishers or shipped_publishers()
        features: dict[int, StoryFeatures] = {}
        for item in outcomes:
            if isinstance(item, ClassifiedDocument):
                try:
                    features[id(item)] = story_features(item.document, item.prediction, publishers)
                except Exception as error:  # whatever one text holds, the others are stored
                    at = traceback.extract_tb(error.__traceback__)[-1]
                    reason = f"{type(error).__name__}: {error} ({at.name}, line {at.lineno})"
                    raise StoreRefused(f"its story features cannot be computed: {reason}") from error
        return features

    def ping(self) -> None:
        """Raises StoreUnavailable if the database does not answer."""
        with reading(self.engine) as connection:
            connection.execute(select(1))

    def _add(
        self,
        connection: Connection,
        documents: Sequence[ClassifiedDocument],
        dead_letters: Sequence[DeadLetter],
        outbound: Outbound,
        now: datetime,
    ) -> tuple[list[ClassifiedDocument], Resent]:
        """Add everything but the offsets; return the new documents, and what became of the others."""
        new = insert_documents(connection, documents, now)
        insert_event_labels(connection, new)
        mentions = [row for item in new for row in mention_rows(item, now)]
        insert_mentions(connection, mentions)
        sums = Sums(sums_by_key(new, self.width), entity_sums_by_key(mentions, HOUR))
        resent = Resent()
        if len(new) < len(documents):
            known = set(map(id, new))
            others = [item for item in documents if id(item) not in known]
            resent = apply_corrections(connection, others, self.width, now)
            sums += resent.sums
        add_sums(connection, sums)
        delete_empty(connection, resent.sums)
        _insert_dead_letters(connection, dead_letters, now)
        enqueue(connection, outbound([*new, *resent.corrected], dead_letters), now)
        return new, resent


def _lock_offsets(
    connection: Connection, partitions: Iterable[Partition], now: datetime
) -> dict[Partition, int]:
    """Lock the offset rows of the partitions, creating those that are missing; return the next offsets."""
    partitions = sorted(partitions)
    stored = _select_offsets(connection, partitions)
    if missing := [partition for partition in partitions if partition not in stored]:
        rows = [{**_partition_key(partition), "next_offset": 0, "updated_at": now} for partition in missing]
        connection.execute(dialect_insert(connection, schema.offsets).on_conflict_do_nothing(), rows)
        stored = _select_offsets(connection, partitions)
    return stored


def _select_offsets(connection: Connection, partitions: Sequence[Partition]) -> dict[Partition, int]:
    """Rows are locked in sorted order, so that workers cannot deadlock."""
    columns = [schema.offsets.c[name] for name in PARTITION_COLUMNS]
    keys = [tuple(_partition_key(partition).values()) for partition in partitions]
    query = select(*columns, schema.offsets.c.next_offset).where(tuple_(*columns).in_(keys))
    rows = connection.execute(query.order_by(*columns).with_for_update())
    return {Partition(*key): next_offset for *key, next_offset in rows}


def _advance_offsets(
    connection: Connection,
    ends: Mapping[Partition, NextOffset],
    stored: Mapping[Partition, int],
    now: datetime,
) -> None:
    """Offsets only move forward, and may jump: compaction and transactions leave holes."""
    ahead = {partition: end for partition, end in ends.items() if end.offset > stored[partition]}
    if ahead:
        _set_offsets(connection, ahead, now)


def _set_offsets(connection: Connection, ends: Mapping[Partition, NextOffset], now: datetime) -> None:
    rows = [
        {f"key_{name}": value for name, value in _partition_key(partition).items()}
        | {"end": end.offset, "epoch": None if end.leader_epoch == UNKNOWN_EPOCH else end.leader_epoch}
        | {"now": now}
        for partition, end in ends.items()
    ]
    connection.execute(SET_OFFSETS, rows)


def _partition_key(partition: Partition) -> dict[str, Any]:
    return dict(
        zip(PARTITION_COLUMNS, (partition.incarnation, partition.topic, partition.number), strict=True)
    )


def _insert_dead_letters(connection: Connection, dead_letters: Sequence[DeadLetter], now: datetime) -> None:
    rows = [
        {
            **_partition_key(letter.position.partition),
            "kafka_offset": letter.position.offset,
            "item": letter.position.item or 0,
            "in_array": letter.position.item is not None,
            "key": letter.key,
            "reason": letter.reason,
            "seen_at": now,
            # PostgreSQL cannot store a NUL in a text.
            "detail": letter.detail.replace("\0", "\ufffd")[:MAX_DETAIL_CHARACTERS],
            "traceparent": letter.position.traceparent,
        }
        for letter in dead_letters
    ]
    if not rows:
        return
    insert, parameters = insert_rows(connection, schema.dead_letters, rows)
    # A log that was cut, and a message that is read again, give an offset a second letter: the latest stays.
    names = ("in_array", "key", "reason", "detail", "seen_at", "traceparent")
    latest = {name: insert.excluded[name] for name in names} | {"sent_at": None}
    connection.execute(
        insert.on_conflict_do_update(index_elements=schema.dead_letters.primary_key, set_=latest), parameters
    )


def _count_missing_offsets(first_offsets: Mapping[Partition, int], stored: Mapping[Partition, int]) -> int:
    """Nothing is missing before the first batch of a partition: it starts wherever Kafka has messages."""
    return sum(
        max(0, first - stored[partition]) for partition, first in first_offsets.items() if stored[partition]
    )


def _count_skipped(
    outcomes: Sequence[Outcome],
    fresh: Sequence[Outcome],
    documents: Sequence[ClassifiedDocument],
    new: Sequence[ClassifiedDocument],
    resent: Resent,
) -> Mapping[tuple[str, SkipReason], int]:
    """The outcomes that are not fresh, the fresh documents that are neither new nor corrected, and the
    tombstones."""
    if len(fresh) == len(outcomes) == len(new):
        return {}
    counts = {
        SkipReason.REDELIVERED: _count_kinds(outcomes) - _count_kinds(fresh),
        SkipReason.REPEAT: _count_kinds(documents) - _count_kinds([*new, *resent.corrected, *resent.changed]),
        SkipReason.CHANGED: _count_kinds(resent.changed),
        SkipReason.TOMBSTONE: _count_kinds([item for item in fresh if isinstance(item, Tombstone)]),
    }
    return {(kind, reason): n for reason, by_kind in counts.items() for kind, n in by_kind.items()}


def _count_kinds(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(outcome.position.kind.value for outcome in outcomes)

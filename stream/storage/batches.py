"""The one transaction: what a batch writes, and the offsets that decide whether it counts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    bindparam,
    select,
    tuple_,
    update,
)

from stream.domain.documents import Kind, Span
from stream.domain.errors import StoreRefused
from stream.domain.records import Batch, ClassifiedDocument, DeadLetter, Outbound, Partition, WriteResult
from stream.storage import schema
from stream.storage.database import reading, writing
from stream.storage.outbox import put_outbox
from stream.storage.reads import Reads
from stream.storage.sql import insert_or, insert_rows
from stream.storage.sums import add_sums, sums_of

MOVE = (
    update(schema.offsets)
    .where(
        *[
            schema.offsets.c[name] == bindparam(f"own_{name}")
            for name in ("incarnation", "kafka_topic", "kafka_partition")
        ]
    )
    .values(next_offset=bindparam("end"), updated_at=bindparam("now"))
)


class Store:
    """The database over one engine; safe to share between threads.  `reads` is what rules and pages ask."""

    def __init__(self, engine: Engine, window_seconds: int) -> None:
        self.engine = engine
        self.width = timedelta(seconds=window_seconds)
        self.reads = Reads(engine, self.width)

    def write(self, batch: Batch, outbound: Outbound, now: datetime) -> WriteResult:
        """One transaction: fence, documents, aggregates, dead letters, outbox, offsets.

        `outbound` turns what was new into what leaves.  Raises StoreUnavailable or StoreRefused, and
        then nothing of the batch is written.
        """
        ends = batch.ends
        with writing(self.engine) as connection:
            fences = self._lock(connection, ends, now)
            passed = [
                item for item in batch.outcomes if item.position.offset >= fences[item.position.partition]
            ]
            judged = [item for item in passed if isinstance(item, ClassifiedDocument)]
            dead = [item for item in passed if isinstance(item, DeadLetter)]
            new = self._add(connection, judged, dead, outbound, now)
            self._move(connection, ends, fences, now)
        # A partition without a row yet begins wherever Kafka still has it.
        jumps = [start - fences[partition] for partition, start in batch.starts.items() if fences[partition]]
        holes = sum(jump for jump in jumps if jump > 0)
        return WriteResult(new, dead, _repeated(batch.outcomes, passed, judged, new), holes)

    def next_offsets(self, incarnations: Iterable[str]) -> dict[Partition, int]:
        """The next offset to read of every partition of these incarnations that was ever read."""
        table = schema.offsets
        query = select(table).where(table.c.incarnation.in_(list(incarnations)))
        with reading(self.engine) as connection:
            return {
                Partition(row.incarnation, row.kafka_topic, row.kafka_partition): row.next_offset
                for row in connection.execute(query)
            }

    def skip_to(self, offsets: Mapping[Partition, int], now: datetime) -> None:
        """Move partitions forward without reading what lies between."""
        with writing(self.engine) as connection:
            fences = self._lock(connection, offsets, now)
            self._move(connection, offsets, fences, now)

    def restore(
        self, judged: Sequence[ClassifiedDocument], outbound: Outbound, now: datetime
    ) -> Sequence[ClassifiedDocument]:
        """Write those documents that are missing, wherever their partitions stand; what was written."""
        with writing(self.engine) as connection:
            return self._add(connection, judged, [], outbound, now)

    def refuses(self, judged: Sequence[ClassifiedDocument], outbound: Outbound, now: datetime) -> str | None:
        """Why the database does not take them, None where it would.  Nothing is written.

        Raises StoreUnavailable.
        """
        try:
            with writing(self.engine) as connection:
                self._add(connection, judged, [], outbound, now)
                connection.rollback()
        except StoreRefused as error:
            return str(error)
        return None

    def ping(self) -> None:
        """Raises StoreUnavailable where the database does not answer."""
        with reading(self.engine) as connection:
            connection.execute(select(1))

    def _lock(
        self, connection: Connection, ends: Mapping[Partition, int], now: datetime
    ) -> dict[Partition, int]:
        """Lock the offset rows, sorted so that workers cannot deadlock; their next offsets."""
        found = self._fences(connection, ends)
        if missing := [key for key in sorted(ends) if key not in found]:
            rows = [{**_partition_key(key), "next_offset": 0, "updated_at": now} for key in missing]
            connection.execute(insert_or(connection, schema.offsets).on_conflict_do_nothing(), rows)
            found = self._fences(connection, ends)
        return found

    def _fences(self, connection: Connection, partitions: Iterable[Partition]) -> dict[Partition, int]:
        columns = [schema.offsets.c[name] for name in ("incarnation", "kafka_topic", "kafka_partition")]
        wanted = [(key.incarnation, key.topic, key.number) for key in partitions]
        query = select(*columns, schema.offsets.c.next_offset).where(tuple_(*columns).in_(wanted))
        rows = connection.execute(query.order_by(*columns).with_for_update())
        return {Partition(*key): next_offset for *key, next_offset in rows}

    def _move(
        self,
        connection: Connection,
        ends: Mapping[Partition, int],
        fences: Mapping[Partition, int],
        now: datetime,
    ) -> None:
        """Offsets only go forward; holes (compaction, transactions) are normal."""
        rows = [
            {f"own_{name}": value for name, value in _partition_key(key).items()} | {"end": end, "now": now}
            for key, end in ends.items()
            if end > fences[key]
        ]
        if rows:
            connection.execute(MOVE, rows)

    def _add(
        self,
        connection: Connection,
        judged: Sequence[ClassifiedDocument],
        dead: Sequence[DeadLetter],
        outbound: Outbound,
        now: datetime,
    ) -> list[ClassifiedDocument]:
        """All that a batch adds but its offsets; the documents that were new."""
        new = self._insert_documents(connection, judged, now)
        add_sums(connection, sums_of(new, self.width))
        self._insert_dead(connection, dead, now)
        put_outbox(connection, outbound(new, dead), now)
        return new

    def _insert_documents(
        self, connection: Connection, judged: Iterable[ClassifiedDocument], now: datetime
    ) -> list[ClassifiedDocument]:
        """Insert what is not there yet, in sorted order; what was inserted, in stream order."""
        first: dict[tuple[str, str], ClassifiedDocument] = {}
        for item in judged:
            first.setdefault(item.identity, item)
        if not first:
            return []
        table = schema.documents
        rows = [document_row(first[identity], now) for identity in sorted(first)]
        statement, values = insert_rows(connection, table, rows)
        statement = statement.on_conflict_do_nothing().returning(table.c.source, table.c.id)
        inserted = {(source, id_) for source, id_ in connection.execute(statement, values)}
        return [item for identity, item in first.items() if identity in inserted]

    def _insert_dead(self, connection: Connection, dead: Iterable[DeadLetter], now: datetime) -> None:
        rows = [
            _partition_key(letter.position.partition)
            | {"kafka_offset": letter.position.offset, "item": letter.position.item or 0}
            | {"reason": letter.reason, "seen_at": now}
            | {"detail": letter.detail.replace("\0", "\ufffd")[:2000]}
            for letter in dead
        ]
        if rows:
            connection.execute(*insert_rows(connection, schema.dead_letters, rows))


def _repeated(
    outcomes: Sequence[ClassifiedDocument | DeadLetter],
    passed: Sequence[ClassifiedDocument | DeadLetter],
    judged: Sequence[ClassifiedDocument],
    new: Sequence[ClassifiedDocument],
) -> Mapping[tuple[str, str], int]:
    if len(new) == len(judged) and len(passed) == len(outcomes):
        return {}
    tally = Counter((outcome.position.kind.value, "redelivered") for outcome in outcomes)
    tally.subtract((outcome.position.kind.value, "redelivered") for outcome in passed)
    tally.update((item.position.kind.value, "repeat") for item in judged)
    tally.subtract((item.position.kind.value, "repeat") for item in new)
    return {key: count for key, count in tally.items() if count}


def _partition_key(partition: Partition) -> dict[str, Any]:
    return {
        "incarnation": partition.incarnation,
        "kafka_topic": partition.topic,
        "kafka_partition": partition.number,
    }


class DocumentRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `documents`."""

    source: str
    id: str
    kind: Kind
    published_at: datetime
    received_at: datetime
    title: str
    text: str
    author: str | None
    url: str | None
    symbols: Sequence[str]
    lang: str | None
    status: str
    topic: str | None
    topic_probability: float | None
    sentiment: str | None
    sentiment_probability: float | None
    score: int | None
    evidence: Sequence[Span]
    model: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int


def document_row(item: ClassifiedDocument, now: datetime) -> DocumentRow:
    document, prediction, place = item.document, item.prediction, item.position
    topics, moods = (prediction.probabilities.get(task, {}) for task in ("topic", "sentiment"))
    counted = prediction.counted
    return DocumentRow(
        document.source, document.id, document.kind, document.published_at, now, document.title,
        document.text, document.author, document.url, document.symbols,
        prediction.lang, prediction.outcome,
        prediction.topic, topics.get(prediction.topic or ""), counted, moods.get(counted or ""),
        item.score, prediction.evidence, prediction.model,
        place.partition.topic, place.partition.number, place.offset,
    )  # fmt: skip

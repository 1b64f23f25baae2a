"""The store: what SQL holds of the stream, written one batch in one transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    bindparam,
    cast,
    func,
    literal,
    select,
    tuple_,
    update,
)

from stream.domain.alerts import Exhibit
from stream.domain.documents import EPOCH, SCORE_SCALE, Kind, Span
from stream.domain.errors import StoreRefused
from stream.domain.records import Batch, DeadLetter, Judged, Outbound, Partition, Written
from stream.domain.sums import Aggregate, Scope, Selection
from stream.storage import schema
from stream.storage.database import reading, writing
from stream.storage.outbox import put_outbox
from stream.storage.schema import SUMS
from stream.storage.sql import insert_or, insert_rows
from stream.storage.sums import ANY, _among, _selected, _windows, add_sums, stretch_of, sums_of

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
    """Reads and writes over one engine; safe to share between threads."""

    def __init__(self, engine: Engine, window_seconds: int) -> None:
        self.engine = engine
        self.width = timedelta(seconds=window_seconds)

    def write(self, batch: Batch, outbound: Outbound, now: datetime) -> Written:
        """One transaction: fence, documents, aggregates, dead letters, outbox, offsets.

        `outbound` turns what was new into what leaves.  Raises StoreUnavailable or StoreRefused, and
        then nothing of the batch is written.
        """
        ends = batch.ends
        with writing(self.engine) as connection:
            fences = self._lock(connection, ends, now)
            passed = [item for item in batch.outcomes if item.place.offset >= fences[item.place.partition]]
            judged = [item for item in passed if isinstance(item, Judged)]
            dead = [item for item in passed if isinstance(item, DeadLetter)]
            new = self._add(connection, judged, dead, outbound, now)
            self._move(connection, ends, fences, now)
        # A partition without a row yet begins wherever Kafka still has it.
        jumps = [start - fences[partition] for partition, start in batch.starts.items() if fences[partition]]
        holes = sum(jump for jump in jumps if jump > 0)
        return Written(new, dead, _repeated(batch.outcomes, passed, judged, new), holes)

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

    def restore(self, judged: Sequence[Judged], outbound: Outbound, now: datetime) -> Sequence[Judged]:
        """Write those documents that are missing, wherever their partitions stand; what was written."""
        with writing(self.engine) as connection:
            return self._add(connection, judged, [], outbound, now)

    def refuses(self, judged: Sequence[Judged], outbound: Outbound, now: datetime) -> str | None:
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

    def sums(self, start: datetime, end: datetime, selection: Selection = ANY) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""
        return self._added(start, end, None, selection)

    def cells(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection = ANY
    ) -> list[Aggregate]:
        """The same by stretches of `width`, whole seconds counted from the epoch: those with data, in
        order."""
        return self._added(start, end, int(width.total_seconds()), selection)

    def _added(
        self, start: datetime, end: datetime, width: int | None, selection: Selection
    ) -> list[Aggregate]:
        """A selection by anything but topic and kind is counted from the documents themselves."""
        source = _selected(selection, start, end) if selection else _windows(start, end, width)
        stamp = source.c.window_start
        cell: Any = literal(0) if width is None else stretch_of(stamp, width)
        # PostgreSQL's own sum of large integers is a decimal, which takes ten times as long to read.
        sums = [cast(func.sum(source.c[name]), BigInteger) for name in SUMS]
        query = (
            select(cell.label("cell"), source.c.topic, source.c.kind, *sums)
            .group_by("cell", source.c.topic, source.c.kind)
            .order_by("cell", source.c.topic, source.c.kind)
        )
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        starts = {at: start if width is None else EPOCH + timedelta(seconds=at * width) for at, *_ in rows}
        return [Aggregate(starts[at], *rest) for at, *rest in rows]

    def most_negative(self, scope: Scope, limit: int) -> list[Exhibit]:
        """The lowest-scored documents."""
        table = schema.documents
        query = select(table).where(*_among(scope), table.c.status == "ok")
        query = query.order_by(table.c.score, table.c.published_at, table.c.source, table.c.id)
        with reading(self.engine) as connection:
            return [
                Exhibit(
                    row.source, row.id, row.published_at, row.title or row.text, row.score / SCORE_SCALE,
                    carrying_words(row.evidence), row.url,
                )
                for row in connection.execute(query.limit(limit))
            ]  # fmt: skip

    def scored(self, start: datetime, end: datetime) -> Iterator[Any]:
        """The rows of documents with a score that were published in [start, end), in order of time."""
        table = schema.documents
        query = select(table).where(
            table.c.published_at >= start, table.c.published_at < end, table.c.score.is_not(None)
        )
        with reading(self.engine) as connection:
            rows = connection.execution_options(yield_per=1000).execute(query.order_by(table.c.published_at))
            yield from rows

    def writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        """How many negative documents each source has, most first, and how many authors wrote them."""
        table = schema.documents
        negative = [*_among(scope), table.c.sentiment == "negative"]
        n = func.count().label("n")
        by_source = select(table.c.source, n).where(*negative).group_by(table.c.source)
        with reading(self.engine) as connection:
            authors = connection.scalar(select(func.count(table.c.author.distinct())).where(*negative))
            rows = connection.execute(by_source.order_by(n.desc(), table.c.source))
            return {source: int(count) for source, count in rows}, int(authors or 0)

    def heard(self, scope: Scope) -> dict[str, datetime]:
        """When each source last published a document of whatever sort, those that did."""
        table = schema.documents
        query = select(table.c.source, func.max(table.c.published_at)).where(*_among(scope))
        with reading(self.engine) as connection:
            return {row.source: row[1] for row in connection.execute(query.group_by(table.c.source))}

    def late(self, since: datetime, before: datetime) -> list[datetime]:
        """The windows that judged documents fall in which were received at `since` or later and published
        before `before`, in order."""
        table = schema.documents
        cell = stretch_of(table.c.published_at, int(self.width.total_seconds()))
        query = (
            select(cell.label("cell"))
            .distinct()
            .where(table.c.received_at >= since, table.c.published_at < before, table.c.score.is_not(None))
        )
        with reading(self.engine) as connection:
            return [EPOCH + at * self.width for at in connection.scalars(query.order_by("cell"))]

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
        judged: Sequence[Judged],
        dead: Sequence[DeadLetter],
        outbound: Outbound,
        now: datetime,
    ) -> list[Judged]:
        """All that a batch adds but its offsets; the documents that were new."""
        new = self._insert_documents(connection, judged, now)
        add_sums(connection, sums_of(new, self.width))
        self._insert_dead(connection, dead, now)
        put_outbox(connection, outbound(new, dead), now)
        return new

    def _insert_documents(
        self, connection: Connection, judged: Iterable[Judged], now: datetime
    ) -> list[Judged]:
        """Insert what is not there yet, in sorted order; what was inserted, in stream order."""
        first: dict[tuple[str, str], Judged] = {}
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
            _partition_key(letter.place.partition)
            | {"kafka_offset": letter.place.offset, "item": letter.place.item or 0}
            | {"reason": letter.reason, "seen_at": now}
            | {"detail": letter.detail.replace("\0", "\ufffd")[:2000]}
            for letter in dead
        ]
        if rows:
            connection.execute(*insert_rows(connection, schema.dead_letters, rows))


def carrying_words(evidence: Sequence[Mapping[str, Any]], most: int = 5) -> tuple[str, ...]:
    """The words of a stored prediction that did most for its sentiment, most first."""
    spans = [span for span in evidence if span["task"] == "sentiment"]
    return tuple(span["text"] for span in sorted(spans, key=lambda span: -span["weight"])[:most])


def _repeated(
    outcomes: Sequence[Judged | DeadLetter],
    passed: Sequence[Judged | DeadLetter],
    judged: Sequence[Judged],
    new: Sequence[Judged],
) -> Mapping[tuple[str, str], int]:
    if len(new) == len(judged) and len(passed) == len(outcomes):
        return {}
    tally = Counter((outcome.place.kind.value, "redelivered") for outcome in outcomes)
    tally.subtract((outcome.place.kind.value, "redelivered") for outcome in passed)
    tally.update((item.place.kind.value, "repeat") for item in judged)
    tally.subtract((item.place.kind.value, "repeat") for item in new)
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


def document_row(item: Judged, now: datetime) -> DocumentRow:
    document, prediction, place = item.document, item.prediction, item.place
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

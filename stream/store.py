"""The store: what SQL holds of the stream, written one batch in one transaction."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Protocol

import msgspec
from psycopg.types.json import Json
from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Integer,
    String,
    Table,
    bindparam,
    cast,
    column,
    extract,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import NullType

from stream import schema
from stream.database import reading, writing
from stream.errors import StoreRefused
from stream.nouns import (
    EPOCH,
    SCORE_SCALE,
    SENTIMENTS,
    Aggregate,
    Document,
    Exhibit,
    Kind,
    Prediction,
    Scope,
    Selection,
    Span,
    window_start,
)
from stream.schema import SUMS

# Where a document's sentiment is counted in SUMS; none is an uncertain one.
COUNTED: dict[str | None, int] = {name: SUMS.index(name) for name in SENTIMENTS} | {
    None: SUMS.index("uncertain")
}
ANY = Selection()
NOTHING: Mapping[str, int] = {}
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


class Partition(msgspec.Struct, frozen=True, order=True, gc=False):
    """One partition of one incarnation of a Kafka topic."""

    incarnation: str
    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a message stood, the kind of document its topic carries, and its value.

    Of a document in a message of several, `item` is which of them it is, from 0 on, and `value` its own.
    """

    kind: Kind
    partition: Partition
    offset: int
    value: bytes | None
    item: int | None = None

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}" + ("" if self.item is None else f"#{self.item}")


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A document, where it stood, and what the classifier said of it."""

    place: Place
    document: Document
    prediction: Prediction

    @property
    def identity(self) -> tuple[str, str]:
        return self.document.source, self.document.id

    @property
    def score(self) -> int | None:
        """The score in fixed point."""
        score = self.prediction.score
        return None if score is None else round(score * SCORE_SCALE)


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A message that could not become a judged document, and why."""

    place: Place
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Something that leaves: where to, and its JSON; a page has a lane, a key and a time to wait for."""

    target: str
    body: bytes
    lane: str = ""
    key: str | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The outcomes of consecutive messages of some partitions, in stream order, and all of each message."""

    outcomes: Sequence[Judged | DeadLetter]

    @property
    def starts(self) -> dict[Partition, int]:
        """The offset of the first message of each partition."""
        places = (outcome.place for outcome in reversed(self.outcomes))
        return {place.partition: place.offset for place in places}

    @property
    def ends(self) -> dict[Partition, int]:
        """The offset after the last message of each partition."""
        places = (outcome.place for outcome in self.outcomes)
        return {place.partition: place.offset + 1 for place in places}


@dataclass(frozen=True, slots=True)
class Written:
    """What of a batch was new, and how much of it was not, by kind and outcome.

    A repeat is a known document under a new offset; what was redelivered is a known offset.  `holes`
    are offsets between the last batch and this one that no message came for: normal after compaction
    or transactions, and a loss where Kafka's retention overtook the reader.
    """

    judged: Sequence[Judged]
    dead: Sequence[DeadLetter]
    repeated: Mapping[tuple[str, str], int]
    holes: int


class Outbound(Protocol):
    """What leaves for the new part of a batch."""

    def __call__(self, new: Sequence[Judged], dead: Sequence[DeadLetter]) -> Sequence[Outgoing]: ...


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


def _among(scope: Scope) -> list[Any]:
    """The conditions for its documents."""
    columns = schema.documents.c
    found: list[Any] = [columns.published_at >= scope.start, columns.published_at < scope.end]
    found += [columns.kind.in_(scope.kinds), *_chosen(scope.selection)]
    return found if scope.topic is None else [*found, columns.topic == scope.topic]


def _chosen(selection: Selection) -> list[Any]:
    table = schema.documents
    found: list[Any] = []
    if selection.sources:
        found.append(table.c.source.in_(selection.sources))
    if selection.languages:
        found.append(table.c.lang.in_(selection.languages))
    if selection.symbols:
        listed = cast(table.c.symbols, String)
        # The list is stored as JSON, so a symbol stands in it between quotation marks, escaped or as it is.
        written = {
            json.dumps(name, ensure_ascii=flag) for name in selection.symbols for flag in (True, False)
        }
        found.append(or_(*[listed.contains(name, autoescape=True) for name in sorted(written)]))
    return found


def _selected(selection: Selection, start: datetime, end: datetime) -> Any:
    """Documents that count, as if each were a row of the aggregates."""
    table = schema.documents
    return (
        select(
            table.c.published_at.label("window_start"),
            table.c.topic,
            table.c.kind,
            literal(1).label("n"),
            *[func.coalesce(cast(table.c.sentiment == n, Integer), 0).label(n) for n in SENTIMENTS],
            cast(table.c.sentiment.is_(None), Integer).label("uncertain"),
            table.c.score.label("score_sum"),
            (cast(table.c.score, BigInteger) * table.c.score).label("score_squares"),
        )
        .where(table.c.published_at >= start, table.c.published_at < end)
        .where(table.c.score.is_not(None), *_chosen(selection))
        .subquery()
    )


def _windows(start: datetime, end: datetime, width: int | None) -> Any:
    """The windows that start in [start, end), as few as there are: days, at both ends hours, then base ones.

    `width` is that of the stretches they are added up to: what is longer is not used.
    """
    names = ("window_start", "topic", "kind", *SUMS)
    found = []
    for seconds, first, last in stretches(start, end, width):
        table = schema.rollups if seconds else schema.aggregates
        query = select(*[table.c[name] for name in names])
        query = query.where(table.c.window_start >= first, table.c.window_start < last)
        found.append(query.where(schema.rollups.c.width == seconds) if seconds else query)
    return union_all(*found).subquery()


def stretch_of(stamp: Any, width: int) -> Any:
    """Which stretch of `width` seconds from the epoch on a time falls in; a cast alone would round."""
    return cast(func.floor(extract("epoch", stamp)), BigInteger) // width


def stretches(start: datetime, end: datetime, width: int | None) -> list[tuple[int, datetime, datetime]]:
    """[start, end) in parts, each (seconds of its windows, 0 for the base ones; from; to), the coarse ones
    where whole windows fit."""
    for seconds in (schema.DAY, schema.HOUR):
        whole = timedelta(seconds=seconds)
        first, last = -(-(start - EPOCH) // whole) * whole + EPOCH, window_start(end, whole)
        if first < last and (width is None or width % seconds == 0):
            return [
                *(stretches(start, first, width) if start < first else []),
                (seconds, first, last),
                *(stretches(last, end, width) if last < end else []),
            ]
    return [(0, start, end)]


# Window start, topic, kind, partition: what a row of the aggregates is about.
Cell = tuple[datetime, str, str, int]


def sums_of(judged: Iterable[Judged], width: timedelta) -> dict[Cell, Aggregate]:
    """What documents add to the aggregates of `width`."""
    sums: dict[Cell, list[int]] = {}
    for item in judged:
        prediction, score = item.prediction, item.score
        if prediction.topic is None or score is None:
            continue
        start = window_start(item.document.published_at, width)
        key = (start, prediction.topic, item.place.kind.value, item.place.partition.number)
        added = sums.get(key)
        if added is None:
            added = sums[key] = [0] * len(SUMS)
        added[0] += 1
        added[COUNTED[prediction.counted]] += 1
        added[5] += score
        added[6] += score * score
    return {key: Aggregate(*key[:3], *added) for key, added in sums.items()}


def add_sums(connection: Connection, sums: Mapping[Cell, Aggregate]) -> None:
    """Add to the rows of the aggregates and to those of their hours and days."""
    add_windows(connection, sums)
    for seconds in (schema.HOUR, schema.DAY):
        add_rollups(connection, seconds, rolled_up(sums, seconds))


def add_windows(connection: Connection, sums: Mapping[Cell, Aggregate]) -> None:
    """Add to the rows of the aggregates alone."""
    _add(connection, schema.aggregates, sums)


def rolled_up(sums: Mapping[Cell, Aggregate], seconds: int) -> dict[Cell, Aggregate]:
    """The same in windows of so many seconds."""
    found: dict[Cell, Aggregate] = {}
    for (start, topic, kind, partition), one in sums.items():
        key = (window_start(start, timedelta(seconds=seconds)), topic, kind, partition)
        found[key] = found[key] + one if key in found else one
    return found


def add_rollups(connection: Connection, seconds: int, sums: Mapping[Cell, Aggregate]) -> None:
    """Add to the sums of hours or days."""
    _add(connection, schema.rollups, sums, {"width": seconds})


def _add(
    connection: Connection, table: Table, sums: Mapping[Cell, Aggregate], more: Mapping[str, int] = NOTHING
) -> None:
    """In sorted order, so that writers cannot deadlock."""
    if not sums:
        return
    rows = [
        {**more, "window_start": key[0], "topic": key[1], "kind": key[2], "kafka_partition": key[3]}
        | {name: getattr(sums[key], name) for name in SUMS}
        for key in sorted(sums)
    ]
    statement, values = insert_rows(connection, table, rows)
    added = {name: table.c[name] + statement.excluded[name] for name in SUMS}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    connection.execute(statement, values)


def put_outbox(connection: Connection, outgoing: Sequence[Outgoing], now: datetime) -> None:
    """Queue what leaves in the transaction that decided it."""
    rows = [
        {
            "target": item.target, "lane": item.lane, "key": item.key, "body": item.body,
            "created_at": now, "attempts": 0, "retry_at": item.not_before or now,
        }
        for item in outgoing
    ]  # fmt: skip
    if rows:
        connection.execute(insert(schema.outbox), rows)


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


def insert_or(connection: Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, in the database's own dialect."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def insert_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]] | Sequence[msgspec.Struct]
) -> tuple[Any, Any]:
    """An INSERT of these rows that knows ON CONFLICT, and what it is executed with.

    On PostgreSQL the rows go as one JSON value, so that the statement is the same whatever their number: it
    is compiled and planned once, where a list of VALUES costs more than all else of a batch.
    """
    if connection.dialect.name != "postgresql":
        return sqlite.insert(table), [as_mapping(row) for row in rows]
    return _insert_json(table, tuple(as_mapping(rows[0]))), {"rows": Json(rows, msgspec.json.encode)}


def as_mapping(row: object) -> dict[str, Any]:
    """A row by the names of its columns."""
    found: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(datetime,))
    return found


@cache
def _insert_json(table: Table, names: tuple[str, ...]) -> Any:
    value: Any = bindparam("rows", type_=NullType())
    columns = [column(name, table.c[name].type) for name in names]
    records = func.json_to_recordset(value).table_valued(*columns).render_derived(with_types=True)
    chosen = select(*[records.c[name] for name in names])
    return postgresql.insert(table).from_select(names, chosen)


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

"""Judging again what is stored, and counting it again, while the live stream goes on.

Every step is one transaction in which documents and aggregates change together by exact differences, so that
a reader never sees a half of it, and a run that was cut short is simply started again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from stream.domain.documents import EPOCH, Document, Kind
from stream.domain.errors import StoreUnavailable
from stream.domain.records import ClassifiedDocument, Classify, MessagePosition, Outbound, Partition
from stream.domain.sums import Aggregate, window_start
from stream.storage import schema
from stream.storage.batches import Store, document_row
from stream.storage.database import reading, writing
from stream.storage.outbox import put_outbox
from stream.storage.schema import SUMS
from stream.storage.sql import as_mapping
from stream.storage.sums import Cell, add_rollups, add_sums, add_windows, rolled_up, stretch_of, sums_of

CHUNK = 512
HOUR = timedelta(hours=1)
ATTEMPTS = 8
# What another model says differently; all else of a document stays as it is.
SAID = (
    "lang", "status", "topic", "topic_probability", "sentiment", "sentiment_probability", "score", "evidence",
    "model",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stretch:
    """Documents published in [start, end)."""

    start: datetime
    end: datetime


def to_relabel(store: Store, stretch: Stretch, version: str) -> int:
    """How many documents of the stretch another model judged whose texts are still there."""
    with reading(store.engine) as connection:
        query = select(func.count()).where(*_other_model(stretch, version))
        return int(connection.scalar(query) or 0)


def relabel(
    store: Store,
    stretch: Stretch,
    version: str,
    classify: Classify,
    outbound: Outbound,
    clock: Callable[[], datetime],
    progress: Callable[[int], object] = lambda documents: None,
) -> int:
    """Judge the stretch's documents with the model of that version; how many labels were written.

    Documents that the model judged already are left, so a run that was cut short goes on where it was.
    Raises StoreUnavailable and InferenceError.
    """
    done = 0
    for rows in _chunks(store, stretch, version):
        contents = [_document(row).content for row in rows]
        said = classify(contents, [row.lang for row in rows])
        judged = [
            ClassifiedDocument(_place(row), _document(row), one) for row, one in zip(rows, said, strict=True)
        ]
        with writing(store.engine) as connection:
            changed = _still_other(connection, judged, version)
            _rewrite(connection, changed, store.width, clock())
            put_outbox(connection, outbound([item for _, item in changed], []), clock())
        done += len(changed)
        progress(len(rows))
    return done


def recount(store: Store, stretch: Stretch, progress: Callable[[int], object] = lambda hours: None) -> int:
    """Make the aggregates of the stretch's whole hours what its documents add up to.

    Gives how many rows were wrong.  Raises StoreUnavailable, also where the live stream wrote to the same
    hour at every attempt.
    """
    wrong = 0
    for hour in _hours(store, stretch):
        for attempt in range(ATTEMPTS):
            try:
                wrong += _recount_hour(store, hour, hour + HOUR)
                break
            except StoreUnavailable:
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(0.2 * (attempt + 1))
        progress(1)
    return wrong


def _hours(store: Store, stretch: Stretch) -> list[datetime]:
    """The hours of the stretch that any document or sum is in."""
    seconds = int(HOUR.total_seconds())
    found: set[int] = set()
    with reading(store.engine) as connection:
        for stamp in (schema.documents.c.published_at, schema.aggregates.c.window_start):
            hour = stretch_of(stamp, seconds)
            within = (stamp >= window_start(stretch.start, HOUR), stamp < stretch.end)
            found.update(map(int, connection.scalars(select(hour).where(*within).distinct())))
    return [EPOCH + number * HOUR for number in sorted(found)]


def _recount_hour(store: Store, start: datetime, end: datetime) -> int:
    """One snapshot for both tables: the live stream changes them together, and so must be seen."""
    table = schema.aggregates
    isolated = store.engine.execution_options(isolation_level="REPEATABLE READ")
    engine = isolated if store.engine.dialect.name == "postgresql" else store.engine
    with writing(engine) as connection:
        documents = schema.documents
        within = (documents.c.published_at >= start, documents.c.published_at < end)
        counted = _sums_of_rows(connection.execute(select(documents).where(*within)), store.width)
        held = {
            (row.window_start, row.topic, row.kind, row.kafka_partition): Aggregate(
                row.window_start, row.topic, row.kind, *(getattr(row, name) for name in SUMS)
            )
            for row in connection.execute(
                select(table).where(table.c.window_start >= start, table.c.window_start < end)
            )
        }
        nothing = Aggregate(start, "", "")
        differences = {
            key: counted.get(key, replace(nothing, start=key[0])) + -held.get(key, nothing)
            for key in counted.keys() | held.keys()
        }
        differences = _not_nothing(differences)
        add_windows(connection, differences)
        mended = sum(_mend_rollup(connection, seconds, start) for seconds in (schema.HOUR, schema.DAY))
        _drop_empty(connection, differences)
        return len(differences) + mended


def _mend_rollup(connection: Connection, seconds: int, moment: datetime) -> int:
    """Make the hour or the day around a moment the sum of its parts; how many rows were wrong."""
    start = window_start(moment, timedelta(seconds=seconds))
    end = start + timedelta(seconds=seconds)
    table = schema.rollups
    within = (table.c.window_start >= start, table.c.window_start < end)
    parts: Any = select(table).where(table.c.width == schema.HOUR, *within)
    if seconds == schema.HOUR:
        base = schema.aggregates
        parts = select(base).where(base.c.window_start >= start, base.c.window_start < end)
    differences: dict[Cell, Aggregate] = {}
    for sign, query in ((1, parts), (-1, select(table).where(table.c.width == seconds, *within))):
        for row in connection.execute(query):
            key = (start, row.topic, row.kind, row.kafka_partition)
            one = Aggregate(*key[:3], *(sign * getattr(row, name) for name in SUMS))
            differences[key] = differences[key] + one if key in differences else one
    differences = _not_nothing(differences)
    add_rollups(connection, seconds, differences)
    return len(differences)


def _not_nothing(cells: Mapping[Cell, Aggregate]) -> dict[Cell, Aggregate]:
    return {key: sums for key, sums in cells.items() if any(getattr(sums, name) for name in SUMS)}


def _sums_of_rows(rows: Iterable[Any], width: timedelta) -> dict[Cell, Aggregate]:
    """What stored documents add to the aggregates of `width`; those without a score add nothing."""
    sums: dict[Cell, Aggregate] = {}
    for row in rows:
        if row.score is not None:
            key = (window_start(row.published_at, width), row.topic, row.kind, row.kafka_partition)
            single = Aggregate.of(*key[:3], row.sentiment, row.score)
            sums[key] = sums[key] + single if key in sums else single
    return sums


def _other_model(stretch: Stretch, version: str) -> list[Any]:
    table = schema.documents
    return [
        table.c.published_at >= stretch.start,
        table.c.published_at < stretch.end,
        table.c.model != version,
        or_(table.c.title != "", table.c.text != ""),  # what was erased cannot be read again
    ]


def _chunks(store: Store, stretch: Stretch, version: str) -> Iterator[list[Any]]:
    """In order of their stamps, those that another model judged."""
    table = schema.documents
    key = (table.c.published_at, table.c.source, table.c.id)
    after: Any = literal(value=True)
    while True:
        query = select(table).where(*_other_model(stretch, version), after).order_by(*key).limit(CHUNK)
        with reading(store.engine) as connection:
            rows = list(connection.execute(query))
        if not rows:
            return
        yield rows
        last = rows[-1]
        after = tuple_(*key) > (last.published_at, last.source, last.id)


def _still_other(
    connection: Connection, judged: Sequence[ClassifiedDocument], version: str
) -> list[tuple[Any, ClassifiedDocument]]:
    """The rows, locked, that no other run has rewritten meanwhile, each with what is now said of it."""
    table = schema.documents
    items = {item.identity: item for item in judged}
    chosen = tuple_(table.c.source, table.c.id).in_(sorted(items))
    query = select(table).where(chosen, table.c.model != version).order_by(table.c.source, table.c.id)
    return [(row, items[row.source, row.id]) for row in connection.execute(query.with_for_update())]


def _rewrite(
    connection: Connection, changed: Sequence[tuple[Any, ClassifiedDocument]], width: timedelta, now: datetime
) -> None:
    """New labels, and in the aggregates the difference to the old ones."""
    table = schema.documents
    differences = sums_of([item for _, item in changed], width)
    for row, item in changed:
        said = as_mapping(document_row(item, now))
        values = {name: said[name] for name in SAID}
        mine = and_(table.c.source == row.source, table.c.id == row.id)
        connection.execute(update(table).where(mine).values(**values))
    for key, old in _sums_of_rows([row for row, _ in changed], width).items():
        differences[key] = differences[key] + -old if key in differences else -old
    add_sums(connection, differences)
    _drop_empty(connection, differences)


def _drop_empty(connection: Connection, cells: Mapping[Cell, Aggregate]) -> None:
    """A row of nothing is no row."""
    names = ("window_start", "topic", "kind", "kafka_partition")
    for seconds in (0, schema.HOUR, schema.DAY):
        table = schema.rollups if seconds else schema.aggregates
        for key in sorted(rolled_up(cells, seconds) if seconds else cells):
            mine = [table.c[name] == value for name, value in zip(names, key, strict=True)]
            if seconds:
                mine.append(schema.rollups.c.width == seconds)
            connection.execute(delete(table).where(*mine, table.c.n == 0))


def _place(row: Any) -> MessagePosition:
    return MessagePosition(
        Kind(row.kind), Partition("", row.kafka_topic, row.kafka_partition), row.kafka_offset, None
    )


def _document(row: Any) -> Document:
    return Document(
        row.id, Kind(row.kind), row.source, row.published_at, row.title, row.text, row.author, row.url,
        tuple(row.symbols), row.lang,
    )  # fmt: skip

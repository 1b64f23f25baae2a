"""Adding sums to the aggregates, and reading them."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    String,
    Table,
    cast,
    extract,
    func,
    literal,
    or_,
    select,
    union_all,
)

from stream.domain.documents import EPOCH, SENTIMENTS
from stream.domain.records import ClassifiedDocument
from stream.domain.sums import Aggregate, Scope, Selection, window_start
from stream.storage import schema
from stream.storage.schema import SUMS
from stream.storage.sql import insert_rows

# Where a document's sentiment is counted in SUMS; none is an uncertain one.
COUNTED: dict[str | None, int] = {name: SUMS.index(name) for name in SENTIMENTS} | {
    None: SUMS.index("uncertain")
}


ANY = Selection()


NOTHING: Mapping[str, int] = {}


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


def sums_of(judged: Iterable[ClassifiedDocument], width: timedelta) -> dict[Cell, Aggregate]:
    """What documents add to the aggregates of `width`."""
    sums: dict[Cell, list[int]] = {}
    for item in judged:
        prediction, score = item.prediction, item.score
        if prediction.topic is None or score is None:
            continue
        start = window_start(item.document.published_at, width)
        key = (start, prediction.topic, item.position.kind.value, item.position.partition.number)
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

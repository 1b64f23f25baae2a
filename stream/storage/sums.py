"""Adding sums to the stored windows: base windows, and the hours and days rolled up from them."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from stream.domain.sums import SUM_FIELDS, Aggregate, SumKey, add_by_key, roll_up, window_start
from stream.storage import schema
from stream.storage.sql import insert_rows

KEY_COLUMNS = ("window_start", "topic", "kind", "kafka_partition")


def add_sums(connection: Connection, sums: Mapping[SumKey, Aggregate]) -> None:
    """Add sums of base windows to their rows and to the rows of their hours and days."""
    add_base_sums(connection, sums)
    for seconds in schema.ROLLUP_WIDTHS:
        add_rollups(connection, seconds, roll_up(sums, timedelta(seconds=seconds)))


def add_base_sums(connection: Connection, sums: Mapping[SumKey, Aggregate]) -> None:
    """Add sums of base windows to their rows alone."""
    _add(connection, schema.aggregates, {}, sums)


def add_rollups(connection: Connection, seconds: int, sums: Mapping[SumKey, Aggregate]) -> None:
    """Add sums of windows of so many seconds, one of ROLLUP_WIDTHS, to their rows."""
    _add(connection, schema.rollups, {"width": seconds}, sums)


def _add(
    connection: Connection, table: Table, constants: Mapping[str, int], sums: Mapping[SumKey, Aggregate]
) -> None:
    """Upsert in sorted order, so that concurrent writers cannot deadlock."""
    if not sums:
        return
    names = (*constants, *KEY_COLUMNS, *SUM_FIELDS)
    rows = [
        dict(zip(names, (*constants.values(), *key, *sums[key].totals), strict=True)) for key in sorted(sums)
    ]
    statement, values = insert_rows(connection, table, rows)
    added = {name: table.c[name] + statement.excluded[name] for name in SUM_FIELDS}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    connection.execute(statement, values)


def stored_sums(
    connection: Connection, table: Table, *conditions: ColumnElement[bool]
) -> dict[SumKey, Aggregate]:
    """The rows of `aggregates`, or those of one width of `rollups`, that meet the conditions."""
    query = select(*[table.c[name] for name in (*KEY_COLUMNS, *SUM_FIELDS)]).where(*conditions)
    return {
        (start, topic, kind, partition): Aggregate(start, topic, kind, *totals)
        for start, topic, kind, partition, *totals in connection.execute(query)
    }


def sums_of_rows(rows: Iterable[Any], width: timedelta) -> dict[SumKey, Aggregate]:
    """What rows of `documents` add to the windows of `width`; a row without a score adds nothing."""
    parts = []
    for row in rows:
        if row.score is not None:
            start = window_start(row.published_at, width)
            aggregate = Aggregate.of_document(start, row.topic, row.kind, row.sentiment, row.score)
            parts.append(((start, row.topic, row.kind, row.kafka_partition), aggregate))
    return add_by_key(parts)


def delete_empty(connection: Connection, changed: Mapping[SumKey, Aggregate]) -> None:
    """Delete those of the changed rows, in base windows, hours and days, that count no document any more."""
    _delete_empty(connection, schema.aggregates, {}, changed)
    for seconds in schema.ROLLUP_WIDTHS:
        rolled_up = roll_up(changed, timedelta(seconds=seconds))
        _delete_empty(connection, schema.rollups, {"width": seconds}, rolled_up)


def _delete_empty(
    connection: Connection, table: Table, constants: Mapping[str, int], changed: Mapping[SumKey, Aggregate]
) -> None:
    for key in sorted(changed):
        row = {**constants, **dict(zip(KEY_COLUMNS, key, strict=True))}
        same_key = [table.c[name] == value for name, value in row.items()]
        connection.execute(delete(table).where(*same_key, table.c.n == 0))

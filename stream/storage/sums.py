"""Adding sums to the stored windows.

Sums over documents have base windows, and hours and days rolled up from them.  Sums over mentions have
hours, and days rolled up from those: their minutes are counted from the mentions themselves.  Sums over the
documents that are voices, and over their mentions, are in tables of their own.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, select

from stream.domain.sums import (
    SUM_FIELDS,
    Aggregate,
    EntityKey,
    Key,
    SumKey,
    add_by_key,
    difference,
    entity_sums_by_key,
    roll_up,
    window_start,
)
from stream.storage import schema
from stream.storage.sql import insert_rows

HOUR = timedelta(seconds=schema.HOUR)


class SumTables(NamedTuple):
    """The tables of sums over some documents: base windows, hours and days, and those of their mentions."""

    aggregates: Table
    rollups: Table
    entities: Table


OF_TEXTS = SumTables(schema.aggregates, schema.rollups, schema.entity_aggregates)
OF_VOICES = SumTables(schema.voice_aggregates, schema.voice_rollups, schema.voice_entity_aggregates)
# The columns of a key, in its order; those of rollups and of sums over mentions have a width too.
WINDOW_KEY = ("window_start", "topic", "kind", "kafka_partition")
ENTITY_KEY = ("window_start", "entity", "kind", "kafka_partition", "band")
KEY_COLUMNS = {
    table: key
    for tables in (OF_TEXTS, OF_VOICES)
    for table, key in zip(tables, (WINDOW_KEY, WINDOW_KEY, ENTITY_KEY), strict=True)
}


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over documents by base window and topic, and over their mentions by hour and entity; and the same
    over those of them that are voices."""

    topics: Mapping[SumKey, Aggregate] = field(default_factory=dict)
    entities: Mapping[EntityKey, Aggregate] = field(default_factory=dict)
    voice_topics: Mapping[SumKey, Aggregate] = field(default_factory=dict)
    voice_entities: Mapping[EntityKey, Aggregate] = field(default_factory=dict)

    @property
    def only_voices(self) -> "Sums":
        """The sums over voices alone."""
        return Sums(voice_topics=self.voice_topics, voice_entities=self.voice_entities)

    @property
    def parts(self) -> tuple[Mapping[Any, Aggregate], ...]:
        return self.topics, self.entities, self.voice_topics, self.voice_entities

    def __add__(self, other: "Sums") -> "Sums":
        pairs = zip(self.parts, other.parts, strict=True)
        return Sums(*(add_by_key([*own.items(), *others.items()]) for own, others in pairs))

    def __sub__(self, other: "Sums") -> "Sums":
        """What has to be added to `other` to get these, without the keys where nothing changes."""
        return Sums(*(difference(own, others) for own, others in zip(self.parts, other.parts, strict=True)))


def add_sums(connection: Connection, sums: Sums) -> None:
    """Add sums to the rows of their windows, hours and days.

    The tables, and the rows of each, come in the same order in every transaction: writers cannot deadlock.
    """
    for table, seconds, stored in _by_table(sums):
        add_windows(connection, table, seconds, stored)


def _by_table(sums: Sums) -> Iterator[tuple[Table, int | None, Mapping[Any, Aggregate]]]:
    """The sums of each table, and of each width of its windows in seconds (None: base windows)."""
    for tables, topics, entities in (
        (OF_TEXTS, sums.topics, sums.entities),
        (OF_VOICES, sums.voice_topics, sums.voice_entities),
    ):
        yield tables.aggregates, None, topics
        for seconds in schema.ROLLUP_WIDTHS:
            yield tables.rollups, seconds, roll_up(topics, timedelta(seconds=seconds))
        for seconds in schema.ROLLUP_WIDTHS:
            yield tables.entities, seconds, roll_up(entities, timedelta(seconds=seconds))


def add_windows(
    connection: Connection, table: Table, seconds: int | None, sums: Mapping[Key, Aggregate]
) -> None:
    """Add sums of windows of so many seconds (None: base windows) to their rows in a table."""
    if not sums:
        return
    constants = () if seconds is None else (seconds,)
    width = () if seconds is None else ("width",)
    names = (*width, *KEY_COLUMNS[table], *SUM_FIELDS)
    rows = [dict(zip(names, (*constants, *key, *sums[key].totals), strict=True)) for key in sorted(sums)]
    statement, values = insert_rows(connection, table, rows)
    added = {name: table.c[name] + statement.excluded[name] for name in SUM_FIELDS}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    connection.execute(statement, values)


def stored_sums(
    connection: Connection, table: Table, *conditions: ColumnElement[bool]
) -> dict[Any, Aggregate]:
    """The rows of `aggregates`, or those of one width of another table, that meet the conditions, by key."""
    names = KEY_COLUMNS[table]
    query = select(*[table.c[name] for name in (*names, *SUM_FIELDS)]).where(*conditions)
    rows = (tuple(row) for row in connection.execute(query))
    return {row[: len(names)]: Aggregate(*row[:3], *row[len(names) :]) for row in rows}


def sums_of_rows(rows: Iterable[Any], width: timedelta) -> dict[SumKey, Aggregate]:
    """What rows of `documents` add to the windows of `width`; a row without a score adds nothing."""
    parts = []
    for row in rows:
        if row.score is not None:
            start = window_start(row.published_at, width)
            aggregate = Aggregate.of_document(start, row.topic, row.kind, row.sentiment, row.score)
            parts.append(((start, row.topic, row.kind, row.kafka_partition), aggregate))
    return add_by_key(parts)


def document_sums(
    rows: Sequence[Any], mentions: Mapping[str, Iterable[Any]], voices: Container[str], width: timedelta
) -> Sums:
    """What rows of `documents` and of their mentions, by key, add to all sums; `voices` are the keys of those
    that are voices.  `width` is the width of the base windows."""
    counted = [row for own in mentions.values() for row in own]
    of_voices = [row for key, own in mentions.items() if key in voices for row in own]
    return Sums(
        sums_of_rows(rows, width),
        entity_sums_by_key(counted, HOUR),
        sums_of_rows((row for row in rows if row.key in voices), width),
        entity_sums_by_key(of_voices, HOUR),
    )


def delete_empty(connection: Connection, changed: Sums) -> None:
    """Delete those of the changed rows, in windows, hours and days, that count no document any more."""
    for table, seconds, stored in _by_table(changed):
        delete_empty_windows(connection, table, seconds, stored)


def delete_empty_windows(
    connection: Connection, table: Table, seconds: int | None, changed: Mapping[Key, Aggregate]
) -> None:
    """The same for windows of so many seconds (None: base windows) in one table."""
    # A row that counts more than before is not empty.
    keys = [key for key in sorted(changed) if changed[key].n <= 0]
    if not keys:
        return
    constants = {} if seconds is None else {"of_width": seconds}
    names = KEY_COLUMNS[table]
    same_key = [table.c[name] == bindparam(f"of_{name}") for name in names]
    if seconds is not None:
        same_key.append(table.c.width == bindparam("of_width"))
    of_names = [f"of_{name}" for name in names]
    connection.execute(
        delete(table).where(*same_key, table.c.n == 0),
        [constants | dict(zip(of_names, key, strict=True)) for key in keys],
    )

"""Correcting the aggregates so that they match the stored documents and mentions, while the live stream keeps
running.

Each hour is one transaction, so that an interrupted run is simply started again.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select

from stream.domain.documents import EPOCH
from stream.domain.errors import StoreUnavailable
from stream.domain.sums import (
    Aggregate,
    Key,
    TimeRange,
    difference,
    entity_sums_by_key,
    roll_up,
    window_start,
)
from stream.retry import RetryPolicy, retry
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.event_labels import correct_event_labels
from stream.storage.sql import bucket_number, within
from stream.storage.stories import voices_between
from stream.storage.sums import (
    HOUR,
    OF_TEXTS,
    OF_VOICES,
    SumTables,
    add_windows,
    delete_empty_windows,
    stored_sums,
    sums_of_rows,
)

RETRY_POLICY = RetryPolicy(first_pause=0.2, longest_pause=1.6, jitter=0.5, attempts=8)


def recount(store: Store, times: TimeRange, progress: Callable[[int], object] = lambda hours: None) -> int:
    """Correct the aggregates of the hours that overlap the time range; return how many rows were wrong.

    On PostgreSQL the transaction of an hour fails if the live stream changes the same rows meanwhile, and is
    then retried.  Raises StoreUnavailable if no attempt succeeds.
    """
    wrong = 0
    for hour in _hours_with_data(store, times):
        recount_hour = partial(_recount_hour, store, hour)
        wrong += retry(recount_hour, errors=StoreUnavailable, policy=RETRY_POLICY)
        progress(1)
    return wrong


def _hours_with_data(store: Store, times: TimeRange) -> list[datetime]:
    """The hours of the time range that contain a document, an event or a sum."""
    numbers: set[int] = set()
    start = window_start(times.start, HOUR)
    with reading(store.engine) as connection:
        entities, of_voices = schema.entity_aggregates, schema.voice_entity_aggregates
        for stamp, *of_width in (
            (schema.documents.c.published_at,),
            (schema.aggregates.c.window_start,),
            (entities.c.window_start, entities.c.width == schema.HOUR),
            (schema.event_labels.c.published_at,),
            (schema.voice_aggregates.c.window_start,),
            (of_voices.c.window_start, of_voices.c.width == schema.HOUR),
        ):
            query = select(bucket_number(stamp, schema.HOUR)).where(
                within(stamp, start, times.end), *of_width
            )
            numbers.update(map(int, connection.scalars(query.distinct())))
    return [EPOCH + number * HOUR for number in sorted(numbers)]


def _recount_hour(store: Store, hour: datetime) -> int:
    """Compare the tables in one snapshot, since the live stream changes them together."""
    isolated = store.engine.execution_options(isolation_level="REPEATABLE READ")
    engine = isolated if store.engine.dialect.name == "postgresql" else store.engine
    documents, mentions = schema.documents, schema.mentions
    with writing(engine) as connection:
        in_hour = within(documents.c.published_at, hour, hour + HOUR)
        rows = connection.execute(select(documents).where(in_hour)).all()
        labels = within(schema.event_labels.c.published_at, hour, hour + HOUR)
        wrong = correct_event_labels(connection, rows, labels)
        of_hour = within(mentions.c.published_at, hour, hour + HOUR)
        mentioned = connection.execute(select(mentions).where(of_hour)).all()
        voices = set(connection.scalars(voices_between(hour, hour + HOUR)))
        for tables, counts in ((OF_TEXTS, None), (OF_VOICES, voices)):
            counted = [row for row in rows if counts is None or row.key in counts]
            wrong += _recount_documents(connection, tables, store.width, hour, counted)
            counted = [row for row in mentioned if counts is None or row.key in counts]
            wrong += _recount_mentions(connection, tables, hour, counted)
    return wrong


def _recount_documents(
    connection: Connection, tables: SumTables, width: timedelta, hour: datetime, rows: Sequence[Any]
) -> int:
    """Correct the sums over the documents of an hour; return how many rows were wrong."""
    aggregates = tables.aggregates
    in_hour = within(aggregates.c.window_start, hour, hour + HOUR)
    changes = difference(sums_of_rows(rows, width), stored_sums(connection, aggregates, in_hour))
    add_windows(connection, aggregates, None, changes)
    delete_empty_windows(connection, aggregates, None, changes)
    minutes = stored_sums(connection, aggregates, in_hour)
    wrong_hours = _correct_windows(connection, tables.rollups, schema.HOUR, hour, minutes)
    return len(changes) + wrong_hours + _correct_day(connection, tables.rollups, hour)


def _recount_mentions(connection: Connection, tables: SumTables, hour: datetime, rows: Sequence[Any]) -> int:
    """The same for the sums over its mentions, which have no base windows."""
    counted = entity_sums_by_key(rows, HOUR)
    wrong_hours = _correct_windows(connection, tables.entities, schema.HOUR, hour, counted)
    return wrong_hours + _correct_day(connection, tables.entities, hour)


def _correct_day(connection: Connection, table: Table, hour: datetime) -> int:
    """Make the day that contains `hour` the sum of its hours; return how many rows were wrong."""
    day = window_start(hour, timedelta(seconds=schema.DAY))
    in_day = within(table.c.window_start, day, day + timedelta(seconds=schema.DAY))
    hours = stored_sums(connection, table, table.c.width == schema.HOUR, in_day)
    return _correct_windows(connection, table, schema.DAY, day, hours)


def _correct_windows(
    connection: Connection, table: Table, seconds: int, start: datetime, parts: Mapping[Key, Aggregate]
) -> int:
    """Make the window at `start` the sum of its parts; return how many rows were wrong."""
    width = timedelta(seconds=seconds)
    in_window: ColumnElement[bool] = within(table.c.window_start, start, start + width)
    held = stored_sums(connection, table, table.c.width == seconds, in_window)
    changes = difference(roll_up(parts, width), held)
    add_windows(connection, table, seconds, changes)
    delete_empty_windows(connection, table, seconds, changes)
    return len(changes)

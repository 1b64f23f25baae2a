"""Correcting the aggregates so that they match the stored documents and mentions, while the live stream keeps
running.

Each hour is one transaction, so that an interrupted run is simply started again.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

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
from stream.storage.sums import (
    HOUR,
    Sums,
    add_windows,
    delete_empty,
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
        entities = schema.entity_aggregates
        for stamp, *of_width in (
            (schema.documents.c.published_at,),
            (schema.aggregates.c.window_start,),
            (entities.c.window_start, entities.c.width == schema.HOUR),
            (schema.event_labels.c.published_at,),
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
    with writing(engine) as connection:
        wrong = _recount_documents(connection, store.width, hour)
        return wrong + _recount_mentions(connection, hour)


def _recount_documents(connection: Connection, width: timedelta, hour: datetime) -> int:
    """Correct the sums over the documents of an hour, and their events; return how many rows were wrong."""
    documents, aggregates, rollups = schema.documents, schema.aggregates, schema.rollups
    in_hour = within(documents.c.published_at, hour, hour + HOUR)
    rows = connection.execute(select(documents).where(in_hour)).all()
    labels = within(schema.event_labels.c.published_at, hour, hour + HOUR)
    wrong_labels = correct_event_labels(connection, rows, labels)
    counted = sums_of_rows(rows, width)
    held = stored_sums(connection, aggregates, within(aggregates.c.window_start, hour, hour + HOUR))
    changes = difference(counted, held)
    add_windows(connection, aggregates, None, changes)
    minutes = stored_sums(connection, aggregates, within(aggregates.c.window_start, hour, hour + HOUR))
    wrong_hours = _correct_windows(connection, rollups, schema.HOUR, hour, minutes)
    wrong_days = _correct_day(connection, rollups, hour)
    delete_empty(connection, Sums(topics=changes))
    return len(changes) + wrong_hours + wrong_days + wrong_labels


def _recount_mentions(connection: Connection, hour: datetime) -> int:
    """The same for the sums over its mentions, which have no base windows."""
    mentions, entities = schema.mentions, schema.entity_aggregates
    in_hour = within(mentions.c.published_at, hour, hour + HOUR)
    counted = entity_sums_by_key(connection.execute(select(mentions).where(in_hour)), HOUR)
    wrong_hours = _correct_windows(connection, entities, schema.HOUR, hour, counted)
    return wrong_hours + _correct_day(connection, entities, hour)


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

"""Correcting the aggregates so that they match the stored documents, while the live stream keeps running.

Each hour is one transaction, so that an interrupted run is simply started again.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, Connection, select

from stream.domain.documents import EPOCH
from stream.domain.errors import StoreUnavailable
from stream.domain.sums import TimeRange, difference, roll_up, window_start
from stream.retry import RetryPolicy, retry
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.sql import bucket_number, within
from stream.storage.sums import add_base_sums, add_rollups, delete_empty, stored_sums, sums_of_rows

HOUR = timedelta(hours=1)
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
    """The hours of the time range that contain a document or a sum."""
    numbers: set[int] = set()
    start = window_start(times.start, HOUR)
    with reading(store.engine) as connection:
        for stamp in (schema.documents.c.published_at, schema.aggregates.c.window_start):
            query = select(bucket_number(stamp, schema.HOUR)).where(within(stamp, start, times.end))
            numbers.update(map(int, connection.scalars(query.distinct())))
    return [EPOCH + number * HOUR for number in sorted(numbers)]


def _recount_hour(store: Store, hour: datetime) -> int:
    """Compare both tables in one snapshot, since the live stream changes them together."""
    isolated = store.engine.execution_options(isolation_level="REPEATABLE READ")
    engine = isolated if store.engine.dialect.name == "postgresql" else store.engine
    documents, aggregates = schema.documents, schema.aggregates
    with writing(engine) as connection:
        in_hour = within(documents.c.published_at, hour, hour + HOUR)
        counted = sums_of_rows(connection.execute(select(documents).where(in_hour)), store.width)
        held = stored_sums(connection, aggregates, within(aggregates.c.window_start, hour, hour + HOUR))
        changes = difference(counted, held)
        add_base_sums(connection, changes)
        wrong_rollups = sum(_correct_rollup(connection, width, hour) for width in schema.ROLLUP_WIDTHS)
        delete_empty(connection, changes)
        return len(changes) + wrong_rollups


def _correct_rollup(connection: Connection, seconds: int, hour: datetime) -> int:
    """Make the hour or the day that contains `hour` the sum of its parts; return how many rows were wrong.

    The parts of a day are its hours, the parts of an hour its base windows.
    """
    width = timedelta(seconds=seconds)
    start = window_start(hour, width)

    def in_window(stamp: ColumnElement[datetime]) -> ColumnElement[bool]:
        return within(stamp, start, start + width)

    rollups, aggregates = schema.rollups, schema.aggregates
    if seconds == schema.HOUR:
        parts = stored_sums(connection, aggregates, in_window(aggregates.c.window_start))
    else:
        is_hour = rollups.c.width == schema.HOUR
        parts = stored_sums(connection, rollups, is_hour, in_window(rollups.c.window_start))
    same_width = rollups.c.width == seconds
    held = stored_sums(connection, rollups, same_width, in_window(rollups.c.window_start))
    changes = difference(roll_up(parts, width), held)
    add_rollups(connection, seconds, changes)
    return len(changes)

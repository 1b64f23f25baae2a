"""Erasing what people wrote once it is old: texts, authors and evidence go; labels, scores and sums stay.

A row keeps its identity, so that a text that is sent again still counts once.  Age is counted from when a
text was received, so what was erased up to is one stamp, kept in SQL: a run that was cut short goes on there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select, tuple_, update

from stream.domain.documents import EPOCH, HEARTBEAT
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.sql import insert_or

MARK = "purged"
# One transaction holds its locks for no more rows than these.
CHUNK = 2000
HEARTBEATS_KEPT = timedelta(days=1)
GONE: dict[str, Any] = {"title": "", "text": "", "author": None, "url": None, "evidence": []}


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows lost their texts, and how many heartbeats were deleted."""

    documents: int
    alerts: int
    dead_letters: int
    heartbeats: int


def purge(
    store: Store, before: datetime, now: datetime, progress: Callable[[int], object] = lambda rows: None
) -> Purged:
    """Erase what was received, resolved or refused before `before`.  Raises StoreUnavailable."""
    since = purged_until(store)
    documents = _erase_documents(store, since, before, progress)
    with writing(store.engine) as connection:
        alerts, letters = schema.alerts, schema.dead_letters
        ended = (alerts.c.resolved_at >= since) & (alerts.c.resolved_at < before)
        emptied = connection.execute(update(alerts).where(ended).values(evidence=[], message=""))
        refused = (letters.c.seen_at >= since) & (letters.c.seen_at < before)
        forgotten = connection.execute(update(letters).where(refused).values(detail=""))
        beats = _delete_heartbeats(connection, now)
        if before > since:
            _mark(connection, before)
    return Purged(documents, emptied.rowcount, forgotten.rowcount, beats)


def purgeable(store: Store, before: datetime) -> int:
    """How many documents a purge would empty."""
    table = schema.documents
    old = (table.c.received_at >= purged_until(store)) & (table.c.received_at < before)
    with reading(store.engine) as connection:
        return int(connection.scalar(select(func.count()).where(old)) or 0)


def purged_until(store: Store) -> datetime:
    """Up to when everything was erased."""
    table = schema.marks
    with reading(store.engine) as connection:
        return connection.scalar(select(table.c.at).where(table.c.name == MARK)) or EPOCH


def _erase_documents(
    store: Store, since: datetime, before: datetime, progress: Callable[[int], object]
) -> int:
    """Chunk by chunk in the order of their receipt; each is committed with its mark."""
    table: Table = schema.documents
    key = (table.c.received_at, table.c.source, table.c.id)
    done, last = 0, (since, "", "")
    while True:
        with writing(store.engine) as connection:
            found: list[Any] = list(
                connection.execute(
                    select(*key)
                    .where(tuple_(*key) > last, table.c.received_at < before)
                    .order_by(*key)
                    .limit(CHUNK)
                )
            )
            if not found:
                return done
            identities = [(row.source, row.id) for row in found]
            chosen = tuple_(table.c.source, table.c.id).in_(identities)
            connection.execute(update(table).where(chosen).values(**GONE))
            last = tuple(found[-1])
            _mark(connection, last[0])
        done += len(found)
        progress(len(found))


def _delete_heartbeats(connection: Connection, now: datetime) -> int:
    table = schema.documents
    old = (table.c.source == HEARTBEAT) & (table.c.received_at < now - HEARTBEATS_KEPT)
    return connection.execute(delete(table).where(old)).rowcount


def _mark(connection: Connection, at: datetime) -> None:
    row = {"name": MARK, "at": at}
    statement = insert_or(connection, schema.marks)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"at": at}), row)

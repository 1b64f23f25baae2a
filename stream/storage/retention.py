"""Erasing old personal data: texts, authors, evidence and pages go; labels, scores and sums stay.

Of mentions, where they are in the text goes; entity, relevance and score stay, and so do the events that a
text reports.  Rows of `document_events` lose their texts.
A row keeps its identity, so that a document that is sent again is still counted once.  Age counts from the
time of receipt.  The time up to which everything is erased is stored: an interrupted run continues there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, tuple_, update

from stream.domain.documents import EPOCH, HEARTBEAT_SOURCE
from stream.storage import schema
from stream.storage.audit import delete_old_entries
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.events import add_erasures, erase_event_texts
from stream.storage.marks import read_mark, set_mark
from stream.storage.sql import within

PURGE_MARK = "purged"
CHUNK = 2000  # rows erased, and therefore locked, by one transaction
HEARTBEATS_KEPT = timedelta(days=1)
ERASED_COLUMNS: dict[str, Any] = {"title": "", "text": "", "author": None, "url": None, "evidence": []}


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """How many documents, alerts and dead letters were erased, and how many heartbeats were deleted."""

    documents: int
    alerts: int
    dead_letters: int
    heartbeats: int


def purge(
    store: Store, before: datetime, now: datetime, progress: Callable[[int], object] = lambda rows: None
) -> PurgeResult:
    """Erase what was received, resolved or refused before `before`.  Raises StoreUnavailable."""
    since = purged_until(store, now)
    documents = _erase_documents(store, since, before, now, progress)
    _erase_event_texts(store, before)
    with writing(store.engine) as connection:
        alerts, letters = schema.alerts, schema.dead_letters
        resolved = within(alerts.c.resolved_at, since, before)
        erased_alerts = connection.execute(update(alerts).where(resolved).values(evidence=[], message=""))
        _erase_incidents(connection, since, before)
        refused = within(letters.c.seen_at, since, before)
        erased_letters = connection.execute(update(letters).where(refused).values(detail=""))
        heartbeats = _delete_heartbeats(connection, now)
        delete_old_entries(connection, now)
        if before > since:
            set_mark(connection, PURGE_MARK, before)
    return PurgeResult(documents, erased_alerts.rowcount, erased_letters.rowcount, heartbeats)


def count_purgeable(store: Store, before: datetime, now: datetime) -> int:
    """How many documents `purge` would erase.  Raises StoreUnavailable."""
    old = within(schema.documents.c.received_at, purged_until(store, now), before)
    with reading(store.engine) as connection:
        return int(connection.scalar(select(func.count()).where(old)) or 0)


def purged_until(store: Store, now: datetime) -> datetime:
    """The time before which everything received is erased; the epoch if nothing is.

    A time after `now` was written by a clock that was ahead.  Documents received since would never be erased,
    so it counts as none.
    """
    with reading(store.engine) as connection:
        mark = read_mark(connection, PURGE_MARK) or EPOCH
    return mark if mark <= now else EPOCH


def _erase_documents(
    store: Store, since: datetime, before: datetime, now: datetime, progress: Callable[[int], object]
) -> int:
    """Erase in the order of receipt, each chunk in one transaction with its mark; return the row count."""
    table = schema.documents
    order = (table.c.received_at, table.c.key)
    erased, last = 0, (since, "")
    while True:
        with writing(store.engine) as connection:
            next_rows = select(*order).where(tuple_(*order) > last, table.c.received_at < before)
            rows: list[Any] = list(connection.execute(next_rows.order_by(*order).limit(CHUNK)))
            if not rows:
                return erased
            _erase(connection, [row.key for row in rows], before, now)
            last = tuple(rows[-1])
            set_mark(connection, PURGE_MARK, last[0])
        erased += len(rows)
        progress(len(rows))


def _erase(connection: Connection, keys: list[str], before: datetime, now: datetime) -> None:
    """Erase these documents, but for those whose text was corrected meanwhile."""
    table, mentions = schema.documents, schema.mentions
    has_text = or_(table.c.title != "", table.c.text != "") & (table.c.source != HEARTBEAT_SOURCE)
    old = select(table.c.key, has_text.label("has_text")).where(
        table.c.key.in_(sorted(keys)), table.c.received_at < before
    )
    locked = list(connection.execute(old.order_by(table.c.key).with_for_update()))
    selected = [row.key for row in locked]
    connection.execute(update(table).where(table.c.key.in_(selected)).values(**ERASED_COLUMNS))
    connection.execute(update(mentions).where(mentions.c.key.in_(selected)).values(spans=[]))
    add_erasures(connection, [row.key for row in locked if row.has_text], now)


def _erase_event_texts(store: Store, before: datetime) -> None:
    """Erase the texts that were corrected since, which `document_events` still holds."""
    while True:
        with writing(store.engine) as connection:
            if not erase_event_texts(connection, before, CHUNK):
                return


def _erase_incidents(connection: Connection, since: datetime, before: datetime) -> None:
    """Erase what pages and people said, and the titles of incidents that are over: they quote texts."""
    incidents, pages, actions = schema.incidents, schema.pages, schema.incident_actions
    over = within(incidents.c.ended_at, since, before)
    connection.execute(update(incidents).where(over).values(title=""))
    connection.execute(update(pages).where(within(pages.c.at, since, before)).values(message={}))
    connection.execute(update(actions).where(within(actions.c.at, since, before)).values(text=""))


def _delete_heartbeats(connection: Connection, now: datetime) -> int:
    table = schema.documents
    old = (table.c.source == HEARTBEAT_SOURCE) & (table.c.received_at < now - HEARTBEATS_KEPT)
    labels = schema.event_labels
    connection.execute(delete(labels).where(labels.c.key.in_(select(table.c.key).where(old))))
    return connection.execute(delete(table).where(old)).rowcount

"""Every change of a stored document, as rows of `document_events`, which are only ever added.

From them it is counted what was known at an earlier time (`stream.storage.history`).
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, select, update

from stream.storage import schema
from stream.storage.sql import insert_rows

# The time since which every change has a row.
EVENTS_MARK = "document_events"
TEXTS = ("title", "text")


class EventCause(StrEnum):
    """Why a document changed, by the name stored in SQL."""

    CORRECTED = "corrected"  # the source sent a newer version of the text
    RELABELLED = "relabelled"  # another model classified it
    ENTITIES = "entities"  # another list of entities was searched for in it
    ERASED = "erased"  # its text became too old to be kept; `old` and `new` are empty


class DocumentState(msgspec.Struct, frozen=True, gc=False):
    """What an event says of a document before or after it."""

    status: str
    topic: str | None
    sentiment: str | None
    score: int | None
    model: str
    gazetteer: str | None
    received_at: datetime
    updated_at: datetime | None
    mentions: "list[MentionState]"
    events: list[str]


class MentionState(msgspec.Struct, frozen=True, gc=False):
    """One of its mentions.  Where it is in the text is left out, so that nothing of it has to be erased."""

    entity: str
    relevance: int
    sentiment: str | None
    score: int | None


class DocumentEvent(msgspec.Struct, frozen=True, gc=False):
    """A row of `document_events`, its fields in the order of the columns."""

    key: str
    sequence: int
    at: datetime
    cause: EventCause
    old: Any
    new: Any
    text_received_at: datetime | None = None


class Version(msgspec.Struct, frozen=True, gc=False):
    """A document before or after a change: its row, or what will be its row, and those of its mentions."""

    document: Any
    mentions: Sequence[Any]

    @property
    def state(self) -> DocumentState:
        row = self.document
        mentions = [
            MentionState(each.entity, each.relevance, each.sentiment, each.score) for each in self.mentions
        ]
        return DocumentState(
            row.status,
            row.topic,
            row.sentiment,
            row.score,
            row.model,
            row.gazetteer,
            row.received_at,
            row.updated_at,
            sorted(mentions, key=lambda each: each.entity),
            sorted(name for name, _ in row.events or ()),
        )

    @property
    def texts(self) -> dict[str, str]:
        return {name: getattr(self.document, name) for name in TEXTS}


def add_events(
    connection: Connection, versions: Sequence[tuple[Version, Version]], cause: EventCause, now: datetime
) -> None:
    """Add an event for each pair of the versions before and after a change, except where only the list of
    entities has another version and the same entities were found.

    The documents are locked by this transaction.
    """
    changes = []
    for old, new in versions:
        before, after = old.state, new.state
        texts_differ = old.texts != new.texts
        if texts_differ or msgspec.structs.replace(before, gazetteer=after.gazetteer) != after:
            changes.append((old, new, before, after, texts_differ))
    last = last_events(connection, [old.document.key for old, *_ in changes])
    rows = []
    for old, new, before, after, texts_differ in changes:
        key = old.document.key
        sequence, at = last.get(key, (0, now))
        was, became = msgspec.to_builtins(before), msgspec.to_builtins(after)
        if texts_differ:
            was, became = was | old.texts, became | new.texts
        received_at = before.received_at if texts_differ else None
        # Clocks differ: the events of a document stay in order.
        rows.append(DocumentEvent(key, sequence + 1, max(at, now), cause, was, became, received_at))
    _insert(connection, rows)


def add_erasures(connection: Connection, keys: Sequence[str], now: datetime) -> None:
    """Add an event for each of these documents, which this transaction has locked: its text is erased."""
    last = last_events(connection, keys)
    rows = []
    for key in keys:
        sequence, at = last.get(key, (0, now))
        rows.append(DocumentEvent(key, sequence + 1, max(at, now), EventCause.ERASED, {}, {}))
    _insert(connection, rows)


def last_events(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[int, datetime]]:
    """Number and time of the last event of each of these documents that has any."""
    table = schema.document_events
    last = (func.max(table.c.sequence), func.max(table.c.at))
    query = select(table.c.key, *last).where(table.c.key.in_(keys)).group_by(table.c.key)
    return {key: (number, at) for key, number, at in connection.execute(query)} if keys else {}


def _insert(connection: Connection, rows: Sequence[DocumentEvent]) -> None:
    if rows:
        connection.execute(*insert_rows(connection, schema.document_events, rows))


def erase_event_texts(connection: Connection, before: datetime, limit: int) -> int:
    """Erase the texts in events that were received before a time, in at most so many rows; return how many
    rows there were."""
    table = schema.document_events
    old = table.c.text_received_at < before
    query = select(table).where(old).order_by(table.c.text_received_at, table.c.key, table.c.sequence)
    rows = list(connection.execute(query.limit(limit).with_for_update()))
    if not rows:
        return 0
    erased = dict.fromkeys(TEXTS, "")
    values = []
    for row in rows:
        # The new text was received when it changed.
        is_old = row.at < before
        values.append(
            {
                "of_key": row.key,
                "of_sequence": row.sequence,
                "old": row.old | erased,
                "new": row.new | erased if is_old else row.new,
                "text_received_at": None if is_old else row.at,
            }
        )
    same_key = (table.c.key == bindparam("of_key"), table.c.sequence == bindparam("of_sequence"))
    connection.execute(update(table).where(*same_key), values)
    return len(rows)

"""Rows of the `event_labels` table: the events that each document reports, for rules that count them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, delete, select

from stream.domain.records import ClassifiedDocument
from stream.storage import schema
from stream.storage.sql import insert_rows, within

DELETE_LABELS = delete(schema.event_labels).where(schema.event_labels.c.key == bindparam("of_key"))


class EventLabelRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `event_labels`, its fields in the order of the columns."""

    key: str
    type: str
    published_at: datetime
    probability: float


def insert_event_labels(connection: Connection, documents: Iterable[ClassifiedDocument]) -> None:
    """Insert the events of documents that this transaction has inserted."""
    _insert(
        connection,
        [
            EventLabelRow(item.key, event.type, item.document.published_at, event.probability)
            for item in documents
            for event in item.prediction.events
        ],
    )


def rows_of(document: Any) -> list[EventLabelRow]:
    """What the row of a document says that `event_labels` has of it."""
    return [
        EventLabelRow(document.key, name, document.published_at, probability)
        for name, probability in document.events or ()
    ]


def replace_event_labels(connection: Connection, pairs: Sequence[tuple[Any, Any]]) -> None:
    """Replace the events of documents that this transaction has locked.

    Each pair is the row of a document before and after.
    """
    changed = sorted(
        ((rows_of(old), rows_of(new)) for old, new in pairs if rows_of(old) != rows_of(new)),
        key=lambda rows: (rows[0] or rows[1])[0].key,
    )
    if has_old := [{"of_key": old[0].key} for old, _ in changed if old]:
        connection.execute(DELETE_LABELS, has_old)
    _insert(connection, [row for _, new in changed for row in new])


def correct_event_labels(connection: Connection, documents: Iterable[Any], times: ColumnElement[bool]) -> int:
    """Make the table equal to what the rows of the documents of a time say; return how many rows were wrong.

    `times` is the condition on `event_labels` for that time.
    """
    table = schema.event_labels
    counted = {(row.key, row.type): row for document in documents for row in rows_of(document)}
    held = {
        (row.key, row.type): EventLabelRow(*row) for row in connection.execute(select(table).where(times))
    }
    wrong = [key for key in counted.keys() | held.keys() if counted.get(key) != held.get(key)]
    if surplus := [{"of_key": key, "of_type": name} for key, name in sorted(wrong) if (key, name) in held]:
        same = (table.c.key == bindparam("of_key"), table.c.type == bindparam("of_type"))
        connection.execute(delete(table).where(*same), surplus)
    _insert(connection, [counted[key] for key in sorted(wrong) if key in counted])
    return len(wrong)


def with_events(names: Sequence[str], start: datetime, end: datetime) -> ColumnElement[bool]:
    """The condition on `documents` published in [start, end) for those that report one of these events."""
    columns = schema.event_labels.c
    labelled = columns.type.in_(names), within(columns.published_at, start, end)
    return schema.documents.c.key.in_(select(columns.key).where(*labelled))


def _insert(connection: Connection, rows: Sequence[EventLabelRow]) -> None:
    """A label may have outlived its document, if somebody deleted that by hand: it is written over."""
    if not rows:
        return
    statement, values = insert_rows(connection, schema.event_labels, rows)
    replaced = {name: statement.excluded[name] for name in ("published_at", "probability")}
    connection.execute(statement.on_conflict_do_update(index_elements=["key", "type"], set_=replaced), values)

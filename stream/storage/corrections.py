"""Documents that are sent again with another text.

A newer `updated_at` makes it a corrected story: its text, labels and mentions replace those that are stored,
and the sums change by the exact difference.  Without one nobody can tell which text is right, so the first
one stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, select

from stream.domain.documents import Document, Precision
from stream.domain.records import ClassifiedDocument
from stream.storage import schema
from stream.storage.events import EventCause
from stream.storage.replacing import UPDATE_DOCUMENT, replace_predictions
from stream.storage.sums import Sums


@dataclass(slots=True)
class Resent:
    """What became of documents whose identity is stored.

    `corrected` replaced a stored text, and `sums` is what changes because of them.  `changed` have another
    text, and stayed out.  The rest said nothing new.
    """

    corrected: list[ClassifiedDocument] = field(default_factory=list)
    changed: list[ClassifiedDocument] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)


def apply_corrections(
    connection: Connection, resent: Sequence[ClassifiedDocument], width: timedelta, now: datetime
) -> Resent:
    """Store the newest version of each of these documents, which come in stream order.

    Raises StoreUnavailable or StoreRefused, by way of the transaction it is called in.
    """
    result = Resent()
    rows = _stored_rows(connection, resent)
    corrected: dict[str, ClassifiedDocument] = {}
    newest: dict[str, Any] = {key: (row.title, row.text, row.updated_at) for key, row in rows.items()}
    updated: dict[str, datetime] = {}
    for item in resent:
        document = item.document
        if item.key not in newest:
            continue
        title, text, updated_at = newest[item.key]
        is_same = (title, text) == (document.title, document.text)
        if document.updated_at is not None and (updated_at is None or document.updated_at > updated_at):
            newest[item.key] = (document.title, document.text, document.updated_at)
            updated[item.key] = document.updated_at
            if not is_same:
                corrected[item.key] = item
        elif not is_same and document.updated_at == updated_at and (title or text):
            result.changed.append(item)
    result.corrected = [_as_stored(item, rows[key], updated[key]) for key, item in corrected.items()]
    pairs = [(rows[item.key], item) for item in result.corrected]
    result.sums = replace_predictions(connection, pairs, EventCause.CORRECTED, width, now)
    _set_updated(connection, {key: at for key, at in updated.items() if key not in corrected})
    return result


def _stored_rows(connection: Connection, resent: Sequence[ClassifiedDocument]) -> dict[str, Any]:
    """The rows of these documents by key.  Those that may change are locked, in sorted order, and whole."""
    table = schema.documents
    dated = {item.key for item in resent if item.document.updated_at is not None}
    others = {item.key for item in resent} - dated
    rows: dict[str, Any] = {}
    if dated:
        query = select(table).where(table.c.key.in_(sorted(dated))).order_by(table.c.key).with_for_update()
        rows |= {row.key: row for row in connection.execute(query)}
    if others:
        columns = [table.c[name] for name in ("key", "title", "text", "updated_at")]
        unlocked = select(*columns).where(table.c.key.in_(others))
        rows |= {row.key: row for row in connection.execute(unlocked)}
    return rows


def _as_stored(item: ClassifiedDocument, row: Any, updated_at: datetime) -> ClassifiedDocument:
    """The corrected document: it keeps its place in time, for which it was counted."""
    document: Document = structs.replace(
        item.document,
        published_at=row.published_at,
        published_precision=Precision(row.published_precision),
        updated_at=updated_at,
    )
    return structs.replace(item, document=document)


def _set_updated(connection: Connection, updated: Mapping[str, datetime]) -> None:
    """Store that these documents were updated, without another text."""
    if updated:
        values = [{"of_key": key, "updated_at": updated[key]} for key in sorted(updated)]
        connection.execute(UPDATE_DOCUMENT, values)

"""Replacing the predictions of stored documents: labels, mentions, sums and changes are written together.

Corrected stories, another model and another list of entities all come here.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, bindparam, update

from stream.domain.records import ClassifiedDocument
from stream.storage import schema
from stream.storage.documents import (
    PREDICTION_COLUMNS,
    TEXT_COLUMNS,
    DocumentRow,
    document_row,
    position_of_row,
)
from stream.storage.event_labels import replace_event_labels
from stream.storage.events import EventCause, Version, add_events
from stream.storage.mentions import mention_rows, replace_mentions
from stream.storage.sql import as_mapping
from stream.storage.stories import voice_keys
from stream.storage.sums import Sums, document_sums

# The columns of `documents` that each cause replaces.
REPLACED = {
    EventCause.CORRECTED: (*TEXT_COLUMNS, *PREDICTION_COLUMNS),
    EventCause.RELABELLED: PREDICTION_COLUMNS,
    EventCause.ENTITIES: ("gazetteer",),
}
UPDATE_DOCUMENT = update(schema.documents).where(schema.documents.c.key == bindparam("of_key"))


def replace_predictions(
    connection: Connection,
    pairs: Sequence[tuple[Any, ClassifiedDocument]],
    cause: EventCause,
    width: timedelta,
    now: datetime,
) -> Sums:
    """Replace predictions of stored documents, and add an event for each; return what changes in the sums.

    Each pair is a row of `documents`, which this transaction has locked, and the document as it is now
    classified.  `width` is the width of the base windows.
    """
    if not pairs:
        return Sums()
    columns = REPLACED[cause]
    before, after, mentions = [], [], {}
    for row, item in pairs:
        stored = DocumentRow(*row)
        new = document_row(item, now)
        replaced = structs.replace(stored, **{name: getattr(new, name) for name in columns})
        # It counts in the partition by which it was first read.
        placed = structs.replace(item, position=position_of_row(row))
        before.append(stored)
        after.append(replaced)
        mentions[row.key] = mention_rows(placed, replaced.received_at)
    voices = voice_keys(connection, [row.key for row in before])
    connection.execute(UPDATE_DOCUMENT, [_values(row, columns) for row in after])
    replace_event_labels(connection, list(zip(before, after, strict=True)))
    old_mentions = replace_mentions(connection, mentions)
    versions = [
        (Version(old, old_mentions[old.key]), Version(new, mentions[old.key]))
        for old, new in zip(before, after, strict=True)
    ]
    add_events(connection, versions, cause, now)
    return document_sums(after, mentions, voices, width) - document_sums(before, old_mentions, voices, width)


def _values(row: DocumentRow, columns: Sequence[str]) -> dict[str, Any]:
    """The parameters of UPDATE_DOCUMENT."""
    return as_mapping({"of_key": row.key} | {name: getattr(row, name) for name in columns})

"""Searching stored documents for the entities of another list, while the live stream keeps running.

Each step is one transaction that changes mentions and sums together, by exact differences.  A reader never
sees half of a step, and an interrupted run is simply started again.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from msgspec import structs
from sqlalchemy import ColumnElement, and_, func, literal, or_, select, tuple_

from stream.domain.documents import HEARTBEAT_SOURCE
from stream.domain.records import ClassifiedDocument, FindEntities
from stream.domain.sums import TimeRange
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.documents import document_of_row, position_of_row, prediction_of_row
from stream.storage.events import EventCause
from stream.storage.replacing import replace_predictions
from stream.storage.sql import within
from stream.storage.sums import add_sums, delete_empty

CHUNK = 512
# What the mentions were made from: a document of which one of these changed meanwhile is searched again.
_as_read = attrgetter("title", "text", "symbols", "model", "sentiment", "score", "gazetteer")


def count_outdated(store: Store, published: TimeRange, gazetteer: str) -> int:
    """How many documents of the time range were searched with another list.  Raises StoreUnavailable."""
    with reading(store.engine) as connection:
        query = select(func.count()).where(_is_outdated(published, gazetteer))
        return int(connection.scalar(query) or 0)


def count_erased(store: Store, published: TimeRange, gazetteer: str) -> int:
    """How many documents of the time range keep the entities of another list, since their texts were erased.

    Raises StoreUnavailable.
    """
    table = schema.documents
    erased = and_(_of_other_list(published, gazetteer), table.c.title == "", table.c.text == "")
    with reading(store.engine) as connection:
        return int(connection.scalar(select(func.count()).where(erased)) or 0)


def backfill_entities(
    store: Store,
    published: TimeRange,
    gazetteer: str,
    *,
    find: FindEntities,
    clock: Callable[[], datetime],
    progress: Callable[[int], object] = lambda documents: None,
) -> int:
    """Search the documents of the time range with the list of this version; return how many were searched.

    Documents that were already searched with it are skipped, so that an interrupted run continues where it
    stopped.  Nothing is sent to Kafka.  Raises StoreUnavailable and InferenceError.
    """
    done, missed = 0, True
    while missed:
        missed = False
        for rows in _outdated_chunks(store, published, gazetteer):
            replaced = _backfill(store, rows, gazetteer, find, clock)
            done += replaced
            # The live stream or another command changed a document meanwhile.
            missed |= replaced < len(rows)
            progress(replaced)
    return done


def _backfill(
    store: Store, rows: Sequence[Any], gazetteer: str, find: FindEntities, clock: Callable[[], datetime]
) -> int:
    """Search documents again, and replace their mentions; return how many had not changed meanwhile."""
    documents = [document_of_row(row) for row in rows]
    predictions = find(
        [document.text_input for document in documents], [prediction_of_row(row) for row in rows]
    )
    classified = {
        row.key: ClassifiedDocument(
            position_of_row(row), document, structs.replace(prediction, gazetteer=gazetteer)
        )
        for row, document, prediction in zip(rows, documents, predictions, strict=True)
    }
    read = {row.key: _as_read(row) for row in rows}
    table = schema.documents
    query = select(table).where(table.c.key.in_(sorted(read))).order_by(table.c.key).with_for_update()
    with writing(store.engine) as connection:
        locked = connection.execute(query)
        pairs = [(row, classified[row.key]) for row in locked if _as_read(row) == read[row.key]]
        changes = replace_predictions(connection, pairs, EventCause.ENTITIES, store.width, clock())
        add_sums(connection, changes)
        delete_empty(connection, changes)
    return len(pairs)


def _of_other_list(published: TimeRange, gazetteer: str) -> ColumnElement[bool]:
    """The condition for documents that were searched with another list, or with none.  Heartbeats are about
    nobody."""
    table = schema.documents
    return and_(
        within(table.c.published_at, published.start, published.end),
        or_(table.c.gazetteer.is_(None), table.c.gazetteer != gazetteer),
        table.c.source != HEARTBEAT_SOURCE,
    )


def _is_outdated(published: TimeRange, gazetteer: str) -> ColumnElement[bool]:
    """The condition for those of them whose text was not erased."""
    table = schema.documents
    return and_(_of_other_list(published, gazetteer), or_(table.c.title != "", table.c.text != ""))


def _outdated_chunks(store: Store, published: TimeRange, gazetteer: str) -> Iterator[list[Any]]:
    """The rows of outdated documents in order of publication, CHUNK at a time."""
    table = schema.documents
    order = (table.c.published_at, table.c.key)
    after_last: Any = literal(value=True)
    while True:
        query = select(table).where(_is_outdated(published, gazetteer), after_last)
        with reading(store.engine) as connection:
            rows = list(connection.execute(query.order_by(*order).limit(CHUNK)))
        if not rows:
            return
        yield rows
        last = rows[-1]
        after_last = tuple_(*order) > (last.published_at, last.key)

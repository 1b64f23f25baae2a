"""Classifying stored documents with another model, while the live stream keeps running.

Each step is one transaction that changes documents, mentions and sums together, by exact differences.  A
reader never sees half of a step, and an interrupted run is simply started again.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select, tuple_

from stream.domain.records import ClassifiedDocument, Classify, Outbound
from stream.domain.sums import TimeRange
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.documents import document_of_row, position_of_row
from stream.storage.events import EventCause
from stream.storage.outbox import enqueue
from stream.storage.replacing import replace_predictions
from stream.storage.sql import within
from stream.storage.sums import add_sums, delete_empty

CHUNK = 512


def count_outdated(store: Store, published: TimeRange, version: str) -> int:
    """How many documents of the time range `relabel` would classify.  Raises StoreUnavailable."""
    with reading(store.engine) as connection:
        query = select(func.count()).where(_is_outdated(published, version))
        return int(connection.scalar(query) or 0)


def count_erased(store: Store, published: TimeRange, version: str) -> int:
    """How many counted documents of the time range keep the labels of another model, since their texts were
    erased.  Raises StoreUnavailable."""
    table = schema.documents
    erased = and_(
        within(table.c.published_at, published.start, published.end),
        table.c.model != version,
        table.c.score.is_not(None),
        table.c.title == "",
        table.c.text == "",
    )
    with reading(store.engine) as connection:
        return int(connection.scalar(select(func.count()).where(erased)) or 0)


def relabel(
    store: Store,
    published: TimeRange,
    version: str,
    *,
    classify: Classify,
    outbound: Outbound,
    clock: Callable[[], datetime],
    progress: Callable[[int], object] = lambda documents: None,
) -> int:
    """Classify the documents of the time range with the model `version`; return how many were changed.

    Documents that this model has already classified are skipped, so that an interrupted run continues where
    it stopped.  Raises StoreUnavailable and InferenceError.
    """
    changed = 0
    for rows in _outdated_chunks(store, published, version):
        documents = [document_of_row(row) for row in rows]
        predictions = classify([document.text_input for document in documents])
        classified = [
            ClassifiedDocument(position_of_row(row), document, prediction)
            for row, document, prediction in zip(rows, documents, predictions, strict=True)
        ]
        with writing(store.engine) as connection:
            pairs = _lock_outdated(connection, classified, version)
            changes = replace_predictions(connection, pairs, EventCause.RELABELLED, store.width, clock())
            add_sums(connection, changes)
            delete_empty(connection, changes)
            enqueue(connection, outbound([item for _, item in pairs], []), clock())
        changed += len(pairs)
        progress(len(rows))
    return changed


def _is_outdated(published: TimeRange, version: str) -> ColumnElement[bool]:
    """The condition for documents of another model whose text was not erased."""
    table = schema.documents
    return and_(
        within(table.c.published_at, published.start, published.end),
        table.c.model != version,
        or_(table.c.title != "", table.c.text != ""),
    )


def _outdated_chunks(store: Store, published: TimeRange, version: str) -> Iterator[list[Any]]:
    """The rows of outdated documents in order of publication, CHUNK at a time."""
    table = schema.documents
    order = (table.c.published_at, table.c.key)
    after_last: Any = literal(value=True)
    while True:
        query = (
            select(table).where(_is_outdated(published, version), after_last).order_by(*order).limit(CHUNK)
        )
        with reading(store.engine) as connection:
            rows = list(connection.execute(query))
        if not rows:
            return
        yield rows
        last = rows[-1]
        after_last = tuple_(*order) > (last.published_at, last.key)


def _lock_outdated(
    connection: Connection, classified: Sequence[ClassifiedDocument], version: str
) -> list[tuple[Any, ClassifiedDocument]]:
    """Lock the rows that are still outdated; return each with its document as classified now.

    A text that was corrected meanwhile is not the one that was classified: the live stream has labelled it.
    """
    table = schema.documents
    by_key = {item.key: item for item in classified}
    selected = table.c.key.in_(sorted(by_key))
    query = select(table).where(selected, table.c.model != version).order_by(table.c.key)
    pairs = [(row, by_key[row.key]) for row in connection.execute(query.with_for_update())]
    return [
        (row, item)
        for row, item in pairs
        if (row.title, row.text) == (item.document.title, item.document.text)
    ]

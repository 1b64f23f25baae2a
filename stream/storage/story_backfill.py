"""Assigning documents of before there were stories, while the live stream keeps running.

They have sequences of their own, below zero, and stories of their own: the live ones stay as they are.  Each
step is one transaction, so that an interrupted run continues where it stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, select

from stream.domain.documents import HEARTBEAT_SOURCE
from stream.domain.records import ClassifiedDocument, Classify
from stream.domain.stories import StoryInput, StoryWeights
from stream.domain.sums import TimeRange
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.documents import document_of_row, position_of_row
from stream.storage.marks import read_mark, set_mark
from stream.storage.sql import within
from stream.storage.stories import STORIES_MARK, Sequences, insert_story_inputs, load_assigner
from stream.storage.story_task import assign_documents
from stream.stories.assignment import Assigner
from stream.stories.features import story_input

CHUNK = 500


def count_without_story(store: Store, received: TimeRange) -> int:
    """How many documents of the time range `backfill_stories` would assign.  Raises StoreUnavailable."""
    with reading(store.engine) as connection:
        query = select(func.count()).where(_has_no_story(received))
        return int(connection.scalar(query) or 0)


def backfill_stories(
    store: Store,
    received: TimeRange,
    *,
    classify: Classify,
    weights: Mapping[str, StoryWeights],
    clock: Callable[[], datetime],
    progress: Callable[[int], object] = lambda documents: None,
) -> int:
    """Assign the documents received in the time range that have no story and do not wait for one, in the
    order of their receipt; return how many they were.

    Texts are read once more for their embeddings; stored labels stay.  Of an erased text nothing is known: it
    is a story of its own.  At the end stories are known since the start of the time range.  Nothing is sent
    to Kafka.  Raises StoreUnavailable, StoreRefused and InferenceError.
    """
    assigner: Assigner | None = None
    done = 0
    while rows := _next(store, received):
        waiting = _inputs(store, rows, classify)
        with writing(store.engine) as connection:
            if assigner is None:
                assigner = load_assigner(connection, weights, Sequences.HISTORY)
            insert_story_inputs(connection, waiting)
            assign_documents(connection, store.width, assigner, waiting, clock(), Sequences.HISTORY)
        done += len(rows)
        progress(len(rows))
    with writing(store.engine) as connection:
        known = read_mark(connection, STORIES_MARK)
        if known is None or received.start < known:
            set_mark(connection, STORIES_MARK, received.start)
    return done


def _next(store: Store, received: TimeRange) -> list[Any]:
    """The rows of the next documents without a story."""
    table = schema.documents
    order = (table.c.received_at, table.c.kind, table.c.source, table.c.id)
    query = select(table).where(_has_no_story(received)).order_by(*order).limit(CHUNK)
    with reading(store.engine) as connection:
        return list(connection.execute(query))


def _inputs(store: Store, rows: Sequence[Any], classify: Classify) -> list[StoryInput]:
    documents = [document_of_row(row) for row in rows]
    predictions = classify([document.text_input for document in documents])
    classified = [
        ClassifiedDocument(position_of_row(row), document, prediction)
        for row, document, prediction in zip(rows, documents, predictions, strict=True)
    ]
    features = store.story_features(classified)
    return [
        story_input(item.document, features[id(item)], row.received_at)
        for item, row in zip(classified, rows, strict=True)
    ]


def _has_no_story(received: TimeRange) -> ColumnElement[bool]:
    documents, stories, inputs = schema.documents, schema.document_stories, schema.story_inputs
    assigned = select(literal(1)).where(stories.c.key == documents.c.key).exists()
    waiting = select(literal(1)).where(inputs.c.key == documents.c.key, inputs.c.sequence.is_(None)).exists()
    return and_(
        within(documents.c.received_at, received.start, received.end),
        documents.c.source != HEARTBEAT_SOURCE,
        ~assigned,
        ~waiting,
    )

"""Rows of the tables of stories: what waits for its story, what was decided, and the stories themselves."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, delete, select, update

from stream.domain.documents import HEARTBEAT_SOURCE, Kind
from stream.domain.stories import StoryAssignment, StoryFeatures, StoryInput, StoryWeights
from stream.storage import schema
from stream.storage.sql import dialect_insert, within
from stream.stories.assignment import COPY_WINDOW, STORY_WINDOW, Assigned, Assigner
from stream.stories.story import Story, kinds_of

# Since when every document is assigned to a story.
STORIES_MARK = "stories"
SET_SEQUENCE = (
    update(schema.story_inputs)
    .where(schema.story_inputs.c.key == bindparam("of_key"))
    .values(sequence=bindparam("of_sequence"), seen_at=bindparam("of_seen_at"))
)


class Sequences(IntEnum):
    """Whether sequences count up, for documents as they arrive, or down, for those of before."""

    LIVE = 1
    HISTORY = -1


class StoredState(msgspec.Struct, frozen=True, array_like=True):
    """The column `state` of a story: what of `stream.stories.story.Story` has no column of its own."""

    last_sequence: int
    space: str | None
    total: bytes | None
    added: int
    central: bytes | None
    has_headline: bool
    terms: list[tuple[int, int]]
    seen: list[datetime]
    voices: list[tuple[str, datetime]]


def insert_story_inputs(connection: Connection, documents: Iterable[StoryInput]) -> None:
    """Let documents that this transaction has inserted or read wait for their story; heartbeats tell none.

    A document that somebody deleted by hand, and that is restored, keeps the story that it has.
    """
    rows = [
        {
            "key": document.key,
            "received_at": document.received_at,
            "kind": document.kind,
            "source": document.source,
            "id": document.id,
            "features": msgspec.msgpack.encode(document.features),
        }
        for document in documents
        if document.source != HEARTBEAT_SOURCE
    ]
    if rows:
        connection.execute(dialect_insert(connection, schema.story_inputs).on_conflict_do_nothing(), rows)


def waiting_inputs(connection: Connection, limit: int) -> list[StoryInput]:
    """The next documents that wait for their story, in their order."""
    table = schema.story_inputs
    order = (table.c.received_at, table.c.kind, table.c.source, table.c.id)
    query = select(table).where(table.c.sequence.is_(None)).order_by(*order).limit(limit)
    return [
        StoryInput(row.key, Kind(row.kind), row.source, row.id, row.received_at, _features(row.features))
        for row in connection.execute(query)
    ]


def load_assigner(
    connection: Connection, weights: Mapping[str, StoryWeights], sequences: Sequences = Sequences.LIVE
) -> Assigner:
    """An assigner that goes on where the last one stopped; `weights` are those of the present models."""
    weights = _known_weights(connection, weights)
    table, inputs, stories = schema.document_stories, schema.story_inputs, schema.stories
    own = table.c.sequence * int(sequences)
    newest = select(own, table.c.seen_at).where(_is_of(table.c.sequence, sequences))
    newest = newest.order_by(table.c.sequence.desc() if sequences is Sequences.LIVE else table.c.sequence)
    last = connection.execute(newest.limit(1)).first()
    if last is None:
        return Assigner(weights)
    last_sequence, seen_at = last
    recent = (
        select(table, inputs.c.features)
        .join(inputs, inputs.c.key == table.c.key)
        .where(inputs.c.seen_at >= seen_at - COPY_WINDOW, _is_of(inputs.c.sequence, sequences))
        .order_by(own)
    )
    open_stories = select(stories).where(
        stories.c.last_seen_at >= seen_at - STORY_WINDOW,
        stories.c.state.is_not(None),
        _is_of(stories.c.id, sequences),
    )
    found = (_story(row, sequences) for row in connection.execute(open_stories))
    rows = connection.execute(recent, execution_options={"yield_per": 1000})
    return Assigner(
        weights,
        stories=sorted(found, key=lambda story: story.last_sequence),
        recent=(_assigned(row, sequences) for row in rows),
        next_sequence=last_sequence + 1,
    )


def _is_of(sequence: Any, sequences: Sequences) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = sequence > 0 if sequences is Sequences.LIVE else sequence < 0
    return condition


def write_assignments(
    connection: Connection,
    assigned: Sequence[tuple[StoryInput, StoryAssignment]],
    stories: Iterable[Story],
    published: Mapping[str, datetime],
    now: datetime,
    sequences: Sequences = Sequences.LIVE,
) -> None:
    """Write what was decided, and take the documents out of the queue.

    `published` are the publication times by key; a document that somebody deleted meanwhile has none.
    """
    rows = [
        {
            "key": decided.key,
            "sequence": sequences * decided.sequence,
            "seen_at": decided.seen_at,
            "assigned_at": now,
            "published_at": published.get(decided.key, document.received_at),
            "story": sequences * decided.story,
            "novelty": decided.novelty,
            "copy_of": decided.copy_of,
            "voice": int(decided.is_voice),
            "origin": document.features.origin,
        }
        for document, decided in assigned
    ]
    _upsert(connection, schema.document_stories, rows)
    connection.execute(
        SET_SEQUENCE,
        [
            {
                "of_key": decided.key,
                "of_sequence": sequences * decided.sequence,
                "of_seen_at": decided.seen_at,
            }
            for _, decided in assigned
        ],
    )
    _upsert(connection, schema.stories, [_row(story, sequences) for story in stories])


def forget_inputs(
    connection: Connection, seen_at: datetime, limit: int, sequences: Sequences = Sequences.LIVE
) -> None:
    """Delete what nothing is compared with any more, at most so many rows of each table.

    Signatures and embeddings of texts go after the time in which copies are found, and the state of a story
    when it is over.
    """
    inputs, stories = schema.story_inputs, schema.stories
    is_old = (inputs.c.seen_at < seen_at - COPY_WINDOW, _is_of(inputs.c.sequence, sequences))
    old = select(inputs.c.key).where(*is_old).limit(limit)
    connection.execute(delete(inputs).where(inputs.c.key.in_(old)))
    is_over = (
        stories.c.last_seen_at < seen_at - STORY_WINDOW,
        stories.c.state.is_not(None),
        _is_of(stories.c.id, sequences),
    )
    over = select(stories.c.id).where(*is_over).limit(limit)
    connection.execute(update(stories).where(stories.c.id.in_(over)).values(state=None))


def drop_assigned(connection: Connection, waiting: Sequence[StoryInput]) -> list[StoryInput]:
    """Take documents that have their story out of the queue; return the others.

    Such a document was deleted by hand, and restored when nothing was compared with it any more.
    """
    stories, inputs = schema.document_stories, schema.story_inputs
    query = select(stories.c.key).where(stories.c.key.in_([document.key for document in waiting]))
    known = set(connection.scalars(query))
    if known:
        connection.execute(delete(inputs).where(inputs.c.key.in_(sorted(known))))
    return [document for document in waiting if document.key not in known]


def voice_keys(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Which of these documents are voices."""
    table = schema.document_stories
    query = select(table.c.key).where(table.c.key.in_(keys), table.c.voice == 1)
    return set(connection.scalars(query)) if keys else set()


def voices_between(start: datetime, end: datetime) -> Select[tuple[str]]:
    """A query for the keys of the voices that were published in [start, end)."""
    columns = schema.document_stories.c
    return select(columns.key).where(within(columns.published_at, start, end), columns.voice == 1)


def is_voice(start: datetime, end: datetime) -> ColumnElement[bool]:
    """The condition on `documents` published in [start, end) for those that are voices."""
    return schema.documents.c.key.in_(voices_between(start, end))


def begins_story(start: datetime, end: datetime) -> ColumnElement[bool]:
    """The condition on `documents` published in [start, end) for the first ones of their stories."""
    columns = schema.document_stories.c
    first = select(columns.key).where(
        within(columns.published_at, start, end), columns.sequence == columns.story
    )
    return schema.documents.c.key.in_(first)


def has_novelty(least: int, start: datetime, end: datetime) -> ColumnElement[bool]:
    """The condition on `documents` published in [start, end) for those with at least this novelty."""
    columns = schema.document_stories.c
    novel = select(columns.key).where(within(columns.published_at, start, end), columns.novelty >= least)
    return schema.documents.c.key.in_(novel)


def _known_weights(connection: Connection, present: Mapping[str, StoryWeights]) -> dict[str, StoryWeights]:
    """The weights of all spaces that were ever used; those of a space never change."""
    table = schema.story_weights
    rows = [{"space": space, "weights": msgspec.to_builtins(own)} for space, own in present.items()]
    if rows:
        connection.execute(dialect_insert(connection, table).on_conflict_do_nothing(), rows)
    stored = connection.execute(select(table.c.space, table.c.weights))
    return {space: msgspec.convert(own, StoryWeights) for space, own in stored}


def _upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace what they name in the rows of the same key."""
    statement, keys = dialect_insert(connection, table), [column.name for column in table.primary_key]
    replaced = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=replaced), rows)


def _features(stored: bytes) -> StoryFeatures:
    return msgspec.msgpack.decode(stored, type=StoryFeatures)


def _assigned(row: Any, sequences: Sequences) -> Assigned:
    features = _features(row.features)
    assignment = StoryAssignment(
        row.key,
        sequences * row.sequence,
        row.seen_at,
        sequences * row.story,
        row.novelty,
        row.copy_of,
        bool(row.voice),
    )
    return Assigned(assignment, features.signature, features.terms.specifics)


def _row(story: Story, sequences: Sequences) -> dict[str, Any]:
    state = StoredState(
        story.last_sequence,
        story.space,
        None if story.total is None else story.total.astype("<i8").tobytes(),
        story.added,
        story.central,
        story.has_headline,
        sorted(story.terms.items()),
        story.seen,
        list(story.voices.items()),
    )
    return {
        "id": sequences * story.id,
        "first_key": story.first_key,
        "central_key": story.central_key,
        "first_seen_at": story.first_seen_at,
        "last_seen_at": story.last_seen_at,
        "documents": story.documents,
        "copies": story.copies,
        "voices": story.voice_count,
        "state": msgspec.msgpack.encode(state),
    }


def _story(row: Any, sequences: Sequences) -> Story:
    state = msgspec.msgpack.decode(row.state, type=StoredState)
    return Story(
        id=sequences * row.id,
        first_key=row.first_key,
        central_key=row.central_key,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        last_sequence=state.last_sequence,
        space=state.space,
        total=None if state.total is None else np.frombuffer(state.total, "<i8").astype(np.int64),
        added=state.added,
        central=state.central,
        has_headline=state.has_headline,
        terms=dict(state.terms),
        kinds=kinds_of(dict(state.terms)),
        seen=state.seen,
        voices=dict(state.voices),
        documents=row.documents,
        copies=row.copies,
        voice_count=row.voices,
    )

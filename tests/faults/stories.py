"""Whether the stories in a database are those that one assigner gives, and their sums exact."""

import time
from collections import Counter
from typing import Any

import msgspec
from sqlalchemy import Connection, create_engine, select

from stream.domain.documents import HEARTBEAT_SOURCE, Kind
from stream.domain.stories import StoryFeatures, StoryInput
from stream.domain.sums import SUM_FIELDS, window_start
from stream.storage import schema
from stream.storage.schema import ROLLUP_WIDTHS
from stream.stories.assignment import Assigner
from tests.faults.contents import Sums, add_sums
from tests.faults.oracle import BAND, HIGHEST_BAND, MINUTE, sums_of

QUEUE_SECONDS = 60.0


def wrong_stories(url: str) -> dict[str, int]:
    """How many documents have no story, or another one than an assigner gives that takes the stored inputs in
    the order of their sequences, and how many sums of voices differ from a plain loop over the documents.

    Waits until no document waits for its story: some worker must run.
    """
    engine = create_engine(url)
    with engine.connect() as connection:
        _wait_for_queue(connection)
        documents = {row.key: row for row in connection.execute(select(schema.documents))}
        rows = list(connection.execute(select(schema.document_stories).order_by("sequence")))
        counts = Counter(
            {
                "stories lost": sum(row.source != HEARTBEAT_SOURCE for row in documents.values()) - len(rows),
                "stories extra": sum(row.key not in documents for row in rows),
                "story sequences differ": int(
                    [row.sequence for row in rows] != list(range(1, len(rows) + 1))
                ),
                "stories differ": _differences(connection, rows),
                "voice sums differ": _wrong_sums(connection, documents, {r.key for r in rows if r.voice}),
            }
        )
    engine.dispose()
    return {name: number for name, number in counts.items() if number}


def _wait_for_queue(connection: Connection) -> None:
    waiting = select(schema.story_inputs.c.key).where(schema.story_inputs.c.sequence.is_(None)).limit(1)
    ends = time.monotonic() + QUEUE_SECONDS
    while connection.scalar(waiting) is not None and time.monotonic() < ends:
        connection.rollback()
        time.sleep(0.3)
    connection.rollback()


def _differences(connection: Connection, rows: list[Any]) -> int:
    """How many decisions differ from those of one assigner that never stopped."""
    inputs = {row.key: row for row in connection.execute(select(schema.story_inputs))}
    assigner, wrong = Assigner(), 0
    for row in rows:
        stored = inputs[row.key]
        features = msgspec.msgpack.decode(stored.features, type=StoryFeatures)
        document = StoryInput(
            row.key, Kind(stored.kind), stored.source, stored.id, stored.received_at, features
        )
        decided, _ = assigner.assign(document)
        expected = decided.sequence, decided.story, decided.novelty, decided.copy_of, int(decided.is_voice)
        wrong += expected != (row.sequence, row.story, row.novelty, row.copy_of, row.voice)
    return wrong


def _wrong_sums(connection: Connection, documents: dict[str, Any], voices: set[str]) -> int:
    """How many rows of the sums of voices differ from a plain loop."""
    counted: dict[str, Sums] = {"minutes": {}, "rollups": {}, "entities": {}}
    for row in documents.values():
        if row.key in voices and row.score is not None:
            amounts = sums_of(row.sentiment, row.score, 1)
            add_sums(
                counted["minutes"], (window_start(row.published_at, MINUTE), row.topic, row.kind), amounts
            )
            for width in ROLLUP_WIDTHS:
                start = window_start(row.published_at, MINUTE * (width // 60))
                add_sums(counted["rollups"], (width, start, row.topic, row.kind), amounts)
    for row in connection.execute(select(schema.mentions)):
        if row.key in voices and row.score is not None:
            band = min(row.relevance // BAND * BAND, HIGHEST_BAND)
            for width in ROLLUP_WIDTHS:
                start = window_start(row.published_at, MINUTE * (width // 60))
                cell = (width, start, row.entity, row.kind, band)
                add_sums(counted["entities"], cell, sums_of(row.sentiment, row.score, 1))
    stored = {
        "minutes": _stored(connection, schema.voice_aggregates, "window_start", "topic", "kind"),
        "rollups": _stored(connection, schema.voice_rollups, "width", "window_start", "topic", "kind"),
        "entities": _stored(
            connection, schema.voice_entity_aggregates, "width", "window_start", "entity", "kind", "band"
        ),
    }
    return sum(
        counted[name].get(cell) != stored[name].get(cell)
        for name in counted
        for cell in counted[name].keys() | stored[name].keys()
    )


def _stored(connection: Connection, table: Any, *names: str) -> Sums:
    """The stored sums, added up over partitions."""
    sums: Sums = {}
    for row in connection.execute(select(*(table.c[name] for name in (*names, *SUM_FIELDS)))):
        add_sums(sums, tuple(row[: len(names)]), tuple(row[len(names) :]))
    return sums

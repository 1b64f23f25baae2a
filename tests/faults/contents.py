"""What a database holds, in a form that two of them can be compared in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, create_engine, select

from stream.domain.sums import SUM_FIELDS
from stream.storage import schema

Sums = dict[tuple[Any, ...], tuple[int, ...]]
# The columns that are compared, in order.
DOCUMENT_COLUMNS = [
    schema.documents.c[name]
    for name in (
        "kind",
        "published_at",
        "title",
        "text",
        "author",
        "status",
        "topic",
        "sentiment",
        "score",
        "updated_at",
        "model",
        "gazetteer",
    )
]
# The columns that are compared, in order.
MENTION_COLUMNS = [
    schema.mentions.c[name]
    for name in ("kind", "published_at", "relevance", "sentiment", "score", "of_target", "spans")
]


@dataclass
class Contents:
    """The contents of a database.

    Documents, their mentions and the events that they report by identity; sums by window, topic and kind; those of entities by width, window,
    entity, kind and band of relevance; dead letters by position; and the next offset of each partition.
    """

    documents: dict[str, Any] = field(default_factory=dict)
    mentions: dict[str, Any] = field(default_factory=dict)
    reported: dict[str, Any] = field(default_factory=dict)
    aggregates: Sums = field(default_factory=dict)
    rollups: Sums = field(default_factory=dict)
    entity_sums: Sums = field(default_factory=dict)
    dead: dict[tuple[str, int, int], str] = field(default_factory=dict)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    # By document: the version of the gazetteer that linked it, and when this version of its text was published.
    linked: dict[str, tuple[str | None, datetime | None]] = field(default_factory=dict)

    def add_document(
        self,
        key: str,
        values: tuple[Any, ...],
        mentions: Mapping[str, Any],
        reported: Mapping[str, Any],
        *,
        brief: bool,
    ) -> None:
        """Add a document, its mentions and its events; if `brief`, only a hash of all."""
        if brief:
            rest = sorted(mentions.items()), sorted(reported.items())
            self.documents[key] = hash((values, repr(rest)))
            return
        self.documents[key] = values
        self.linked[key] = values[-1], values[-3]
        if mentions:
            self.mentions[key] = mentions
        if reported:
            self.reported[key] = reported

    def differences(self, other: "Contents") -> dict[str, int]:
        """How many entries of each table are missing in `other`, are only there, or differ."""
        counts: Counter[str] = Counter()
        names = (
            "documents",
            "mentions",
            "reported",
            "aggregates",
            "rollups",
            "entity_sums",
            "dead",
            "offsets",
        )
        for name in names:
            mine, theirs = getattr(self, name), getattr(other, name)
            label = name.replace("_", " ")
            counts[f"{label} lost"] = len(mine.keys() - theirs.keys())
            counts[f"{label} extra"] = len(theirs.keys() - mine.keys())
            counts[f"{label} differ"] = sum(mine[key] != theirs[key] for key in mine.keys() & theirs.keys())
        return {name: n for name, n in counts.items() if n}


def add_sums(sums: Sums, key: tuple[Any, ...], amounts: tuple[int, ...]) -> None:
    """Add amounts to a row, which is gone when it counts nothing any more."""
    sums[key] = tuple(map(int.__add__, sums.get(key, (0,) * len(amounts)), amounts))
    if not sums[key][0]:
        del sums[key]


def read_database(url: str, *, brief: bool = False) -> Contents:
    """What the database holds now. Sums are added up over partitions."""
    contents, engine = Contents(), create_engine(url)
    with engine.connect().execution_options(yield_per=1000) as connection:
        _read_documents(connection, contents, brief=brief)
        for table, columns, sums in (
            (schema.aggregates, ("window_start", "topic", "kind"), contents.aggregates),
            (schema.rollups, ("width", "window_start", "topic", "kind"), contents.rollups),
            (
                schema.entity_aggregates,
                ("width", "window_start", "entity", "kind", "band"),
                contents.entity_sums,
            ),
        ):
            names = (*columns, *SUM_FIELDS)
            for row in connection.execute(select(*(table.c[name] for name in names))):
                add_sums(sums, tuple(row[: len(columns)]), tuple(row[len(columns) :]))
        for row in connection.execute(select(schema.dead_letters)):
            contents.dead[row.kafka_topic, row.kafka_partition, row.kafka_offset] = row.reason
    engine.dispose()
    contents.offsets = read_offsets(url)
    return contents


def _read_documents(connection: Connection, contents: Contents, *, brief: bool) -> None:
    """Documents with their mentions and events, in order of their keys. A mention of no document is one of a
    document that nobody expects."""
    documents, mentions, labels = schema.documents, schema.mentions, schema.event_labels
    reported: dict[str, dict[str, Any]] = {}
    for row in connection.execute(select(labels)):
        reported.setdefault(row.key, {})[row.type] = (row.published_at, row.probability)
    found: dict[str, dict[str, Any]] = {}
    for key, entity, *values in connection.execute(
        select(mentions.c.key, mentions.c.entity, *MENTION_COLUMNS)
    ):
        found.setdefault(key, {})[entity] = tuple(values)
    for key, *values in connection.execute(select(documents.c.key, *DOCUMENT_COLUMNS)):
        of_document = found.pop(key, {}), reported.pop(key, {})
        contents.add_document(key, tuple(values), *of_document, brief=brief)
    contents.mentions |= found
    contents.reported |= reported


def wrong_histories(url: str) -> dict[str, int]:
    """How many documents have events that do not follow from each other or do not end with what is stored, and
    how many were linked or labelled again more than once."""
    engine, histories = create_engine(url), dict[str, list[Any]]()
    table = schema.document_events
    with engine.connect() as connection:
        for row in connection.execute(select(table).order_by(table.c.key, table.c.sequence)):
            histories.setdefault(row.key, []).append(row)
        stored = _states(connection)
    engine.dispose()
    causes = Counter((row.key, row.cause) for rows in histories.values() for row in rows)
    return {
        "events differ": sum(not _is_history(rows, stored.get(key)) for key, rows in histories.items()),
        "events extra": sum(n > 1 for (_, cause), n in causes.items() if cause != "corrected"),
    }


def _is_history(events: Sequence[Any], stored: Any) -> bool:
    follow = all(_labels(old.new) == _labels(new.old) for old, new in pairwise(events))
    numbers = [event.sequence for event in events]
    times = [event.at for event in events]
    is_numbered = numbers == list(range(1, len(events) + 1)) and times == sorted(times)
    return follow and is_numbered and _labels(events[-1].new) == stored


def _labels(state: Mapping[str, Any]) -> Any:
    """What an event says of a document. The version of the gazetteer may change without an event."""
    mentions = {
        one["entity"]: (one["relevance"], one["sentiment"], one["score"]) for one in state["mentions"]
    }
    return *(state[name] for name in ("status", "topic", "sentiment", "score", "model")), mentions


def _states(connection: Connection) -> dict[str, Any]:
    """The same of what is stored, by document."""
    documents, mentions = schema.documents.c, schema.mentions.c
    found: dict[str, dict[str, Any]] = {}
    columns = (mentions.relevance, mentions.sentiment, mentions.score)
    for key, entity, *values in connection.execute(select(mentions.key, mentions.entity, *columns)):
        found.setdefault(key, {})[entity] = tuple(values)
    labels = (documents.status, documents.topic, documents.sentiment, documents.score, documents.model)
    rows = connection.execute(select(documents.key, *labels))
    return {key: (*values, found.get(key, {})) for key, *values in rows}


def read_offsets(url: str) -> dict[tuple[str, int], int]:
    """The next offset of each (topic, partition) in the database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = list(connection.execute(select(schema.offsets)))
    engine.dispose()
    return {(row.kafka_topic, row.kafka_partition): row.next_offset for row in rows if row.next_offset}

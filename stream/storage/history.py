"""What was known at an earlier time: sums over stored documents as they were then.

A document is known from the time it was received.  What it was at a time is what the first later event says
of it (`stream.storage.events`), or what it is now if there is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, Integer, case, cast, func, select

from stream.domain.documents import EPOCH, SENTIMENTS
from stream.domain.sums import SUM_FIELDS, Aggregate, TimeRange
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import snapshot
from stream.storage.events import EVENTS_MARK, EventCause
from stream.storage.marks import read_mark
from stream.storage.sql import within

# The causes that change what counts.
COUNTED_CAUSES = (EventCause.CORRECTED, EventCause.RELABELLED, EventCause.ENTITIES)


@dataclass(frozen=True, slots=True)
class Question:
    """Which documents to add up: of a topic, or that mention an entity with at least a relevance.

    Both are None for all documents.  `kinds` is empty for all kinds.
    """

    published: TimeRange
    topic: str | None = None
    entity: str | None = None
    min_relevance: int = 0
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The sums by kind as they were known `at` a time; None if that cannot be known.

    `since` is the time since which every change of a document is kept.
    """

    at: datetime
    since: datetime
    sums: dict[str, Aggregate] | None

    @property
    def total(self) -> Aggregate | None:
        """The sums over all kinds."""
        if self.sums is None:
            return None
        return sum(self.sums.values(), Aggregate(EPOCH, "", ""))


def sums_known_at(store: Store, question: Question, at: datetime) -> Answer:
    """The sums as they were known at a time.  Raises StoreUnavailable."""
    with snapshot(store.engine) as connection:
        since = read_mark(connection, EVENTS_MARK)
        if since is None or at < since:
            return Answer(at, since or datetime.max.replace(tzinfo=UTC), None)
        sums: dict[str, Aggregate] = {}
        for part in _unchanged_since(connection, question, at):
            sums[part.kind] = part
        for part in _changed_since(connection, question, at):
            sums[part.kind] = sums[part.kind] + part if part.kind in sums else part
        return Answer(at, since, sums)


def _unchanged_since(connection: Connection, question: Question, at: datetime) -> list[Aggregate]:
    """The sums by kind over what was received by a time and has not changed since."""
    documents, events = schema.documents, schema.document_events
    source: Any = documents
    counted = documents.c
    filters = [within(documents.c.published_at, *question.published), documents.c.received_at <= at]
    if question.entity is not None:
        counted = schema.mentions.c
        source = documents.join(schema.mentions, schema.mentions.c.key == documents.c.key)
        filters += [counted.entity == question.entity, counted.relevance >= question.min_relevance]
        # By the index on entity and time.
        filters.append(within(counted.published_at, *question.published))
    elif question.topic is not None:
        filters.append(documents.c.topic == question.topic)
    if question.kinds:
        filters.append(documents.c.kind.in_(question.kinds))
    later = select(1).where(
        events.c.key == documents.c.key, events.c.at > at, events.c.cause.in_(COUNTED_CAUSES)
    )
    filters += [counted.score.is_not(None), ~later.exists()]
    query = select(documents.c.kind, *_sum_columns(counted)).select_from(source)
    rows = connection.execute(query.where(*filters).group_by(documents.c.kind))
    return [Aggregate(EPOCH, "", *row) for row in rows]


def _sum_columns(counted: Any) -> list[Any]:
    """Sums over rows of documents or mentions, in the order of SUM_FIELDS."""
    contributions = {
        "n": case((counted.score.is_not(None), 1), else_=0),
        **{name: case((counted.sentiment == name, 1), else_=0) for name in SENTIMENTS},
        "uncertain": cast(counted.sentiment.is_(None), Integer),
        "score_sum": counted.score,
        "score_squares": cast(counted.score, BigInteger) * counted.score,
    }
    return [cast(func.sum(contributions[name]), BigInteger) for name in SUM_FIELDS]


def _changed_since(connection: Connection, question: Question, at: datetime) -> Iterator[Aggregate]:
    """What documents that have changed since a time counted then, by kind."""
    documents, events = schema.documents, schema.document_events
    query = (
        select(documents.c.kind, events.c.key, events.c.old)
        .join_from(events, documents, documents.c.key == events.c.key)
        .where(within(documents.c.published_at, *question.published))
        .where(events.c.at > at, events.c.cause.in_(COUNTED_CAUSES))
        .order_by(events.c.key, events.c.sequence)
    )
    if question.kinds:
        query = query.where(documents.c.kind.in_(question.kinds))
    rows = connection.execute(query, execution_options={"yield_per": 1000})
    for _, of_document in groupby(rows, attrgetter("key")):
        first = next(of_document)
        if datetime.fromisoformat(first.old["received_at"]) <= at:
            for sentiment, score in _counted(first.old, question):
                yield Aggregate.of_document(EPOCH, "", first.kind, sentiment, score)


def _counted(state: dict[str, Any], question: Question) -> Iterator[tuple[str | None, int]]:
    """Sentiment and score of what counts of a document in this state."""
    if question.entity is None:
        if state["score"] is not None and question.topic in (None, state["topic"]):
            yield state["sentiment"], state["score"]
        return
    for mention in state["mentions"]:
        is_asked = mention["entity"] == question.entity and mention["relevance"] >= question.min_relevance
        if is_asked and mention["score"] is not None:
            yield mention["sentiment"], mention["score"]

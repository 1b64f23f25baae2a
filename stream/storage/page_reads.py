"""What incidents and pages are made from: the documents behind an alert, headlines, and what is known now."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, case, cast, func, select
from sqlalchemy.orm import aliased

from stream.domain.documents import SCORE_SCALE, SENTIMENTS
from stream.domain.incidents import Headline, Moment, PageDocument
from stream.domain.sums import Aggregate, Scope, window_start
from stream.storage import schema
from stream.storage.database import pinned, reading
from stream.storage.entity_reads import parts_of
from stream.storage.filters import scope_source
from stream.storage.sql import database_now
from stream.storage.story_reads import StoryReader, with_stories

ALL = "all"


class PageReader(StoryReader):
    """Queries over one engine; safe to share between threads.

    Every method raises StoreUnavailable if the database does not answer.
    """

    @contextmanager
    def at_one_moment(self, now: datetime) -> Iterator[Moment]:
        """What is read meanwhile, in this thread, is read at one moment; the database's clock says when."""
        with pinned(self.engine) as connection:
            yield _moment(connection)

    def negative_documents(self, scope: Scope, least_relevance: int, limit: int) -> list[PageDocument]:
        """The negative documents of a scope, at most so many, those published last; in order of publication.

        Each has its entities of at least this relevance.
        """
        table, found, stories = schema.documents, scope_source(scope), schema.document_stories.c
        query = (
            select(
                table,
                found.score.label("score_of_scope"),
                *(stories.story, stories.origin, stories.voice, stories.copy_of),
            )
            .select_from(with_stories(found.source))
            .where(*found.filters, found.sentiment == "negative")
            .order_by(table.c.published_at.desc(), table.c.key.desc())
        )
        with reading(self.engine) as connection:
            rows = connection.execute(query.limit(limit)).all()[::-1]
            keys = [row.key for row in rows]
            entities = _entities(connection, keys, least_relevance)
            versions = _versions(connection, keys)
        return [_document(row, entities.get(row.key, ()), versions.get(row.key, 0)) for row in rows]

    def sums_by_origin(self, scope: Scope) -> dict[str | None, Aggregate]:
        """For each origin, the sum over its documents with a score; those that have no story yet have the
        origin None.  Of the last base window of the scope all documents count, as in the sums over all."""
        end = window_start(scope.end - timedelta.resolution, self.width) + self.width
        found, stories = scope_source(replace(scope, end=end)), schema.document_stories.c
        n, by_sentiment = (
            func.count(),
            [func.count(case((found.sentiment == sentiment, 1))) for sentiment in SENTIMENTS],
        )
        scores = cast(found.score, BigInteger)
        query = (
            select(stories.origin, n, *by_sentiment, func.sum(scores), func.sum(scores * scores))
            .select_from(with_stories(found.source))
            .where(*found.filters, found.score.is_not(None), schema.documents.c.topic.is_not(None))
            .group_by(stories.origin)
        )
        with reading(self.engine) as connection:
            return {origin: _sums(scope, *map(int, sums)) for origin, *sums in connection.execute(query)}

    def headlines(self, stories: Sequence[int], until: datetime) -> dict[int, Headline]:
        """What stands for each of these stories; `until` matters to a backtest alone."""
        table = schema.stories
        first, central = aliased(schema.documents), aliased(schema.documents)
        query = (
            select(table.c.id, table.c.first_seen_at, first.c.source, central.c.source, central.c.title,
                   central.c.text)
            .join(first, first.c.key == table.c.first_key)
            .join(central, central.c.key == table.c.central_key)
            .where(table.c.id.in_(stories))
        )  # fmt: skip
        with reading(self.engine) as connection:
            return {
                story: Headline(story, title or text, source, seen_at, first_source)
                for story, seen_at, first_source, source, title, text in connection.execute(query)
            }


def _sums(scope: Scope, n: int, positive: int, neutral: int, negative: int, *scores: int) -> Aggregate:
    uncertain = n - positive - neutral - negative
    return Aggregate(scope.start, ALL, ALL, n, positive, neutral, negative, uncertain, *scores)


def _moment(connection: Connection) -> Moment:
    offsets, stories = schema.offsets.c, schema.document_stories.c
    # Of a topic that was made anew, the present incarnation.
    query = select(offsets.kafka_topic, offsets.kafka_partition, offsets.next_offset)
    rows = connection.execute(query.order_by(offsets.updated_at))
    known = {f"{topic}/{partition}": next_offset for topic, partition, next_offset in rows}
    last = connection.scalar(select(func.max(stories.sequence)))
    return Moment(database_now(connection), known, last)


def _entities(
    connection: Connection, keys: Sequence[str], least_relevance: int
) -> Mapping[str, tuple[str, ...]]:
    columns = schema.mentions.c
    query = select(columns.key, columns.entity).where(columns.relevance >= least_relevance)
    query = query.order_by(columns.relevance.desc(), columns.entity)
    found: dict[str, tuple[str, ...]] = {}
    for part in parts_of(keys):
        for key, entity in connection.execute(query.where(columns.key.in_(part))):
            found[key] = (*found.get(key, ()), entity)
    return found


def _versions(connection: Connection, keys: Sequence[str]) -> Mapping[str, int]:
    columns = schema.document_events.c
    query = select(columns.key, func.max(columns.sequence)).group_by(columns.key)
    found: dict[str, int] = {}
    for part in parts_of(keys):
        rows = connection.execute(query.where(columns.key.in_(part)))
        found |= {key: int(number) for key, number in rows}
    return found


def _document(row: Any, entities: tuple[str, ...], version: int) -> PageDocument:
    return PageDocument(
        key=row.key,
        version=version,
        kind=row.kind,
        source=row.source,
        published_at=row.published_at,
        received_at=row.received_at,
        topic=row.topic,
        score=row.score_of_scope / SCORE_SCALE,
        author=row.author,
        model=row.model,
        gazetteer=row.gazetteer,
        story=row.story,
        origin=row.origin,
        is_voice=None if row.voice is None else bool(row.voice),
        copy_of=row.copy_of,
        entities=entities,
    )

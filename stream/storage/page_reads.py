"""What a page is made from: the negative documents behind an alert, and the moment at which they were read."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from stream.domain.documents import SCORE_SCALE
from stream.domain.incidents import MOST_DOCUMENTS, PageDocument
from stream.domain.sums import Scope
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.filters import scope_source
from stream.storage.story_reads import with_stories

# Texts that only mention an entity are not about it, and few texts are about more entities.
LEAST_RELEVANCE, MOST_ENTITIES = 20, 20
KEYS_PER_QUERY = 1000


def page_documents(engine: Engine, scope: Scope, limit: int = MOST_DOCUMENTS) -> list[PageDocument]:
    """The negative documents of a scope, the latest first, at most so many.  Raises StoreUnavailable."""
    table, found, stories = schema.documents, scope_source(scope), schema.document_stories.c
    columns = ("key", "kind", "source", "published_at", "received_at", "topic", "author", "model", "gazetteer")
    query = (
        select(
            *[table.c[name] for name in columns],
            found.score.label("score_of_scope"),
            stories.story,
            stories.origin,
            stories.voice,
            stories.copy_of,
        )
        .select_from(with_stories(found.source))
        .where(*found.filters, found.sentiment == "negative")
        .order_by(table.c.published_at.desc(), table.c.key)
    )
    with reading(engine) as connection:
        rows = connection.execute(query.limit(limit)).all()
        keys = [row.key for row in rows]
        versions, entities = _versions(connection, keys), _entities(connection, keys)
    return [_page_document(row, versions[row.key], entities[row.key]) for row in rows]


def _page_document(row: Any, version: int, entities: Sequence[str]) -> PageDocument:
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
        entities=tuple(entities[:MOST_ENTITIES]),
    )


def _versions(connection: Connection, keys: Sequence[str]) -> Counter[str]:
    """How many times each of these documents has changed."""
    table, versions = schema.document_events, Counter[str]()
    for part in _parts(keys):
        query = select(table.c.key, func.count()).where(table.c.key.in_(part)).group_by(table.c.key)
        versions.update({key: int(count) for key, count in connection.execute(query)})
    return versions


def _entities(connection: Connection, keys: Sequence[str]) -> defaultdict[str, list[str]]:
    """The entities that each of these documents is about, the most relevant first."""
    columns, found = schema.mentions.c, defaultdict[str, list[str]](list)
    for part in _parts(keys):
        query = (
            select(columns.key, columns.entity)
            .where(columns.key.in_(part), columns.relevance >= LEAST_RELEVANCE)
            .order_by(columns.relevance.desc(), columns.entity)
        )
        for key, entity in connection.execute(query):
            found[key].append(entity)
    return found


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), KEYS_PER_QUERY):
        yield keys[at : at + KEYS_PER_QUERY]

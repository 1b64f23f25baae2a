"""What the rules on entities and their evidence pages read: sums over mentions, and names.

Whole hours and days come from `entity_aggregates`, the rest is counted from `mentions`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Engine, Integer, cast, func, literal, select, union_all

from stream.domain.documents import EPOCH, SCORE_SCALE, SENTIMENTS, Precision
from stream.domain.entities import EntityMention
from stream.domain.sums import SUM_FIELDS, Aggregate, Counted, Fewest, MentionSelection
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.filters import selection_filters
from stream.storage.sql import bucket_number, within
from stream.storage.stories import voices_between
from stream.storage.sums import OF_TEXTS, OF_VOICES
from stream.storage.windows import StoredWindows, widest_windows

# A database takes some thousands of parameters in one query.
IDS_PER_QUERY = 5000
ALL_KINDS = "all"
ANY = Fewest()


class EntityReader:
    """Queries over one engine; safe to share between threads.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def entity_sums(
        self, start: datetime, end: datetime, mentions: MentionSelection, fewest: Fewest = ANY
    ) -> list[Aggregate]:
        """For each entity with `fewest` documents or more, the sum over its mentions in documents published
        in [start, end).  The `topic` of such a sum is the entity's id."""
        return self._entity_sums(start, end, None, mentions, fewest)

    def entity_sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, mentions: MentionSelection
    ) -> list[Aggregate]:
        """The same for each entity and window of `width` that has data, in order of time.

        `width` is in whole seconds; windows are counted from the epoch.
        """
        sums = self._entity_sums(start, end, int(width.total_seconds()), mentions, ANY)
        return sums if mentions.entities is None else sorted(sums, key=lambda total: total.start)

    def hours_with_mentions(self, start: datetime, end: datetime) -> list[datetime]:
        """The hours that start in [start, end) and have a counted mention of any entity, in order.

        One step of the index for each of them: an hour has rows of thousands of entities.
        """
        table = schema.entity_aggregates
        first = func.min(table.c.window_start).label("hour")
        is_hour = (table.c.width == schema.HOUR, table.c.window_start < end)
        hours = select(first).where(*is_hour, table.c.window_start >= start).cte("hours", recursive=True)
        following = select(first).where(*is_hour, table.c.window_start > hours.c.hour).correlate(hours)
        hours = hours.union_all(select(following.scalar_subquery()).where(hours.c.hour.is_not(None)))
        with reading(self.engine) as connection:
            query = select(hours.c.hour).where(hours.c.hour.is_not(None)).order_by(hours.c.hour)
            return list(connection.scalars(query))

    def entity_names(self, entities: Sequence[str]) -> dict[str, str]:
        """The names of these entities, as far as SQL has them."""
        table = schema.entities
        names: dict[str, str] = {}
        with reading(self.engine) as connection:
            for ids in parts_of(entities):
                query = select(table.c.id, table.c.name).where(table.c.id.in_(ids))
                names |= {row.id: row.name for row in connection.execute(query)}
        return names

    def mentions_by_key(self, start: datetime, end: datetime) -> dict[str, tuple[EntityMention, ...]]:
        """The mentions with a score in the documents published in [start, end), by the key of the document,
        without their places in the text; by falling relevance."""
        columns, names = schema.mentions.c, schema.entities
        query = (
            select(schema.mentions, names.c.name)
            .outerjoin(names, names.c.id == columns.entity)
            .where(within(columns.published_at, start, end), columns.score.is_not(None))
            .order_by(columns.relevance.desc(), columns.entity)
        )
        found: dict[str, list[EntityMention]] = {}
        with reading(self.engine) as connection:
            for row in connection.execute(query, execution_options={"yield_per": 1000}):
                mention = EntityMention(
                    row.entity,
                    row.name or row.entity,
                    (),
                    row.relevance,
                    row.sentiment,
                    row.sentiment_probability,
                    row.score / SCORE_SCALE,
                    row.of_target,
                )
                found.setdefault(row.key, []).append(mention)
        return {key: tuple(mentions) for key, mentions in found.items()}

    def _entity_sums(
        self,
        start: datetime,
        end: datetime,
        width: int | None,
        mentions: MentionSelection,
        fewest: Fewest,
    ) -> list[Aggregate]:
        parts = [None] if mentions.entities is None else list(parts_of(mentions.entities))
        found: list[Aggregate] = []
        with reading(self.engine) as connection:
            for ids in parts:
                rows = connection.execute(_query(start, end, width, mentions, ids, fewest)).all()
                found += [
                    Aggregate(
                        start if width is None else EPOCH + timedelta(seconds=number * width),
                        entity,
                        ALL_KINDS,
                        *totals,
                    )
                    for number, entity, *totals in rows
                ]
        return found


def parts_of(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in parts that one query takes."""
    for at in range(0, len(ids), IDS_PER_QUERY):
        yield ids[at : at + IDS_PER_QUERY]


def _query(
    start: datetime,
    end: datetime,
    width: int | None,
    mentions: MentionSelection,
    ids: Sequence[str] | None,
    fewest: Fewest,
) -> Any:
    source = _source(start, end, width, mentions, ids)
    window: Any = literal(0) if width is None else bucket_number(source.c.window_start, width)
    # PostgreSQL's sum of bigints is a decimal, which takes ten times as long to read.
    sums = [cast(func.sum(source.c[name]), BigInteger) for name in SUM_FIELDS]
    query = (
        select(window.label("cell"), source.c.entity, *sums)
        .group_by("cell", source.c.entity)
        .order_by("cell", source.c.entity)
    )
    if fewest != ANY:
        query = query.having(
            func.sum(source.c.n) >= fewest.documents, func.sum(source.c.negative) >= fewest.negatives
        )
    return query


def _source(
    start: datetime, end: datetime, width: int | None, mentions: MentionSelection, ids: Sequence[str] | None
) -> Any:
    """What to add up, as a subquery: stored sums know neither sources, languages nor exact times."""
    selection = mentions.documents
    if selection.names_documents or selection.exact_times:
        windows = [StoredWindows(0, start, end)]
    else:
        windows = widest_windows(start, end, width)
    queries = [
        _stored(part, mentions, ids) if part.seconds else _counted(part.start, part.end, mentions, ids)
        for part in windows
    ]
    return union_all(*queries).subquery()


def _stored(part: StoredWindows, mentions: MentionSelection, ids: Sequence[str] | None) -> Any:
    are_voices = mentions.documents.counted is Counted.VOICES
    columns = (OF_VOICES if are_voices else OF_TEXTS).entities.c
    query = select(columns.window_start, columns.entity, *[columns[name] for name in SUM_FIELDS]).where(
        columns.width == part.seconds, within(columns.window_start, part.start, part.end)
    )
    return _restrict(query, columns, columns.band, mentions, ids)


def _counted(start: datetime, end: datetime, mentions: MentionSelection, ids: Sequence[str] | None) -> Any:
    """A row for each counted mention."""
    columns = schema.mentions.c
    sentiments = {name: func.coalesce(cast(columns.sentiment == name, Integer), 0) for name in SENTIMENTS}
    contributions: dict[str, Any] = {
        "n": literal(1),
        **sentiments,
        "uncertain": cast(columns.sentiment.is_(None), Integer),
        "score_sum": columns.score,
        "score_squares": cast(columns.score, BigInteger) * columns.score,
    }
    query = select(
        columns.published_at.label("window_start"),
        columns.entity,
        *[contributions[name].label(name) for name in SUM_FIELDS],
    ).where(within(columns.published_at, start, end), columns.score.is_not(None))
    if mentions.documents.names_documents:
        documents = schema.documents
        query = query.join(documents, documents.c.key == columns.key)
        query = query.where(*selection_filters(mentions.documents, start, end))
    else:
        if mentions.documents.exact_times:
            query = query.where(columns.published_precision == Precision.EXACT)
        if mentions.documents.counted is Counted.VOICES:
            query = query.where(columns.key.in_(voices_between(start, end)))
    return _restrict(query, columns, columns.relevance, mentions, ids)


def _restrict(
    query: Any, columns: Any, relevance: Any, mentions: MentionSelection, ids: Sequence[str] | None
) -> Any:
    if mentions.min_relevance:
        query = query.where(relevance >= mentions.min_relevance)
    if mentions.kinds:
        query = query.where(columns.kind.in_(mentions.kinds))
    return query if ids is None else query.where(columns.entity.in_(ids))

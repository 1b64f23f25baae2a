"""What the desk reads about texts: the latest ones, and all that is known of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import structs
from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, func, or_, select

from stream.domain.documents import (
    HEARTBEAT_SOURCE,
    LONGEST_KEY_ID,
    LONGEST_KEY_SOURCE,
    SCORE_SCALE,
    Document,
    Prediction,
)
from stream.domain.entities import EntityMention
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.documents import document_of_row, prediction_of_row
from stream.storage.sql import within
from stream.storage.story_reads import with_stories

# Of a key: its source, its id, and its kind with the colons.
LONGEST_KEY = LONGEST_KEY_SOURCE + LONGEST_KEY_ID + 20

# So many rows are looked at for one answer, however few of them match.
MOST_EXAMINED = 5000
# A list shows so many characters of a text without a title.
SHOWN_CHARACTERS = 300
# So many changes of a text are shown, the latest.
MOST_CHANGES = 50


class Position(NamedTuple):
    """Where a list of texts goes on: after the text with this time and key."""

    published_at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class TextFilter:
    """Which texts to list, of those published in [start, end); None means any.

    One of entity, story and topic, in this order, finds texts by an index.  What else is wanted is looked for
    among MOST_EXAMINED texts an answer.
    """

    start: datetime
    end: datetime
    topic: str | None = None
    entity: str | None = None
    story: int | None = None
    source: str | None = None
    kind: str | None = None
    sentiment: str | None = None
    lang: str | None = None


@dataclass(frozen=True, slots=True)
class TextLine:
    """A text in a list.

    `headline` is its title, or the beginning of its text; empty once it is erased.  `score` is from -1 to 1,
    None if the text is unsupported.  They are towards the entity in a list about one.  `story`,
    `novelty`, `is_voice`, `copy_of` and `origin` are None before it has its story.
    """

    key: str
    source: str
    kind: str
    published_at: datetime
    published_precision: str
    received_at: datetime
    headline: str
    author: str | None
    url: str | None
    lang: str | None
    topic: str | None
    status: str
    sentiment: str | None
    score: float | None
    story: int | None
    novelty: int | None
    is_voice: bool | None
    copy_of: str | None
    origin: str | None

    @property
    def position(self) -> Position:
        return Position(self.published_at, self.key)


@dataclass(frozen=True, slots=True)
class TextPage:
    """Texts, the latest first, and where the list goes on; None at its end.

    It may have fewer texts than were asked for, or none, and go on all the same: see TextFilter.
    """

    items: Sequence[TextLine]
    next: Position | None


@dataclass(frozen=True, slots=True)
class TextStory:
    """The story of a text, as it was decided once; `headline` is what stands for the story now."""

    story: int
    headline: str
    novelty: int
    is_voice: bool
    copy_of: str | None
    origin: str
    assigned_at: datetime


@dataclass(frozen=True, slots=True)
class TextChange:
    """A later change of a text: `old` and `new` have the labels before and after it; empty once erased."""

    at: datetime
    cause: str
    old: dict[str, Any]
    new: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredText:
    """All that is stored of one text.  `message` is where it was read from: topic[partition]@offset."""

    key: str
    document: Document
    prediction: Prediction
    received_at: datetime
    message: str
    traceparent: str | None
    story: TextStory | None
    changes: Sequence[TextChange]


class Texts:
    """Queries over one engine; safe to share between threads.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def latest(self, wanted: TextFilter, limit: int, after: Position | None = None) -> TextPage:
        """The texts that match, the latest first, from behind `after` on."""
        candidates = _candidates(wanted, after)
        examined = candidates.limit(MOST_EXAMINED).subquery()
        with reading(self._engine) as connection:
            rows = connection.execute(_lines(examined, wanted, limit + 1)).all()
            items = [_line(row) for row in rows[:limit]]
            if len(rows) > limit:
                return TextPage(items, items[-1].position)
            last = connection.execute(candidates.offset(MOST_EXAMINED - 1).limit(1)).one_or_none()
        return TextPage(items, None if last is None else Position(last.published_at, last.key))

    def find(self, key: str) -> StoredText | None:
        """The text with this key; None if there is none."""
        if "\0" in key or len(key) > LONGEST_KEY:  # PostgreSQL stores no NUL
            return None
        table = schema.documents
        with reading(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.key == key)).one_or_none()
            if row is None:
                return None
            prediction = structs.replace(prediction_of_row(row), entities=_mentions(connection, row))
            return StoredText(
                key=key,
                document=document_of_row(row),
                prediction=prediction,
                received_at=row.received_at,
                message=f"{row.kafka_topic}[{row.kafka_partition}]@{row.kafka_offset}",
                traceparent=row.traceparent,
                story=_story(connection, key),
                changes=_changes(connection, key),
            )

    def lines(self, keys: Sequence[str]) -> dict[str, TextLine]:
        """The texts with these keys, at most some hundreds, as lines of a list."""
        table = schema.documents
        query = _line_columns(table.c).select_from(with_stories(table)).where(table.c.key.in_(keys))
        with reading(self._engine) as connection:
            return {row.key: _line(row) for row in connection.execute(query)} if keys else {}


def _candidates(wanted: TextFilter, after: Position | None) -> Select[Any]:
    """Time, key, sentiment and score of the texts that an index finds, the latest first."""
    documents, mentions, stories = schema.documents.c, schema.mentions.c, schema.document_stories.c
    if wanted.entity is not None:
        source: Any = mentions
        filters = [mentions.entity == wanted.entity]
    elif wanted.story is not None:
        source = stories
        filters = [stories.story == wanted.story]
    else:
        source = documents
        filters = [] if wanted.topic is None else [documents.topic == wanted.topic]
    filters.append(within(source.published_at, wanted.start, wanted.end))
    if after is not None:
        filters.append(_is_behind(source, after))
    labels = documents if source is stories else source
    query = select(source.published_at, source.key, labels.sentiment, labels.score).where(*filters)
    if source is stories:
        query = query.join_from(schema.document_stories, schema.documents, documents.key == stories.key)
    return query.order_by(source.published_at.desc(), source.key.desc())


def _is_behind(source: Any, after: Position) -> ColumnElement[bool]:
    """The condition for texts that come later in the list; its first part is one for the index."""
    is_older = or_(source.published_at < after.published_at, source.key < after.key)
    return and_(source.published_at <= after.published_at, is_older)


def _lines(examined: Any, wanted: TextFilter, limit: int) -> Select[Any]:
    """The lines of those of the examined texts that match."""
    documents = schema.documents
    source = with_stories(documents.join(examined, examined.c.key == documents.c.key))
    filters = [documents.c.source != HEARTBEAT_SOURCE]
    if wanted.story is not None:
        filters.append(schema.document_stories.c.story == wanted.story)
    if wanted.sentiment is not None:
        filters.append(examined.c.sentiment == wanted.sentiment)
    for name in ("topic", "source", "kind", "lang"):
        value = getattr(wanted, name)
        if value is not None:
            filters.append(documents.c[name] == value)
    query = _line_columns(examined.c).select_from(source).where(*filters)
    return query.order_by(examined.c.published_at.desc(), examined.c.key.desc()).limit(limit)


def _line_columns(labels: Any) -> Select[Any]:
    """The columns of a line; `labels` has the sentiment and the score."""
    table, stories = schema.documents.c, schema.document_stories.c
    return select(
        *(table.key, table.source, table.kind, table.published_at, table.published_precision),
        *(table.received_at, table.title, func.substr(table.text, 1, SHOWN_CHARACTERS).label("beginning")),
        *(table.author, table.url, table.lang, table.topic, table.status),
        *(labels.sentiment, labels.score),
        *(stories.story, stories.novelty, stories.voice, stories.copy_of, stories.origin),
    )


def _line(row: Any) -> TextLine:
    return TextLine(
        key=row.key,
        source=row.source,
        kind=row.kind,
        published_at=row.published_at,
        published_precision=row.published_precision,
        received_at=row.received_at,
        headline=row.title or row.beginning,
        author=row.author,
        url=row.url,
        lang=row.lang,
        topic=row.topic,
        status=row.status,
        sentiment=row.sentiment,
        score=None if row.score is None else row.score / SCORE_SCALE,
        story=row.story,
        novelty=row.novelty,
        is_voice=None if row.voice is None else bool(row.voice),
        copy_of=row.copy_of,
        origin=row.origin,
    )


def _mentions(connection: Connection, document: Any) -> tuple[EntityMention, ...]:
    """The entities of a text, by falling relevance, each with its name in the text's language."""
    mentions, names = schema.mentions.c, schema.entities
    query = (
        select(schema.mentions, names.c.name, names.c.chinese_name)
        .outerjoin(names, names.c.id == mentions.entity)
        .where(mentions.key == document.key)
        .order_by(mentions.relevance.desc(), mentions.entity)
    )
    return tuple(
        EntityMention(
            row.entity,
            (row.chinese_name if document.lang == "zh" else None) or row.name or row.entity,
            tuple((start, end) for start, end in row.spans),
            row.relevance,
            row.sentiment,
            row.sentiment_probability,
            None if row.score is None else row.score / SCORE_SCALE,
            row.of_target,
        )
        for row in connection.execute(query)
    )


def _story(connection: Connection, key: str) -> TextStory | None:
    assigned, stories, central = schema.document_stories, schema.stories, schema.documents.c
    query = (
        select(assigned, central.title, func.substr(central.text, 1, SHOWN_CHARACTERS).label("beginning"))
        .join_from(assigned, stories, stories.c.id == assigned.c.story, isouter=True)
        .outerjoin(schema.documents, central.key == stories.c.central_key)
        .where(assigned.c.key == key)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    headline = row.title or row.beginning or ""
    return TextStory(
        row.story, headline, row.novelty, bool(row.voice), row.copy_of, row.origin, row.assigned_at
    )


def _changes(connection: Connection, key: str) -> list[TextChange]:
    """The changes of a text, the latest first."""
    events = schema.document_events
    query = select(events.c.at, events.c.cause, events.c.old, events.c.new).where(events.c.key == key)
    rows = connection.execute(query.order_by(events.c.sequence.desc()).limit(MOST_CHANGES))
    return [TextChange(*row) for row in rows]

"""What the desk reads about stories: those that a topic or an entity is in, and all that is known of one."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Engine, case, func, or_, select, type_coerce

from stream.domain.documents import EPOCH, SCORE_SCALE, Precision
from stream.domain.sums import TimeRange
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.desk.documents import SHOWN_CHARACTERS
from stream.storage.sql import bucket_number, within

# A list is made from so many texts, the latest of its time.
MOST_TEXTS = 5000
# So many origins and entities of a story are shown, the first and the most frequent ones.
MOST_ORIGINS, MOST_ENTITIES = 50, 20


class StoryOrder(StrEnum):
    """How stories are listed: by their latest text, or by the text with the lowest score."""

    NEWEST = "newest"
    WORST = "worst"


@dataclass(frozen=True, slots=True)
class StoryFilter:
    """Which stories to list: those with a text on the topic, or else about the entity, in a time."""

    time: TimeRange
    topic: str | None = None
    entity: str | None = None


class ListPosition(NamedTuple):
    """Where a list of stories goes on: behind the story with this rank (see StoryOrder) and id."""

    rank: float
    story: int


@dataclass(frozen=True, slots=True)
class StoryFacts:
    """A story as a whole, whatever list it is in.

    `headline` is that of the text `central_key`, which stands for it, and `source` is who published that;
    both are empty once it is deleted.  `first_key` is the text that was seen first.  Copies are texts without
    words of their own, voices independent origins with such words.
    """

    id: int
    headline: str
    source: str
    central_key: str
    first_key: str
    first_seen_at: datetime
    last_seen_at: datetime
    documents: int
    copies: int
    voices: int
    merged_into: int | None = None


@dataclass(frozen=True, slots=True)
class ListedStory:
    """A story in a list: what its texts there say.

    `latest_at` is when the latest of them was published.  `lowest` is their lowest score, from -1 to 1, and
    `worst_key` the text with it; None, and the latest text, if none has a score.
    """

    facts: StoryFacts
    texts: int
    negative: int
    latest_at: datetime
    lowest: float | None
    worst_key: str


@dataclass(frozen=True, slots=True)
class StoryPage:
    """Stories in order, and where the list goes on, None at its end.

    Of the texts that were looked at, `waiting` have no story yet.  `is_cut` says that there are more texts in
    the time than MOST_TEXTS, so that older ones count for nothing.
    """

    items: Sequence[ListedStory]
    next: ListPosition | None
    waiting: int = 0
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """How many texts of a story were published in a stretch of time; of those, the voices and the copies."""

    start: datetime
    texts: int
    voices: int
    copies: int


@dataclass(frozen=True, slots=True)
class StoryOrigin:
    """Who said it: how many texts of a story have this origin, and when the first was published."""

    origin: str
    texts: int
    voices: int
    first_at: datetime


@dataclass(frozen=True, slots=True)
class StoryEntity:
    """An entity that texts of a story are about.  `mean` is the mean score towards it, None without any."""

    id: str
    name: str
    texts: int
    negative: int
    mean: float | None


class Stories:
    """Queries over one engine; safe to share between threads.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def listed(
        self, wanted: StoryFilter, order: StoryOrder, limit: int, after: ListPosition | None = None
    ) -> StoryPage:
        """The stories that match, at most so many, from behind `after` on."""
        with reading(self._engine) as connection:
            rows = connection.execute(_texts(wanted).limit(MOST_TEXTS + 1)).all()
        found = _by_story(rows[:MOST_TEXTS])
        ranked = sorted(((_rank(one, order), one) for one in found.values()), key=itemgetter(0))
        behind = [one for rank, one in ranked if after is None or rank > after]
        facts = self.facts([one.story for one in behind[:limit]])
        items = [_listed(one, facts[one.story]) for one in behind[:limit] if one.story in facts]
        following = _rank(behind[limit - 1], order) if len(behind) > limit else None
        waiting = sum(1 for row in rows[:MOST_TEXTS] if row.story is None)
        return StoryPage(items, following, waiting, len(rows) > MOST_TEXTS)

    def latest(self, limit: int, after: tuple[datetime, int] | None = None) -> list[StoryFacts]:
        """The stories, those with the latest texts first, from behind the one with this time and id on."""
        table = schema.stories.c
        query = _facts_query().order_by(table.last_seen_at.desc(), table.id.desc()).limit(limit)
        if after is not None:
            is_older = or_(table.last_seen_at < after[0], table.id < after[1])
            query = query.where(table.last_seen_at <= after[0], is_older)
        with reading(self._engine) as connection:
            return [_facts(row) for row in connection.execute(query)]

    def facts(self, ids: Collection[int]) -> dict[int, StoryFacts]:
        """The stories with these ids, as far as there are any."""
        query = _facts_query().where(schema.stories.c.id.in_(sorted(ids)))
        with reading(self._engine) as connection:
            return {row.id: _facts(row) for row in connection.execute(query)} if ids else {}

    def published(self, story: int) -> TimeRange | None:
        """From when to when its texts were published; None if it has none."""
        table = schema.document_stories.c
        query = select(func.min(table.published_at), func.max(table.published_at)).where(table.story == story)
        with reading(self._engine) as connection:
            first, last = connection.execute(query).one()
        return None if first is None else TimeRange(first, last + timedelta.resolution)

    def earliest(self, story: int) -> str | None:
        """The key of its text that was published first, of those whose time is known exactly."""
        table, documents = schema.document_stories.c, schema.documents.c
        query = (
            select(table.key)
            .join_from(schema.document_stories, schema.documents, documents.key == table.key)
            .where(table.story == story, documents.published_precision == Precision.EXACT)
            .order_by(table.published_at, table.sequence)
        )
        with reading(self._engine) as connection:
            first: str | None = connection.scalar(query.limit(1))
        return first

    def over_time(self, story: int, width: timedelta) -> list[Stretch]:
        """Its texts in each stretch of `width`, in whole seconds, that has any, in order."""
        table = schema.document_stories.c
        number = bucket_number(table.published_at, int(width.total_seconds()))
        query = select(
            number.label("cell"), func.count(), func.sum(table.voice), func.count(table.copy_of)
        ).where(table.story == story)
        with reading(self._engine) as connection:
            rows = connection.execute(query.group_by("cell").order_by("cell"))
            return [Stretch(EPOCH + cell * width, *map(int, counts)) for cell, *counts in rows]

    def origins(self, story: int) -> list[StoryOrigin]:
        """Who said it, the first one first, at most MOST_ORIGINS."""
        table = schema.document_stories.c
        first = func.min(table.published_at).label("first")
        query = (
            select(table.origin, func.count(), func.sum(table.voice), type_coerce(first, schema.UtcDateTime))
            .where(table.story == story)
            .group_by(table.origin)
            .order_by(first, table.origin)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.limit(MOST_ORIGINS))
            return [StoryOrigin(origin, int(n), int(voices), at) for origin, n, voices, at in rows]

    def entities(self, story: int) -> list[StoryEntity]:
        """The entities of its texts, those of most texts first, at most MOST_ENTITIES."""
        mentions, names, stories = schema.mentions.c, schema.entities.c, schema.document_stories.c
        n = func.count().label("n")
        negative = func.sum(case((mentions.sentiment == "negative", 1), else_=0))
        query = (
            select(mentions.entity, names.name, n, negative, func.avg(mentions.score))
            .join_from(schema.document_stories, schema.mentions, mentions.key == stories.key)
            .outerjoin(schema.entities, names.id == mentions.entity)
            .where(stories.story == story)
            .group_by(mentions.entity, names.name)
            .order_by(n.desc(), mentions.entity)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.limit(MOST_ENTITIES))
            return [
                StoryEntity(id_, name or id_, int(texts), int(bad), mean and float(mean) / SCORE_SCALE)
                for id_, name, texts, bad, mean in rows
            ]


def _texts(wanted: StoryFilter) -> Any:
    """The texts of a list, the latest first, each with its story if it has one."""
    stories = schema.document_stories.c
    if wanted.entity is not None:
        table, about = schema.mentions, schema.mentions.c.entity == wanted.entity
    else:
        table, about = schema.documents, schema.documents.c.topic == wanted.topic
    columns = table.c
    return (
        select(columns.key, columns.published_at, columns.sentiment, columns.score, stories.story)
        .select_from(table.outerjoin(schema.document_stories, stories.key == columns.key))
        .where(about, within(columns.published_at, *wanted.time))
        .order_by(columns.published_at.desc(), columns.key.desc())
    )


@dataclass(slots=True)
class _Told:
    """What the texts of a list say of one story, from its latest text on."""

    story: int
    latest_at: datetime
    latest_key: str
    texts: int = 0
    negative: int = 0
    lowest: int | None = None
    worst_key: str = ""

    def add(self, row: Any) -> None:
        self.texts += 1
        self.negative += row.sentiment == "negative"
        if row.score is not None and (self.lowest is None or row.score < self.lowest):
            self.lowest, self.worst_key = row.score, row.key


def _by_story(rows: Iterable[Any]) -> dict[int, _Told]:
    """By story what texts say, which are in order, the latest first."""
    found: dict[int, _Told] = {}
    for row in rows:
        if row.story is not None:
            if row.story not in found:
                found[row.story] = _Told(row.story, row.published_at, row.key)
            found[row.story].add(row)
    return found


def _rank(told: _Told, order: StoryOrder) -> ListPosition:
    """What stories are sorted by, the smallest first."""
    latest = -told.latest_at.timestamp()
    if order is StoryOrder.NEWEST:
        return ListPosition(latest, told.story)
    return ListPosition(math.inf if told.lowest is None else told.lowest, told.story)


def _listed(told: _Told, facts: StoryFacts) -> ListedStory:
    return ListedStory(
        facts,
        told.texts,
        told.negative,
        told.latest_at,
        None if told.lowest is None else told.lowest / SCORE_SCALE,
        told.worst_key or told.latest_key,
    )


def _facts_query() -> Any:
    table, central = schema.stories.c, schema.documents.c
    beginning = func.substr(central.text, 1, SHOWN_CHARACTERS).label("beginning")
    names = ("id", "first_key", "central_key", "first_seen_at", "last_seen_at")
    counts = ("documents", "copies", "voices", "merged_into")
    return select(
        *[table[name] for name in (*names, *counts)], central.source, central.title, beginning
    ).select_from(schema.stories.outerjoin(schema.documents, central.key == table.central_key))


def _facts(row: Any) -> StoryFacts:
    return StoryFacts(
        id=row.id,
        headline=row.title or row.beginning or "",
        source=row.source or "",
        central_key=row.central_key,
        first_key=row.first_key,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        documents=row.documents,
        copies=row.copies,
        voices=row.voices,
        merged_into=row.merged_into,
    )

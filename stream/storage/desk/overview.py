"""What the overview reads: which entities moved most, and the story that most of their texts tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, select

from stream.domain.sums import Aggregate, Fewest, MentionSelection, window_start
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading
from stream.storage.sql import within

# Of an entity, so many texts decide which story moved it: those published last.
MOST_TEXTS = 500
# Entities with fewer texts in the day do not count as moved.
FEWEST_TEXTS = 5
# So many entities are compared with their past: those with the clearest mood of the day.
MOST_COMPARED = 100
# A mean score of this many texts counts for half: few texts move a mean much by chance.
STRENGTH = 10
DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True)
class StoryHeadline:
    """A story, by the headline of its central text."""

    story: int
    text: str
    source: str


@dataclass(frozen=True)
class Mover:
    """An entity whose mood is another than it was: the sums of its day, and of the week before; None if that
    has no texts."""

    id: str
    name: str
    chinese_name: str | None
    today: Aggregate
    before: Aggregate | None
    why: StoryHeadline | None = None

    @property
    def change(self) -> float:
        """By how much its mean score moved; from 0 if it was not spoken of before."""
        before = self.before.mean if self.before else None
        return (self.today.mean or 0.0) - (before or 0.0)

    @property
    def weight(self) -> float:
        """How much the change says: that of few texts says little."""
        return abs(self.change) * self.today.n / (self.today.n + STRENGTH)


def movers(store: Store, now: datetime, min_relevance: int, limit: int) -> list[Mover]:
    """The entities that moved most in the last 24 hours: first those that had texts in the week before, the
    largest change first.  Raises StoreUnavailable."""
    start = window_start(now - DAY, timedelta(hours=1))
    mentions = MentionSelection(min_relevance=min_relevance)
    today = store.reads.entity_sums(start, now, mentions, Fewest(FEWEST_TEXTS))
    clearest = sorted(today, key=lambda sums: -abs(sums.score_sum))[:MOST_COMPARED]
    ids = tuple(sums.topic for sums in clearest)
    past = MentionSelection(ids, min_relevance)
    # Whole days, which are few rows.
    days = window_start(start, DAY)
    before = {sums.topic: sums for sums in store.reads.entity_sums(days - WEEK, days, past)} if ids else {}
    with reading(store.engine) as connection:
        names = _names(connection, ids)
    found = [
        Mover(sums.topic, *names.get(sums.topic, (sums.topic, None)), sums, before.get(sums.topic))
        for sums in clearest
    ]
    most = sorted(found, key=lambda mover: -mover.weight)[:limit]
    shown = sorted(most, key=lambda mover: (mover.before is None, -abs(mover.change) if mover.before else 0))
    return _explained(store.engine, shown, start, now)


def _explained(engine: Engine, found: Sequence[Mover], start: datetime, end: datetime) -> list[Mover]:
    with reading(engine) as connection:
        return [
            Mover(
                each.id,
                each.name,
                each.chinese_name,
                each.today,
                each.before,
                _why(connection, each.id, each.change, start, end),
            )
            for each in found
        ]


def _names(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    table = schema.entities.c
    query = select(table.id, table.name, table.chinese_name).where(table.id.in_(ids))
    return {row.id: (row.name, row.chinese_name) for row in connection.execute(query)}


def _why(
    connection: Connection, entity: str, change: float, start: datetime, end: datetime
) -> StoryHeadline | None:
    """The story that moved it most: of the entity's latest texts with the sign of the change, the one whose
    scores towards it add up to most."""
    mentions, stories = schema.mentions.c, schema.document_stories.c
    same_sign = mentions.score < 0 if change < 0 else mentions.score > 0
    latest = (
        select(mentions.key, mentions.score)
        .where(mentions.entity == entity, within(mentions.published_at, start, end), same_sign)
        .order_by(mentions.published_at.desc())
        .limit(MOST_TEXTS)
        .subquery()
    )
    told = (
        select(stories.story)
        .join(latest, latest.c.key == stories.key)
        .group_by(stories.story)
        .order_by(func.abs(func.sum(latest.c.score)).desc(), stories.story.desc())
        .limit(1)
    )
    story, documents = schema.stories.c, schema.documents.c
    text = func.coalesce(func.nullif(documents.title, ""), documents.text)
    query = (
        select(story.id, text.label("text"), documents.source)
        .join_from(schema.stories, schema.documents, documents.key == story.central_key)
        .where(story.id == told.scalar_subquery(), text != "")
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else StoryHeadline(row.id, row.text, row.source)

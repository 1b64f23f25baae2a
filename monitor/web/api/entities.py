"""`/api/v1/entities`: whom the latest texts are about, and the mood about one entity over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from alerts.detectors.base import DEFAULT_RELEVANCE
from monitor.web.answers import AnyRequest
from monitor.web.api import cursors
from monitor.web.api.listing import DEFAULT_LIMIT, Cursor, Limit, Listing, Name, listing
from monitor.web.desk import Desk, last_segment
from monitor.web.mood import Mood, MoodPoint
from monitor.web.parameters import one_of
from monitor.web.subject_page import PERIODS
from stream.domain.sums import Counted, MentionSelection, window_start
from stream.storage.desk.entities import Entities, NamedEntity
from stream.storage.desk.topics import AlertTime

HOUR = timedelta(hours=1)
# Of the entities that match some words so many are looked at.
MOST_MATCHES = 500
Hours = Annotated[
    int, QueryParameter(ge=1, le=168, description="texts of so many hours, the present one too")
]
Words = Annotated[
    str | None,
    QueryParameter(min_length=1, max_length=100, pattern="^[^\0]*$", description="part of an id or a name"),
]


@dataclass(frozen=True)
class EntityItem:
    """An entity, and the texts about it: `mean` is their mean score towards it, null without any."""

    id: str
    name: str
    kind: str | None
    chinese_name: str | None
    texts: int
    negative: int
    mean: float | None


@dataclass(frozen=True)
class OneEntity:
    """An entity, the mood about it from point to point and over the last hour, and its alerts."""

    entity: NamedEntity
    now: MoodPoint
    points: Sequence[MoodPoint]
    alerts: Sequence[AlertTime]


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    entities = Entities(desk.store.engine)

    @get("/api/v1/entities", summary="Entities, those with the most texts first")
    async def list_(
        q: Words = None, hours: Hours = 24, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Listing[EntityItem]:
        after = cursors.decode(cursor, tuple[int, str]) if cursor else None
        found = await desk.read(lambda: active_entities(desk, entities, q, hours))
        rest = [item for item in found if after is None or _rank(item) > after]
        return listing(rest[: limit + 1], limit, _rank)

    @get("/api/v1/entities/{rest:path}", summary="One entity, and the mood about it")
    async def entity(request: AnyRequest, period: Name = None) -> OneEntity:
        id_ = last_segment(request, "/api/v1/entities/")
        chosen = PERIODS[one_of({"period": period or "24h"}, "period", PERIODS, "24h")]
        now = desk.clock()

        def read() -> OneEntity | None:
            known = entities.find(id_)
            if known is None:
                return None
            mood = desk.moods.of_entity(id_, chosen.before(now), chosen.step, Counted.TEXTS)
            return _one(known, mood)

        return await desk.read(read)

    return [list_, entity]


def active_entities(desk: Desk, entities: Entities, words: str | None, hours: int) -> list[EntityItem]:
    """The entities with texts of so many hours, or those that match some words, whether they have any; those
    with the most texts first.

    Raises StoreUnavailable.
    """
    end = window_start(desk.clock(), HOUR) + HOUR
    matches = None if words is None else entities.search(words, MOST_MATCHES)
    ids = None if matches is None else tuple(match.id for match in matches)
    sums = desk.store.reads.entity_sums(end - hours * HOUR, end, MentionSelection(ids, DEFAULT_RELEVANCE))
    totals = {total.topic: total for total in sums}
    named = entities.named(list(totals)) if matches is None else matches
    items = []
    for one in named:
        total = totals.get(one.id)
        n, negative, mean = (0, 0, None) if total is None else (total.n, total.negative, total.mean)
        items.append(EntityItem(one.id, one.name, one.kind, one.chinese_name, n, negative, mean))
    return sorted(items, key=_rank)


def _rank(item: EntityItem) -> tuple[int, str]:
    return -item.texts, item.id


def _one(entity: NamedEntity, mood: Mood) -> OneEntity:
    return OneEntity(entity, mood.now, mood.points, mood.alerts)

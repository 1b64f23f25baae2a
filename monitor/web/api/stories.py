"""`/api/v1/stories`: what is told, and all that is known of one story."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from monitor.web.api import cursors
from monitor.web.api.documents import AHEAD, Since, Until, aware
from monitor.web.api.listing import DEFAULT_LIMIT, Cursor, Limit, Listing, Name, listing
from monitor.web.desk import Desk
from monitor.web.errors import BadRequest
from stream.domain.documents import EPOCH
from stream.domain.sums import TimeRange
from stream.storage.desk.documents import TextLine, Texts
from stream.storage.desk.stories import (
    ListPosition,
    Stories,
    StoryEntity,
    StoryFacts,
    StoryFilter,
    StoryOrder,
    StoryOrigin,
)


@dataclass(frozen=True)
class StoryItem:
    """A story.

    Of a topic or an entity also what its texts in the list say: how many there are (`texts`, `negative`),
    when the latest was published, and which has the lowest score.
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
    texts: int | None = None
    negative: int | None = None
    latest_at: datetime | None = None
    lowest: float | None = None
    worst_key: str | None = None


@dataclass(frozen=True)
class OneStory:
    """A story, its text that was published first, who said it, and whom it is about."""

    story: StoryItem
    first: TextLine | None
    origins: Sequence[StoryOrigin]
    entities: Sequence[StoryEntity]


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    stories, texts = Stories(desk.store.engine), Texts(desk.store.engine)

    @get(
        "/api/v1/stories",
        summary="Stories, of a topic, of an entity, or all",
        description="Of a topic or an entity: those with a text from `since` to `until`, made from the 5,000 "
        "latest of them; by their latest or by their worst text.  All: by when a text was seen last.",
    )
    async def list_(
        topic: Name = None,
        entity: Name = None,
        since: Since = None,
        until: Until = None,
        order: FromQuery[StoryOrder] = StoryOrder.NEWEST,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Listing[StoryItem]:
        if topic is None and entity is None:
            if since or until or order is not StoryOrder.NEWEST:
                raise BadRequest("since, until and order: only of a topic or an entity")
            after = cursors.decode(cursor, tuple[datetime, int]) if cursor else None
            found = await desk.read(lambda: stories.latest(limit + 1, after))
            return listing(list(map(_item, found)), limit, lambda item: (item.last_seen_at, item.id))
        if topic is not None and entity is not None:
            raise BadRequest("topic and entity: only one of them")
        time = TimeRange(aware("since", since) or EPOCH, aware("until", until) or desk.clock() + AHEAD)
        wanted = StoryFilter(time, topic, entity)
        behind = cursors.decode(cursor, ListPosition) if cursor else None
        page = await desk.read(lambda: stories.listed(wanted, order, limit, behind))
        items = [
            _item(one.facts, one.texts, one.negative, one.latest_at, one.lowest, one.worst_key)
            for one in page.items
        ]
        return Listing(items, None if page.next is None else cursors.encode(page.next))

    @get("/api/v1/stories/{id_:int}", summary="One story")
    async def story(id_: FromPath[int]) -> OneStory:
        def read() -> OneStory | None:
            facts = stories.facts([id_]).get(id_) if abs(id_) < 2**63 else None
            if facts is None:
                return None
            first = stories.earliest(id_) or facts.first_key
            return OneStory(
                _item(facts), texts.lines([first]).get(first), stories.origins(id_), stories.entities(id_)
            )

        return await desk.read(read)

    return [list_, story]


def _item(
    facts: StoryFacts,
    texts: int | None = None,
    negative: int | None = None,
    latest_at: datetime | None = None,
    lowest: float | None = None,
    worst_key: str | None = None,
) -> StoryItem:
    return StoryItem(
        facts.id,
        facts.headline,
        facts.source,
        facts.central_key,
        facts.first_key,
        facts.first_seen_at,
        facts.last_seen_at,
        facts.documents,
        facts.copies,
        facts.voices,
        texts,
        negative,
        latest_at,
        lowest,
        worst_key,
    )

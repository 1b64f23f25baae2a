"""The page of a story: who said it first, how it spread, whom it is about, and its texts."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from monitor.web.answers import AnyRequest
from monitor.web.api import cursors
from monitor.web.charts import Chart, spread_chart
from monitor.web.desk import Desk, last_segment
from monitor.web.errors import BadRequest
from monitor.web.first_text import first_text
from stream.domain.incidents import Incident
from stream.domain.sums import TimeRange, window_start
from stream.storage.batches import Store
from stream.storage.desk.documents import Position, TextFilter, TextLine, TextPage, Texts
from stream.storage.desk.stories import Stories, StoryEntity, StoryFacts, StoryOrigin
from stream.storage.digest_reads import DigestReader

TEXTS_SHOWN, LONGEST_CURSOR = 50, 500
# Its spread is drawn in at most so many stretches, of whole seconds.
MOST_STRETCHES = 100
# Incidents that were open from so long before its first text until so long after its last one are looked at.
AROUND, MOST_INCIDENTS = timedelta(days=1), 500
# The ids of stories are 64-bit integers.
LARGEST_ID = 2**63 - 1


@dataclass
class StoryPage:
    """What the template asks for.  Each part is read when it is first asked for."""

    facts: StoryFacts
    published: TimeRange
    address: str
    after: Position | None
    store: Store

    @cached_property
    def _stories(self) -> Stories:
        return Stories(self.store.engine)

    @cached_property
    def first(self) -> TextLine | None:
        return first_text(self.store.engine, self.facts.id)

    @cached_property
    def chart(self) -> Chart:
        length = (self.published.end - self.published.start) / MOST_STRETCHES
        width = timedelta(seconds=max(1, -(-length // timedelta(seconds=1))))
        return spread_chart(
            self._stories.over_time(self.facts.id, width),
            width,
            window_start(self.published.end, width) + width,
        )

    @cached_property
    def origins(self) -> list[StoryOrigin]:
        return self._stories.origins(self.facts.id)

    @cached_property
    def entities(self) -> list[StoryEntity]:
        return self._stories.entities(self.facts.id)

    @cached_property
    def incidents(self) -> list[Incident]:
        """The incidents that it is a story of, the latest first."""
        time = TimeRange(self.published.start - AROUND, self.published.end + AROUND)
        found, _ = DigestReader(self.store.engine).incidents(time, MOST_INCIDENTS)
        return [incident for incident in found[::-1] if self.facts.id in incident.stories]

    @cached_property
    def texts(self) -> TextPage:
        wanted = TextFilter(*self.published, story=self.facts.id)
        return Texts(self.store.engine).latest(wanted, TEXTS_SHOWN, self.after)

    @property
    def more_texts(self) -> str | None:
        """The address of the page with older texts; None at the end."""
        following = self.texts.next
        return None if following is None else f"{self.address}?after={cursors.encode(following)}"


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""
    stories = Stories(desk.store.engine)

    @get("/stories/{rest:path}", include_in_schema=False)
    async def story(request: AnyRequest) -> Response[bytes]:
        id_, after = _story_id(last_segment(request, "/stories/")), _after(request)

        def read() -> dict[str, StoryPage] | None:
            facts = None if id_ is None else stories.facts([id_]).get(id_)
            published = None if facts is None else stories.published(facts.id)
            if facts is None or published is None:
                return None
            address = f"{desk.prefix}/stories/{facts.id}"
            return {"page": StoryPage(facts, published, address, after, desk.store)}

        return await desk.page(request, "story.html", read)

    return [story]


def _story_id(text: str) -> int | None:
    """The id in an address; None if it is none.  Stories of older documents have ids below zero."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return None
    return int(text) if int(digits) <= LARGEST_ID else None


def _after(request: AnyRequest) -> Position | None:
    given = request.query_params.get("after", "")
    if len(given) > LONGEST_CURSOR:
        raise BadRequest("after: use the link to more texts, unchanged")
    return cursors.decode(given, Position) if given else None

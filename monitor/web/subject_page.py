"""The page of a topic or of an entity: its mood over time, its alerts, and its stories."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from urllib.parse import urlencode

from monitor.web.answers import AnyRequest
from monitor.web.api import cursors
from monitor.web.charts import Chart, mood_chart
from monitor.web.errors import BadRequest
from monitor.web.mood import Mood, Moods
from monitor.web.parameters import one_of
from stream.domain.sums import Counted, TimeRange
from stream.storage.desk.entities import NamedEntity
from stream.storage.desk.stories import ListPosition, Stories, StoryFilter, StoryOrder, StoryPage

STORIES_SHOWN = 25
LONGEST_CURSOR = 500


@dataclass(frozen=True, slots=True)
class Period:
    """How much of the past a page shows, in points of `step`."""

    text: str
    length: timedelta
    step: timedelta

    def before(self, now: datetime) -> TimeRange:
        return TimeRange(now - self.length, now)


PERIODS = {
    "1h": Period("1 hour", timedelta(hours=1), timedelta(minutes=1)),
    "6h": Period("6 hours", timedelta(hours=6), timedelta(minutes=5)),
    "24h": Period("24 hours", timedelta(hours=24), timedelta(minutes=20)),
    "7d": Period("7 days", timedelta(days=7), timedelta(hours=2)),
    "30d": Period("30 days", timedelta(days=30), timedelta(hours=8)),
}
COUNTS = (Counted.TEXTS, Counted.VOICES)


@dataclass(frozen=True, slots=True)
class View:
    """What the address of such a page says; one without a period leaves it to the page."""

    path: str
    period: str = ""
    order: StoryOrder = StoryOrder.NEWEST
    count: Counted = Counted.TEXTS
    after: str = ""

    @classmethod
    def of(cls, request: AnyRequest, path: str) -> "View":
        """The view that was asked for.  Raises BadRequest."""
        given = request.query_params
        after = given.get("after", "")
        if len(after) > LONGEST_CURSOR:
            raise BadRequest("after: use the link to more stories, unchanged")
        return cls(
            path,
            one_of(given, "period", ("", *PERIODS), ""),
            StoryOrder(one_of(given, "order", list(StoryOrder), StoryOrder.NEWEST)),
            Counted(one_of(given, "count", COUNTS, Counted.TEXTS)),
            after,
        )

    def address(self, **changes: str) -> str:
        """The address of the same view with changes, without what is the default."""
        chosen = {"period": self.period, "order": str(self.order), "count": str(self.count), **changes}
        usual = {"period": "", "order": "newest", "count": "texts", "after": ""}
        query = urlencode({name: value for name, value in chosen.items() if value != usual.get(name)})
        return f"{self.path}?{query}" if query else self.path


@dataclass
class SubjectPage:
    """What the template asks for.  Each part is read when it is first asked for: a fragment needs few."""

    name: str
    view: View
    now: datetime
    moods: Moods
    stories_of: Stories
    topic: str | None = None
    entity: NamedEntity | None = None

    @property
    def periods(self) -> Mapping[str, Period]:
        return PERIODS

    @cached_property
    def period(self) -> Period:
        """What was asked for, or a day; less where the monitor has not run for so long."""
        if self.view.period:
            return PERIODS[self.view.period]
        begun = self.moods.record_begins() or self.now
        holding = [period for period in PERIODS.values() if begun >= self.now - period.length]
        return min([PERIODS["24h"], *holding], key=lambda period: period.length)

    @cached_property
    def mood(self) -> Mood:
        time, step = self.period.before(self.now), self.period.step
        if self.entity is not None:
            return self.moods.of_entity(self.entity.id, time, step, self.view.count)
        return self.moods.of_topic(self.topic or "", time, step, self.view.count)

    @property
    def chart(self) -> Chart:
        return mood_chart(self.mood)

    @cached_property
    def stories(self) -> StoryPage:
        entity = None if self.entity is None else self.entity.id
        wanted = StoryFilter(self.period.before(self.now), self.topic, entity)
        after = cursors.decode(self.view.after, ListPosition) if self.view.after else None
        return self.stories_of.listed(wanted, self.view.order, STORIES_SHOWN, after)

    @property
    def more_stories(self) -> str | None:
        """The address of the page with the stories after these; None at the end."""
        following = self.stories.next
        return None if following is None else self.view.address(after=cursors.encode(following))

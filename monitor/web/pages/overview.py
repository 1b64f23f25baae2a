"""The overview: the market's mood now, what moved, and the open incidents."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from alerts.detectors.base import DEFAULT_RELEVANCE
from alerts.incidents.joining import URGENCY
from monitor.web.answers import AnyRequest, html_answer, may_compress
from monitor.web.cached import Cached, Shared
from monitor.web.desk import Desk
from monitor.web.rendering import render
from monitor.web.sparkline import Sparkline, sparkline, uncertainty
from stream.domain.incidents import Incident, Page
from stream.domain.sums import Aggregate, window_start
from stream.storage.desk.freshness import Freshness, read_freshness
from stream.storage.desk.overview import Mover, movers
from stream.storage.digest_reads import DigestReader

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Where the record is shorter than this, the charts show all of it instead of the hours of a day.
SHORT_RECORD = timedelta(hours=6)
MOST_BINS = 24
# The charts of all topics have one scale, which reaches so far at least, from bins of so many texts.
LEAST_REACH, FEWEST_TEXTS = 0.3, 5
SHOWN_INCIDENTS, SHOWN_ENDED, SHOWN_MOVERS = 12, 2, 10
# The block that is fetched again when something changed.
PART = "live"
# How old what visitors share may be.
MOOD_LIFETIME, MOVERS_LIFETIME = timedelta(seconds=2), timedelta(seconds=30)


@dataclass(frozen=True)
class Axis:
    """The bins of a chart: from `start`, each of `width`."""

    start: datetime
    width: timedelta
    bins: int

    @property
    def end(self) -> datetime:
        return self.start + self.bins * self.width


@dataclass(frozen=True)
class TopicCard:
    """The mood of one topic: its sums now, None without texts, and over the time of the chart."""

    topic: str
    now: Aggregate | None
    total: Aggregate
    chart: Sparkline
    lowest: Aggregate
    highest: Aggregate
    last_text: datetime
    is_silent: bool
    alarms: tuple[str, ...]

    @property
    def margin(self) -> float | None:
        """How uncertain the mood now is."""
        return uncertainty(self.now) if self.now else None


@dataclass(frozen=True)
class ShownIncident:
    """An incident, and what its last page said; nothing if it paged nobody."""

    incident: Incident
    page: dict[str, Any] | None

    @property
    def title(self) -> str:
        return self.incident.title or "Incident"


@dataclass(frozen=True)
class Mood:
    """What the overview says of all texts."""

    freshness: Freshness
    axis: Axis
    cards: tuple[TopicCard, ...]
    silent_topics: tuple[str, ...]
    now: Aggregate | None
    total: Aggregate | None
    window: timedelta


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""
    mood = Cached(lambda now: read_mood(desk, now), MOOD_LIFETIME)
    moved = Cached(lambda now: _movers(desk, now), MOVERS_LIFETIME)

    def read() -> dict[str, Any]:
        now = desk.clock()
        still_open, ended = _incidents(desk, now)
        return {
            "mood": mood.get(now),
            "movers": moved.get(now),
            "incidents": still_open,
            "ended": ended,
        }

    def part(compress: bool) -> Shared[Response[bytes]]:
        def make(_now: datetime) -> Response[bytes]:
            html = render("overview.html", PART, prefix=desk.prefix, **read())
            return html_answer(html, compress=compress)

        return Shared(Cached(make, MOOD_LIFETIME), desk.threads, desk.clock)

    # Every open browser fetches it again at the same moment: it is made once for all of them.
    parts = {compress: part(compress) for compress in (True, False)}

    @get("/", include_in_schema=False)
    async def overview(request: AnyRequest) -> Response[bytes]:
        if request.query_params.get("fragment") == PART:
            return await parts[may_compress(request)].get()
        return await desk.page(request, "overview.html", read)

    return [overview]


def chart_axis(began: datetime | None, now: datetime, base: timedelta) -> Axis:
    """The hours of the last day; of a monitor that has just begun, all of its record in finer bins.

    `base` is the width of the stored windows.
    """
    if began is None or now - began > SHORT_RECORD:
        return Axis(window_start(now, HOUR) - 23 * HOUR, HOUR, 24)
    length = max(now - began, 10 * base)
    width = -(-length // MOST_BINS // base) * base or base
    start = window_start(max(began, now - length), width)
    return Axis(start, width, (now - start) // width + 1)


def read_mood(desk: Desk, now: datetime) -> Mood:
    """What is known of the mood of all topics.  Raises StoreUnavailable."""
    reads, window = desk.store.reads, timedelta(seconds=desk.settings.stream.mood_seconds)
    freshness = read_freshness(desk.store.engine, now)
    axis = chart_axis(DigestReader(desk.store.engine).record_begins(), now, desk.store.width)
    binned = _by_topic(reads.sums_by_window(axis.start, now, axis.width))
    current = {topic: reduce(add, parts) for topic, parts in _by_topic(reads.sums(now - window, now)).items()}
    alarms = {alert.topic: alert.rule for alert in desk.episodes.open_alerts() if alert.entity is None}
    cards = topic_cards(axis, binned, current, alarms)
    return Mood(
        freshness=freshness,
        axis=axis,
        cards=cards,
        silent_topics=tuple(topic for topic in desk.topics if topic not in binned),
        now=_sum(current.values()),
        total=_sum(card.total for card in cards),
        window=window,
    )


def topic_cards(
    axis: Axis, binned: dict[str, list[Aggregate]], current: dict[str, Aggregate], alarms: dict[str, str]
) -> tuple[TopicCard, ...]:
    """A card for each topic with texts: those with an alert first, then by how many texts they have."""
    reach = _reach(part for parts in binned.values() for part in parts)
    cards = [_card(axis, topic, parts, current.get(topic), alarms, reach) for topic, parts in binned.items()]
    return tuple(sorted(cards, key=lambda card: (not card.alarms, -card.total.n, card.topic)))


def _card(
    axis: Axis,
    topic: str,
    parts: Sequence[Aggregate],
    current: Aggregate | None,
    alarms: dict[str, str],
    reach: float,
) -> TopicCard:
    by_start: dict[datetime, Aggregate] = {}
    for part in parts:
        by_start[part.start] = by_start[part.start] + part if part.start in by_start else part
    bins = [by_start.get(axis.start + i * axis.width) for i in range(axis.bins)]
    by_mean = sorted(by_start.values(), key=lambda sums: sums.mean or 0.0)
    last = max(by_start)
    return TopicCard(
        topic=topic,
        now=current,
        total=reduce(add, by_start.values()),
        chart=sparkline(bins, reach),
        lowest=by_mean[0],
        highest=by_mean[-1],
        last_text=last,
        is_silent=current is None,
        alarms=(alarms[topic],) if topic in alarms else (),
    )


def _reach(bins: Iterable[Aggregate]) -> float:
    means = [abs(sums.mean or 0.0) for sums in bins if sums.n >= FEWEST_TEXTS]
    return max(means, default=0.0) * 1.05 if max(means, default=0.0) > LEAST_REACH else LEAST_REACH


def _by_topic(parts: Iterable[Aggregate]) -> dict[str, list[Aggregate]]:
    topics: dict[str, list[Aggregate]] = {}
    for part in parts:
        topics.setdefault(part.topic, []).append(part)
    return topics


def _sum(parts: Iterable[Aggregate]) -> Aggregate | None:
    found = list(parts)
    return reduce(add, found) if found else None


def _movers(desk: Desk, now: datetime) -> list[Mover]:
    return movers(desk.store, now, DEFAULT_RELEVANCE, SHOWN_MOVERS)


def _incidents(desk: Desk, now: datetime) -> tuple[list[ShownIncident], list[ShownIncident]]:
    """Those that are open, the most urgent first and of these the latest; and those that ended in the last
    day, the latest first."""
    found = desk.episodes.followed_incidents(now - DAY)
    still_open = sorted(
        (each for each in found if each.is_open),
        key=lambda each: (URGENCY[each.severity], -each.began_at.timestamp()),
    )[:SHOWN_INCIDENTS]
    ended = sorted(
        (each for each in found if not each.is_open), key=lambda each: each.ended_at or now, reverse=True
    )[:SHOWN_ENDED]
    pages = desk.episodes.last_pages([each.id for each in (*still_open, *ended)])
    with_pages = [
        [ShownIncident(each, _message(pages.get(each.id))) for each in part] for part in (still_open, ended)
    ]
    return with_pages[0], with_pages[1]


def _message(page: Page | None) -> dict[str, Any] | None:
    """What a page said; None if it was purged."""
    return dict(page.message) if page is not None and page.message else None

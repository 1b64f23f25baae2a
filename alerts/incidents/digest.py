"""The digest of a day: what moved, which incidents there were, and what is new.  Pure: now is an argument.

A digest covers the time from one digest to the next, which is a day by the clocks of its zone: 23 or 25 hours
when they change.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from statistics import NormalDist

from alerts.baselines.statistics import standard_error
from stream.domain.documents import SCORE_SCALE
from stream.domain.incidents import Incident, StoryBegun
from stream.domain.sums import Aggregate, Counted, TimeRange

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# A digest that is later than this is of no use: the day is over.
LATEST = timedelta(hours=12)
# The mean of fewer documents says too little to be compared, and so many who moved are named.
LEAST_COMPARED, MOST_MOVED = 20, 5
# Moved is what would by chance be among all that is compared on one day in twenty.
CHANCE = 0.05
# The half width of a confidence interval of 95 %, in standard errors.
CONFIDENCE = 1.96
# Before the record is so old, everything would be new.
SHORTEST_RECORD = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DigestPlan:
    """When digests are due: at a time of the day by the clocks of a zone."""

    at: time
    zone: tzinfo

    def due(self, now: datetime) -> date | None:
        """The day whose digest should have been sent by now; None if that was too long ago."""
        today = now.astimezone(self.zone).date()
        for day in (today, today - DAY):
            if now - LATEST <= self.time_of(day) <= now:
                return day
        return None

    def time_of(self, day: date) -> datetime:
        """When the digest of a day is due, in UTC; a time that the clocks skip comes after the gap."""
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)

    def covered(self, day: date) -> TimeRange:
        """What the digest of a day tells of: since the one of the day before."""
        return TimeRange(self.time_of(day - DAY), self.time_of(day))


def digest_key(day: date) -> str:
    """The key of the digest of a day, by which receivers recognise a repeat."""
    return f"digest:{day:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Mood:
    """A mean score from -1 to 1, of `n` documents or voices; the standard `error` is infinite for one."""

    n: int
    mean: float
    error: float

    @classmethod
    def of(cls, total: Aggregate) -> "Mood":
        squares = total.score_squares / SCORE_SCALE**2
        error = standard_error(total.n, total.score_sum / SCORE_SCALE, squares)
        return cls(total.n, total.mean or 0.0, error)


@dataclass(frozen=True, slots=True)
class Move:
    """A topic or an entity whose mood is another than on the day before."""

    name: str
    entity: str | None
    now: Mood
    before: Mood

    @property
    def change(self) -> float:
        return self.now.mean - self.before.mean

    @property
    def margin(self) -> float:
        """The half width of the 95 % confidence interval of the change."""
        return CONFIDENCE * math.hypot(self.now.error, self.before.error)

    @property
    def surprise(self) -> float:
        """The change in standard errors."""
        error = math.hypot(self.now.error, self.before.error)
        if not error:  # every document has the same score
            return math.inf if self.change else 0.0
        return abs(self.change) / error


@dataclass(frozen=True, slots=True)
class NewEntity:
    """An entity that no document before was about, and how many are now."""

    entity: str
    name: str
    n: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Hours without any document, where the day before had some: data is missing, or nothing was written."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Digest:
    """What a digest says.

    `counted` is what its numbers count.  `moves` are beyond chance among so many topics and entities as were
    `compared`; None if the day before has nothing to compare with.  `new_entities` is None if the record is
    too young to tell.  `missing` says what is not known, in words.
    """

    day: date
    covered: TimeRange
    counted: Counted
    total: Mood
    before: Mood
    moves: tuple[Move, ...]
    compared: int | None
    incidents: tuple[Incident, ...]
    incident_count: int
    new_stories: tuple[StoryBegun, ...]
    new_entities: tuple[NewEntity, ...] | None
    gaps: tuple[Gap, ...]
    missing: tuple[str, ...] = ()

    @property
    def quiet_incidents(self) -> tuple[Incident, ...]:
        """Those that told nobody."""
        return tuple(incident for incident in self.incidents if not incident.told)


def moves(
    now: Mapping[str, Aggregate],
    before: Mapping[str, Aggregate],
    names: Mapping[str, str],
    *,
    are_entities: bool,
) -> list[Move]:
    """Whatever has enough documents on both days to be compared."""
    return [
        Move(names.get(id_, id_), id_ if are_entities else None, Mood.of(total), Mood.of(before[id_]))
        for id_, total in sorted(now.items())
        if id_ in before and min(total.n, before[id_].n) >= LEAST_COMPARED
    ]


def beyond_chance(compared: Sequence[Move]) -> tuple[Move, ...]:
    """The moves that chance alone would not explain, however many were compared; the most surprising first
    (Bonferroni's correction)."""
    if not compared:
        return ()
    limit = NormalDist().inv_cdf(1 - CHANCE / 2 / len(compared))
    moved = [move for move in compared if move.surprise >= limit]
    return tuple(sorted(moved, key=lambda move: (-move.surprise, move.name))[:MOST_MOVED])


def gaps(covered: TimeRange, hours: Iterable[datetime], hours_before: Iterable[datetime]) -> tuple[Gap, ...]:
    """The whole hours without documents whose hours of the day before had some; those that touch as one.

    `hours` are those that have documents.
    """
    having, usual = set(hours), {hour + DAY for hour in hours_before}
    start = covered.start.replace(minute=0, second=0, microsecond=0)
    if start < covered.start:
        start += HOUR
    found: list[Gap] = []
    while start + HOUR <= covered.end:
        if start not in having and start in usual:
            if found and found[-1].end == start:
                found[-1] = Gap(found[-1].start, start + HOUR)
            else:
                found.append(Gap(start, start + HOUR))
        start += HOUR
    return tuple(found)


def by_name(sums: Iterable[Aggregate]) -> dict[str, Aggregate]:
    """Sums added up over kinds, by topic or entity."""
    totals: dict[str, Aggregate] = {}
    for one in sums:
        totals[one.topic] = totals[one.topic] + one if one.topic in totals else one
    return totals

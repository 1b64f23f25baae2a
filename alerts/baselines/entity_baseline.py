"""What is usual about one entity: its own history by the hour, and that of all entities where it has little.

An entity's week starts from the week of the whole stream, at the entity's own level, and is pulled towards
its own hours as it is written about more (the same priors as in `alerts.baselines.baseline`).

The level is how many documents a history has about the entity.  Where there are few it is drawn towards the
pool, the mean of the entities with little history: with k events of its own, the gamma-Poisson estimate
(k + 1/2) / (1 + p / (k + 1)), where p = (1/2) / (mean of the pool) is how many histories the pool counts for
(Gelman et al., Bayesian Data Analysis, section 2.6; the pool counts for less as k grows, since levels of
entities differ by orders of magnitude).  The shares of negatives and the scores are drawn to the pool's in
the same way, by so many documents.

`Baseline` does the same for a topic, of which there are twenty; the arrays here serve thousands of entities.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alerts.baselines.baseline import (
    CORRELATION_PRIOR,
    CORRELATION_WORTH,
    FACTOR_PRIOR,
    HOUR,
    REGULAR_CHANCE,
    REGULAR_FACTOR,
    SLOT_PRIOR,
    VARIATION_PRIOR,
    VARIATION_WORTH,
    WEEK_HOURS,
    Baseline,
    Count,
    count_documents,
)
from alerts.baselines.expectation import Market
from alerts.baselines.statistics import count_tail
from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.sums import SUM_FIELDS, Aggregate, TimeRange, window_number

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
HALF = 0.5
# How many documents of the pool an entity's share of negatives and its scores start from.
POOL_WORTH = 10.0
# How many documents the usual figures of the stream count for, where it is compared with what is usual.
MARKET_WORTH = 10.0
# An entity with at most so many documents in the history has little of it, and is in the pool.
LITTLE_HISTORY = 20
SECONDS_PER_HOUR = 3600.0
N, NEGATIVE, SCORE_SUM, SCORE_SQUARES = map(SUM_FIELDS.index, ("n", "negative", "score_sum", "score_squares"))


@dataclass(frozen=True, eq=False)
class Hours:
    """The hours in which the stream was live: their numbers from the epoch, in order, which hour of the week
    each is, and how many of its seconds were live."""

    numbers: Integers
    slots: Integers
    seconds: Floats
    _blocks: dict[int, tuple[Integers, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, live: Sequence[TimeRange], zone: tzinfo) -> "Hours":
        seconds: dict[int, float] = {}
        for start, end in live:
            for number in range(window_number(start, HOUR), window_number(end, HOUR) + 1):
                hour = EPOCH + number * HOUR
                length = (min(end, hour + HOUR) - max(start, hour)).total_seconds()
                if length > 0:
                    seconds[number] = seconds.get(number, 0.0) + length
        numbers = sorted(seconds)
        slots = [_hour_of_week(EPOCH + number * HOUR, zone) for number in numbers]
        return cls(
            np.array(numbers, np.int64), np.array(slots, np.int64), np.array([seconds[n] for n in numbers])
        )

    def without(self, ranges: Sequence[TimeRange]) -> "Hours":
        """The hours that none of the ranges touches."""
        kept = np.ones(len(self.numbers), bool)
        for start, end in ranges:
            first, last = window_number(start, HOUR), window_number(end, HOUR)
            kept &= (self.numbers < first) | (self.numbers > last)
        return Hours(self.numbers[kept], self.slots[kept], self.seconds[kept])

    def include(self, numbers: Integers) -> NDArray[np.bool_]:
        """Whether each of these hours is one of them."""
        if not len(self.numbers):
            return np.zeros(len(numbers), bool)
        places = np.searchsorted(self.numbers, numbers)
        found: NDArray[np.bool_] = self.numbers[np.minimum(places, len(self.numbers) - 1)] == numbers
        return found

    @cached_property
    def total_seconds(self) -> float:
        return float(self.seconds.sum())

    @cached_property
    def by_slot(self) -> Floats:
        """Live seconds in each hour of the week."""
        return np.bincount(self.slots, self.seconds, WEEK_HOURS).astype(np.float64)

    def blocks(self, hours: int) -> tuple[Integers, int]:
        """The block of so many hours that each hour belongs to, counted from 0, and how many there are; -1
        where a block was not live throughout."""
        if hours not in self._blocks:
            numbers, index, sizes = np.unique(self.numbers // hours, return_inverse=True, return_counts=True)
            live = np.bincount(index, self.seconds, len(numbers)) if len(numbers) else np.zeros(0)
            whole = (sizes == hours) & (live >= hours * SECONDS_PER_HOUR)
            new = np.cumsum(whole) - 1
            self._blocks[hours] = (np.where(whole[index], new[index], -1), int(whole.sum()))
        return self._blocks[hours]


def _hour_of_week(start: datetime, zone: tzinfo) -> int:
    """By the middle of the hour: in some zones an hour of UTC begins at half past."""
    local = (start + HOUR / 2).astimezone(zone)
    return local.weekday() * 24 + local.hour


@dataclass(frozen=True, eq=False)
class Pool:
    """What the entities with little history have in common.

    `documents` and `negatives` are the means of an entity in a whole history, above 0.  `mean` and `variance`
    are those of its scores, from -1 to 1.
    """

    documents: float = HALF
    negatives: float = HALF / 2
    mean: float = 0.0
    variance: float = 1.0

    @classmethod
    def of(cls, totals: Sequence[Aggregate]) -> "Pool":
        """The pool of the entities with these sums; all of them if none has little history."""
        members = [total for total in totals if total.n <= LITTLE_HISTORY] or totals
        if not members:
            return cls()
        all_ = sum(members, Aggregate(EPOCH, "", ""))
        documents = all_.n / len(members)
        share = (all_.negative + HALF) / (all_.n + 1)
        mean = all_.score_sum / all_.n / SCORE_SCALE
        variance = max(1e-6, all_.score_squares / all_.n / SCORE_SCALE**2 - mean**2)
        return cls(documents, documents * share, mean, variance)

    @property
    def share(self) -> float:
        """The share of negative documents, between 0 and 1."""
        return self.negatives / self.documents


def level(events: ArrayLike, pool_mean: float, history: float = 1.0) -> Floats:
    """How many events a whole history of the entity has, from its own `events` in a part of it."""
    own = np.asarray(events, np.float64)
    return (own + HALF) / (history + HALF / pool_mean / (own + 1))


@dataclass(frozen=True)
class EntityBaseline(Baseline):
    """The history of one entity, by the hour.

    `hours` are the live hours of the stream without those that the baseline leaves out, and `cells` lie in
    them: `numbers` are their hours.  `shape` is the stream's week: the share of the documents of a whole
    history that a second of each hour of the week has.
    """

    numbers: Integers = field(kw_only=True)
    hours: Hours = field(kw_only=True)
    shape: Floats = field(kw_only=True)
    pool: Pool = field(kw_only=True)

    @cached_property
    def seconds(self) -> float:
        return self.hours.total_seconds

    @property
    def prior_documents(self) -> float:
        return POOL_WORTH

    @cached_property
    def _rows(self) -> Integers:
        """The sums of each cell: [cells, SUM_FIELDS]."""
        rows = np.array([cell.totals for cell in self.cells], np.int64)
        return rows.reshape(len(self.cells), len(SUM_FIELDS))

    @cached_property
    def _places(self) -> Integers:
        """The place of each cell among the hours."""
        return np.searchsorted(self.hours.numbers, self.numbers)

    @cached_property
    def total(self) -> Aggregate:
        return Aggregate(EPOCH, "", "", *map(int, self._rows.sum(0)))

    @property
    def share(self) -> float:
        total = self.total
        return (total.negative + POOL_WORTH * self.pool.share) / (total.n + POOL_WORTH)

    def rates(self, count: Count) -> list[float]:
        return list(map(float, self._rates(count)))

    def _rates(self, count: Count) -> Floats:
        prior = self.shape * self._level(count_documents)
        rates = self._smoothed(prior, N)
        if count is count_documents:
            return rates
        ratio = self._level(count) / max(float((rates * self.hours.by_slot).sum()), 1e-12)
        return self._smoothed(rates * ratio * self._part, NEGATIVE)

    @cached_property
    def _part(self) -> float:
        """How much of a whole history the hours have."""
        return float((self.shape * self.hours.by_slot).sum())

    def _level(self, count: Count) -> float:
        documents = count is count_documents
        pool_mean = self.pool.documents if documents else self.pool.negatives
        return float(level(count(self.total), pool_mean, self._part))

    def _smoothed(self, rates: Floats, column: int) -> Floats:
        """Rates pulled towards the entity's own events; see `alerts.baselines.baseline`."""
        weights = self._rows[:, column].astype(np.float64)
        events = np.bincount(self.hours.slots[self._places], weights, WEEK_HOURS)
        week, own, seconds = (each.reshape(7, 24) for each in (rates, events, self.hours.by_slot))
        for axis in (1, 0):
            usual = (week * seconds).sum(axis, keepdims=True)
            week = week * (own.sum(axis, keepdims=True) + FACTOR_PRIOR) / (usual + FACTOR_PRIOR)
        week = week * (own + SLOT_PRIOR) / (week * seconds + SLOT_PRIOR)
        return np.asarray(week.reshape(WEEK_HOURS), np.float64)

    def variation(self, count: Count, rates: Sequence[float], window: timedelta) -> float:
        """As in `Baseline`, from whole hours.

        What makes an hour vary beyond the prior may be a burst of minutes, so it counts for more in a window
        that is shorter.
        """
        length = max(window // HOUR, 1)
        observed, kept = self._by_block(
            self._rows[:, _column(count)], length, self.regular_times(count, rates)
        )
        expected = self._expected_by_block(np.array(rates), length)
        observed, expected = observed[kept], expected[kept]
        weeks = max(self.seconds / (WEEK_HOURS * SECONDS_PER_HOUR), 1.0)
        leverage = np.minimum(0.5, 1 / (weeks + SLOT_PRIOR * length / np.maximum(expected, 1e-9)))
        excess = VARIATION_PRIOR * VARIATION_WORTH
        excess += float((((observed - expected) / (1 - leverage)) ** 2 - expected).sum())
        variation = max(0.0, excess / (VARIATION_WORTH + float((expected**2).sum())))
        beyond_prior = max(0.0, variation - VARIATION_PRIOR)
        return variation + beyond_prior * max(0.0, HOUR / window - 1)

    def correlation(self, window: timedelta) -> float:
        share = self.share
        spread = share * (1 - share)
        n, negative = self._counted(window)
        excess = CORRELATION_PRIOR * CORRELATION_WORTH * spread
        excess += float(((negative - n * share) ** 2 - n * spread).sum())
        pairs = (CORRELATION_WORTH + float((n * (n - 1)).sum())) * spread
        return min(0.9, max(0.0, excess / pairs))

    def scores(self, window: timedelta) -> tuple[float, float, float]:
        total, pool = self.total, self.pool
        worth = total.n + POOL_WORTH
        mean = (total.score_sum / SCORE_SCALE + POOL_WORTH * pool.mean) / worth
        squares = total.score_squares / SCORE_SCALE**2 + POOL_WORTH * (pool.variance + pool.mean**2)
        variance = max(1e-6, squares / worth - mean**2)
        length = max(window // HOUR, 1)
        n, kept = self._by_block(self._rows[:, N], length, self._regular_negatives)
        sums, _ = self._by_block(self._rows[:, SCORE_SUM], length, self._regular_negatives)
        kept &= n > 0
        n, sums = n[kept], sums[kept]
        excess = float((n * (sums / n / SCORE_SCALE - mean) ** 2 - variance).sum())
        return mean, variance**0.5, max(0.0, excess / max(float(n.sum()), 1.0))

    def _counted(self, window: timedelta) -> tuple[Floats, Floats]:
        """Documents and negative ones of each whole window."""
        length = max(window // HOUR, 1)
        n, kept = self._by_block(self._rows[:, N], length, self._regular_negatives)
        negative, _ = self._by_block(self._rows[:, NEGATIVE], length, self._regular_negatives)
        return n[kept], negative[kept]

    def _by_block(
        self, column: Integers, hours: int, regular: set[datetime]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """The sum of a column in each block of so many hours, and whether nothing regular is in it."""
        index, blocks = self.hours.blocks(hours)
        own = index[self._places]
        inside = own >= 0
        kept = np.ones(blocks, bool)
        for i, cell in enumerate(self.cells) if regular else ():
            if cell.start in regular and own[i] >= 0:
                kept[own[i]] = False
        return np.bincount(own[inside], column[inside], blocks).astype(np.float64), kept

    def _expected_by_block(self, rates: Floats, hours: int) -> Floats:
        index, blocks = self.hours.blocks(hours)
        inside = index >= 0
        expected = rates[self.hours.slots[inside]] * self.hours.seconds[inside]
        return np.bincount(index[inside], expected, blocks).astype(np.float64)

    def bursts(self, count: Count, rates: Sequence[float]) -> list[Aggregate]:
        places, observed = self._places, self._rows[:, _column(count)]
        expected = np.array(rates)[self.hours.slots[places]] * SECONDS_PER_HOUR
        candidates = np.flatnonzero((observed > 2) & (observed >= REGULAR_FACTOR * expected))
        return [
            self.cells[i]
            for i in map(int, candidates)
            if count_tail(int(observed[i]), float(expected[i]), VARIATION_PRIOR) <= REGULAR_CHANCE
        ]


def _column(count: Count) -> int:
    return N if count is count_documents else NEGATIVE


@dataclass(frozen=True)
class StreamNow:
    """The whole stream of late: its sums, and how many documents that the rule counts are usual then.

    `stream` is its baseline.
    """

    stream: Baseline
    total: Aggregate
    usual: float

    def without(self, own: Aggregate, count: Count) -> Market:
        """How the rest of the stream differs from what is usual, without an entity's own documents.

        Each figure starts from the usual one, which has the weight of MARKET_WORTH documents.
        """
        rest, share = self.total - own, self.stream.share
        usual_mean = self.stream.total.mean or 0.0
        documents = max(rest.n, 0) + MARKET_WORTH
        share_now = (max(rest.negative, 0) + MARKET_WORTH * share) / documents
        mean_now = (rest.score_sum / SCORE_SCALE + MARKET_WORTH * usual_mean) / documents
        return Market(
            max(1.0, (count(rest) + MARKET_WORTH) / (self.usual + MARKET_WORTH)),
            max(1.0, share_now / share),
            min(0.0, mean_now - usual_mean),
        )


@dataclass(frozen=True, eq=False)
class StreamWeek:
    """When the stream was live, the shape of its week, and the baseline of all its documents."""

    stream: Baseline
    live: Sequence[TimeRange]
    hours: Hours
    shape: Floats

    @classmethod
    def of(cls, cells: Sequence[Aggregate], live: Sequence[TimeRange], zone: tzinfo = UTC) -> "StreamWeek":
        """From the documents of every hour that has any."""
        hours = Hours.of(live, zone)
        stream = Baseline(cells, live, HOUR, zone)
        rates = np.array(stream.rates(count_documents))
        return cls(stream, live, hours, rates / max(float((rates * hours.by_slot).sum()), 1e-12))

    def baseline(
        self, cells: Sequence[Aggregate], left_out: Sequence[TimeRange], pool: Pool, zone: tzinfo
    ) -> EntityBaseline:
        """The baseline of an entity with these hours, in order, without the ranges that are `left_out`."""
        hours = self.hours.without(left_out) if left_out else self.hours
        numbers = np.array([(cell.start - EPOCH) // HOUR for cell in cells], np.int64)
        kept = hours.include(numbers)
        if not kept.all():
            cells, numbers = [cells[i] for i in map(int, np.flatnonzero(kept))], numbers[kept]
        return EntityBaseline(
            cells,
            self.live,
            HOUR,
            zone,
            numbers=numbers,
            hours=hours,
            shape=self.shape,
            pool=pool,
        )

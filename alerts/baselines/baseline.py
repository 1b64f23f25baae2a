"""The baseline: what is usual at each hour of the week, learned from a history that may have gaps.  Pure.

A history is cut into cells of one width.  Monday 00:00 is the first of the 168 hours of a week, by the clocks
of a time zone: what follows office hours moves with them when the clocks change.  Each hour has a rate of its
own.  While there is little data, the rate stays close to that of the same hour of the
day and of the same day of the week: a gamma prior worth some events (Gelman et al., Bayesian Data Analysis,
section 2.6).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from itertools import groupby, pairwise

from alerts.baselines.statistics import count_tail
from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.sums import Aggregate, TimeRange, window_start

NO_TIME, HOUR = timedelta(0), timedelta(hours=1)
WEEK_HOURS = 168
# How many events the prior rate counts for: for a day or an hour of the day, and for an hour of the week.
FACTOR_PRIOR = 10.0
SLOT_PRIOR = 20.0
# What variation and correlation are taken to be before the history says otherwise, and how much history that
# prior counts for: in squared events, and in pairs of documents.
VARIATION_PRIOR, VARIATION_WORTH = 0.05, 20.0
CORRELATION_PRIOR, CORRELATION_WORTH = 0.02, 50.0

# What comes at a time of the day on so many days is regular: a count so many times the rate, beyond chance.
REGULAR_DAYS, REGULAR_FACTOR, REGULAR_CHANCE = 3, 3.0, 1e-4

Count = Callable[[Aggregate], int]


def count_negatives(cell: Aggregate) -> int:
    """How many documents of a cell are negative."""
    return cell.negative


def count_documents(cell: Aggregate) -> int:
    """How many documents a cell has."""
    return cell.n


@dataclass(frozen=True)
class Baseline:
    """The history of one topic: the `cells` with data, each `width` long, within the `live` time ranges.

    `zone` is the time zone of the hours of the week.
    """

    cells: Sequence[Aggregate]
    live: Sequence[TimeRange]
    width: timedelta
    zone: tzinfo = UTC

    @cached_property
    def seconds(self) -> float:
        """How much of the history is live: has data, or is quiet for a while between data."""
        return sum((end - start).total_seconds() for start, end in self.live)

    @cached_property
    def total(self) -> Aggregate:
        return sum(self.cells, Aggregate(EPOCH, "", ""))

    @property
    def prior_documents(self) -> float:
        """How many documents the estimates start from, besides those of the history."""
        return 0.0

    @property
    def share(self) -> float:
        """The usual share of negative documents, between 0 and 1."""
        return (self.total.negative + 0.5) / (self.total.n + 1)

    @cached_property
    def live_seconds(self) -> list[float]:
        """Live seconds in each hour of the week."""
        live_seconds = [0.0] * WEEK_HOURS
        for start, end in self.live:
            for slot, seconds in _slots(start, end, self.zone):
                live_seconds[slot] += seconds
        return live_seconds

    def rates(self, count: Count) -> list[float]:
        """Events a second in each hour of the week.

        There are few negatives, so their week starts from the shape of the week of all documents.
        """
        if count is count_documents:
            prior_rates = [(self.total.n + 0.5) / max(self.seconds, 1.0)] * WEEK_HOURS
        else:
            prior_rates = [rate * self.share for rate in self.rates(count_documents)]
        events = [0.0] * WEEK_HOURS
        for cell in self.cells:
            for slot, seconds in _slots(cell.start, cell.start + self.width, self.zone):
                events[slot] += count(cell) * seconds / self.width.total_seconds()
        return _smoothed(prior_rates, events, self.live_seconds)

    def expected(self, rates: Sequence[float], start: datetime, end: datetime) -> float:
        """How many events are usual in [start, end)."""
        return sum(rates[slot] * seconds for slot, seconds in _slots(start, end, self.zone))

    def variation(self, count: Count, rates: Sequence[float], window: timedelta) -> float:
        """The squared coefficient of variation of the rate from window to window, by the method of moments:
        how much more the count varies around its expectation than a Poisson count would.

        Each window has itself pulled the rates of its hours towards its own count, more so with few weeks of
        data.  Dividing by 1 - leverage corrects for that (the leverage of a linear smoother; Hastie,
        Tibshirani and Friedman, The Elements of Statistical Learning, section 7.10).
        """
        excess, squares = VARIATION_PRIOR * VARIATION_WORTH, VARIATION_WORTH
        weeks = self.seconds / (WEEK_HOURS * 3600)
        regular = self.regular_times(count, rates)
        for start, end, cells in self._blocks(window):
            if any(cell.start in regular for cell in cells):
                continue
            expected = self.expected(rates, start, end)
            observed = sum(map(count, cells))
            slots = max(1.0, (end - start) / HOUR)
            leverage = min(0.5, 1 / (max(weeks, 1.0) + SLOT_PRIOR * slots / max(expected, 1e-9)))
            excess += ((observed - expected) / (1 - leverage)) ** 2 - expected
            squares += expected**2
        return max(0.0, excess / squares)

    def regular_times(self, count: Count, rates: Sequence[float]) -> set[datetime]:
        """The starts of the cells with a burst that comes at this time of the day on several days.

        Until the rates have learned it, it is far above them.  It says nothing about how much the stream
        varies at other times, so the estimates of that leave it out.
        """
        days: dict[timedelta, set[date]] = {}
        bursts = self.bursts(count, rates)
        for cell in bursts:
            for shift in (-self.width, NO_TIME, self.width):
                near = cell.start + shift
                days.setdefault(self._time_of_day(near), set()).add(near.astimezone(self.zone).date())
        return {cell.start for cell in bursts if len(days[self._time_of_day(cell.start)]) >= REGULAR_DAYS}

    def bursts(self, count: Count, rates: Sequence[float]) -> list[Aggregate]:
        """The cells that are far above the rates, beyond chance."""
        return [cell for cell in self.cells if self._is_burst(cell, count(cell), rates)]

    def _is_burst(self, cell: Aggregate, observed: int, rates: Sequence[float]) -> bool:
        expected = self.expected(rates, cell.start, cell.start + self.width) if observed > 2 else math.inf
        return (
            observed >= REGULAR_FACTOR * expected
            and count_tail(observed, expected, VARIATION_PRIOR) <= REGULAR_CHANCE
        )

    def _time_of_day(self, at: datetime) -> timedelta:
        """The local time of the day, in whole cells."""
        local = at.astimezone(self.zone)
        since_midnight = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
        return since_midnight // self.width * self.width

    def correlation(self, window: timedelta) -> float:
        """The intra-class correlation of being negative among the documents of one window, by the method of
        moments."""
        share = self.share
        spread = share * (1 - share)
        excess, pairs = CORRELATION_PRIOR * CORRELATION_WORTH * spread, CORRELATION_WORTH * spread
        regular = self._regular_negatives
        for _, _, cells in self._blocks(window):
            if any(cell.start in regular for cell in cells):
                continue
            n, negative = sum(map(count_documents, cells)), sum(map(count_negatives, cells))
            excess += (negative - n * share) ** 2 - n * spread
            pairs += n * (n - 1) * spread
        return min(0.9, max(0.0, excess / pairs))

    @cached_property
    def _regular_negatives(self) -> set[datetime]:
        return self.regular_times(count_negatives, self.rates(count_negatives))

    @property
    def uncertainty_factor(self) -> float:
        """How much larger than estimated the true variance may be: one standard error of a variance that is
        estimated from independent days, since what makes a stream vary lasts for hours."""
        days = max(self.seconds / 86_400, 1e-9)
        return 1.0 + min(1.0, math.sqrt(2 / days))

    def scores(self, window: timedelta) -> tuple[float, float, float]:
        """(mean score, standard deviation of scores, variance of the mean from window to window beyond what
        chance explains)."""
        total = self.total
        if total.n < 2:
            return 0.0, 1.0, 0.0
        mean = total.score_sum / total.n / SCORE_SCALE
        variance = max(1e-6, total.score_squares / total.n / SCORE_SCALE**2 - mean**2)
        excess, weight = 0.0, 0.0
        regular = self._regular_negatives
        for _, _, cells in self._blocks(window):
            n = sum(map(count_documents, cells))
            if n and not any(cell.start in regular for cell in cells):
                window_mean = sum(cell.score_sum for cell in cells) / n / SCORE_SCALE
                excess += n * ((window_mean - mean) ** 2 - variance / n)
                weight += n
        return mean, variance**0.5, max(0.0, excess / max(weight, 1.0))

    def _blocks(self, window: timedelta) -> Iterable[tuple[datetime, datetime, list[Aggregate]]]:
        """The live time ranges cut into whole windows (or cells, if those are longer), with their cells."""
        length = max(window // self.width, 1) * self.width
        by_start = {
            start: list(cells)
            for start, cells in groupby(self.cells, lambda c: window_start(c.start, length))
        }
        for live_start, live_end in self.live:
            start = window_start(live_start + length - timedelta(microseconds=1), length)
            while start + length <= live_end:
                yield start, start + length, by_start.get(start, [])
                start += length


def live_ranges(
    starts: Sequence[datetime], width: timedelta, end: datetime, longest_gap: timedelta
) -> list[TimeRange]:
    """The time ranges with data.

    They are the cells that start at `starts` (in order), and the gaps between them that are no longer than
    `longest_gap`.  In a longer gap the feed was down, which is no part of what is usual.
    """
    edges = [*starts, end] if starts else []
    ranges: list[TimeRange] = []
    for start, following in pairwise(edges):
        until = following if following - start <= longest_gap else min(start + width, end)
        if ranges and ranges[-1].end == start:
            ranges[-1] = TimeRange(ranges[-1].start, until)
        else:
            ranges.append(TimeRange(start, until))
    return ranges


def without(ranges: Sequence[TimeRange], excluded: Sequence[TimeRange]) -> list[TimeRange]:
    """The parts of `ranges` that lie in none of the excluded ranges."""
    kept = list(ranges)
    for start, end in excluded:
        parts: list[TimeRange] = []
        for a, b in kept:
            if start < b and end > a:
                parts += [TimeRange(a, min(b, start)), TimeRange(max(a, end), b)]
            else:
                parts.append(TimeRange(a, b))
        kept = [part for part in parts if part.start < part.end]
    return kept


@lru_cache(1024)  # one window is compared for thousands of entities
def _slots(start: datetime, end: datetime, zone: tzinfo) -> Sequence[tuple[int, float]]:
    """The hours of the week that [start, end) touches, by the clocks of `zone`, and how many seconds of each.

    When the clocks change, an hour of the week is missing or comes twice.
    """
    slots: list[tuple[int, float]] = []
    while start < end:
        local = start.astimezone(zone)
        into_hour = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        until = min(end, start + HOUR - into_hour)
        slots.append((local.weekday() * 24 + local.hour, (until - start).total_seconds()))
        start = until
    return slots


def days_before(at: datetime, days: int, zone: tzinfo) -> datetime:
    """The same time of the day by the clocks of `zone`, so many days before."""
    return (at.astimezone(zone) - timedelta(days=days)).astimezone(UTC)


def _smoothed(rates: list[float], events: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Rates pulled towards the observed `events` in so many `seconds`, both by hour of the week: first by day
    of the week, then by hour of the day, then by hour of the week."""
    groups: tuple[Callable[[int], int], ...] = (lambda s: s // 24, lambda s: s % 24, lambda s: s)
    for group, prior in zip(groups, (FACTOR_PRIOR, FACTOR_PRIOR, SLOT_PRIOR), strict=True):
        observed: dict[int, float] = {}
        expected: dict[int, float] = {}
        for slot in range(WEEK_HOURS):
            key = group(slot)
            observed[key] = observed.get(key, 0.0) + events[slot]
            expected[key] = expected.get(key, 0.0) + rates[slot] * seconds[slot]
        rates = [
            rate * (observed[group(slot)] + prior) / (expected[group(slot)] + prior)
            for slot, rate in enumerate(rates)
        ]
    return rates

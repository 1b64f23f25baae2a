"""What is usual at this hour of the week, from a history that knows its gaps.  Pure.

A history is cut into cells of one width; Monday 00:00 UTC is the first of the 168 hours of a week.  Rates are
learned for each of them, drawn towards what the hour of the day and the day of the week say by themselves as
long as there is little to go by: a gamma prior worth some events (Gelman et al., Bayesian Data Analysis,
section 2.6).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby, pairwise

from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.sums import Aggregate, window_start

HOUR = timedelta(hours=1)
WEEK_HOURS = 168
# 1970-01-01 was a Thursday.
MONDAY = 72
# Events that a day's or an hour's own rate is worth before it counts for more than the rate of all.
FACTOR_PRIOR = 10.0
SLOT_PRIOR = 20.0
# What restlessness is taken for before the history can tell, and how much of it that takes: in squared
# events, and in pairs of texts.
VARIATION_PRIOR, VARIATION_WORTH = 0.05, 20.0
CORRELATION_PRIOR, CORRELATION_WORTH = 0.02, 50.0

Count = Callable[[Aggregate], int]
Stretch = tuple[datetime, datetime]


def negatives(cell: Aggregate) -> int:
    return cell.negative


def texts(cell: Aggregate) -> int:
    return cell.n


@dataclass(frozen=True)
class Baseline:
    """The history of one topic: its `cells` with data, each `width` long, within the `live` stretches."""

    cells: Sequence[Aggregate]
    live: Sequence[Stretch]
    width: timedelta

    @cached_property
    def seconds(self) -> float:
        """How much of the history has data, or is a quiet stretch between data."""
        return sum((end - start).total_seconds() for start, end in self.live)

    @cached_property
    def total(self) -> Aggregate:
        return sum(self.cells, Aggregate(EPOCH, "", ""))

    @property
    def share(self) -> float:
        """The usual share of negatives, between 0 and 1."""
        return (self.total.negative + 0.5) / (self.total.n + 1)

    @cached_property
    def spent(self) -> list[float]:
        """Live seconds in each hour of the week."""
        spent = [0.0] * WEEK_HOURS
        for start, end in self.live:
            for slot, seconds in _slots(start, end):
                spent[slot] += seconds
        return spent

    def rates(self, count: Count) -> list[float]:
        """Events a second in each hour of the week.

        Negatives are few: their week is first taken to have the shape of all texts' week.
        """
        if count is texts:
            usual = [(self.total.n + 0.5) / max(self.seconds, 1.0)] * WEEK_HOURS
        else:
            usual = [rate * self.share for rate in self.rates(texts)]
        seen = [0.0] * WEEK_HOURS
        for cell in self.cells:
            for slot, seconds in _slots(cell.start, cell.start + self.width):
                seen[slot] += count(cell) * seconds / self.width.total_seconds()
        return _smoothed(usual, seen, self.spent)

    def expected(self, rates: Sequence[float], start: datetime, end: datetime) -> float:
        """How many events are usual in [start, end)."""
        return sum(rates[slot] * seconds for slot, seconds in _slots(start, end))

    def variation(self, count: Count, rates: Sequence[float], window: timedelta) -> float:
        """The squared coefficient of variation of the rate from window to window, by moments: how much more
        than a Poisson count it varies around what its hours lead to expect.

        A window has itself drawn the rates of its hours towards it, the more the fewer weeks there are: what
        the others alone would expect lies further off (the leverage of a linear smoother; Hastie, Tibshirani
        and Friedman, The Elements of Statistical Learning, section 7.10).
        """
        excess, squares = VARIATION_PRIOR * VARIATION_WORTH, VARIATION_WORTH
        weeks = self.seconds / (WEEK_HOURS * 3600)
        for start, end, cells in self._blocks(window):
            usual = self.expected(rates, start, end)
            seen = sum(map(count, cells))
            slots = max(1.0, (end - start) / HOUR)
            leverage = min(0.5, 1 / (max(weeks, 1.0) + SLOT_PRIOR * slots / max(usual, 1e-9)))
            excess += ((seen - usual) / (1 - leverage)) ** 2 - usual
            squares += usual**2
        return max(0.0, excess / squares)

    def correlation(self, window: timedelta) -> float:
        """The intra-class correlation of being negative among the texts of one window, by moments."""
        share = self.share
        spread = share * (1 - share)
        excess, pairs = CORRELATION_PRIOR * CORRELATION_WORTH * spread, CORRELATION_WORTH * spread
        for _, _, cells in self._blocks(window):
            n, negative = sum(map(texts, cells)), sum(map(negatives, cells))
            excess += (negative - n * share) ** 2 - n * spread
            pairs += n * (n - 1) * spread
        return min(0.9, max(0.0, excess / pairs))

    @property
    def doubt(self) -> float:
        """A variance seen over so many days may be so much larger in truth: one standard error of it, since
        what makes a stream restless lasts for hours."""
        days = max(self.seconds / 86_400, 1e-9)
        return 1.0 + min(1.0, math.sqrt(2 / days))

    def scores(self, window: timedelta) -> tuple[float, float, float]:
        """(mean score, its standard deviation, variance of the windows' means beyond what chance makes)."""
        total = self.total
        if total.n < 2:
            return 0.0, 1.0, 0.0
        mean = total.score_sum / total.n / SCORE_SCALE
        variance = max(1e-6, total.score_squares / total.n / SCORE_SCALE**2 - mean**2)
        excess, weight = 0.0, 0.0
        for _, _, cells in self._blocks(window):
            n = sum(map(texts, cells))
            if n:
                of_window = sum(cell.score_sum for cell in cells) / n / SCORE_SCALE
                excess += n * ((of_window - mean) ** 2 - variance / n)
                weight += n
        return mean, variance**0.5, max(0.0, excess / max(weight, 1.0))

    def _blocks(self, window: timedelta) -> Iterable[tuple[datetime, datetime, list[Aggregate]]]:
        """The live stretches cut into whole windows (or cells, where those are longer), with their cells."""
        length = max(window // self.width, 1) * self.width
        found = {
            at: list(cells) for at, cells in groupby(self.cells, lambda c: window_start(c.start, length))
        }
        for start, end in self.live:
            at = window_start(start + length - timedelta(microseconds=1), length)
            while at + length <= end:
                yield at, at + length, found.get(at, [])
                at += length


def live_stretches(
    starts: Sequence[datetime], width: timedelta, end: datetime, gap: timedelta
) -> list[Stretch]:
    """The stretches with data: cells that start at `starts` (in order), and what lies between them where
    that is no longer than `gap`; a longer silence is a feed that was away, and no part of the usual."""
    edges = [*starts, end] if starts else []
    stretches: list[Stretch] = []
    for here, following in pairwise(edges):
        until = following if following - here <= gap else min(here + width, end)
        if stretches and stretches[-1][1] == here:
            stretches[-1] = (stretches[-1][0], until)
        else:
            stretches.append((here, until))
    return stretches


def without(stretches: Sequence[Stretch], periods: Sequence[Stretch]) -> list[Stretch]:
    """The stretches less the periods."""
    left = list(stretches)
    for start, end in periods:
        cut: list[Stretch] = []
        for a, b in left:
            cut += [(a, min(b, start)), (max(a, end), b)] if start < b and end > a else [(a, b)]
        left = [(a, b) for a, b in cut if a < b]
    return left


def _slots(start: datetime, end: datetime) -> Iterable[tuple[int, float]]:
    """The hours of the week that [start, end) touches, and for how many seconds each."""
    while start < end:
        hours = (start - EPOCH) // HOUR
        until = min(end, EPOCH + (hours + 1) * HOUR)
        yield (hours + MONDAY) % WEEK_HOURS, (until - start).total_seconds()
        start = until


def _smoothed(rates: list[float], seen: Sequence[float], spent: Sequence[float]) -> list[float]:
    """Rates drawn towards what was seen: by the day, by the hour of the day, then by each hour of the week.

    `seen` are events and `spent` seconds, by hour of the week.
    """
    groups: tuple[Callable[[int], int], ...] = (lambda s: s // 24, lambda s: s % 24, lambda s: s)
    for group, prior in zip(groups, (FACTOR_PRIOR, FACTOR_PRIOR, SLOT_PRIOR), strict=True):
        events: dict[int, float] = {}
        usual: dict[int, float] = {}
        for slot in range(WEEK_HOURS):
            key = group(slot)
            events[key] = events.get(key, 0.0) + seen[slot]
            usual[key] = usual.get(key, 0.0) + rates[slot] * spent[slot]
        rates = [
            value * (events[group(slot)] + prior) / (usual[group(slot)] + prior)
            for slot, value in enumerate(rates)
        ]
    return rates

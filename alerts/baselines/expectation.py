"""What a baseline leads a rule to expect of a window."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property

from alerts.baselines.baseline import CORRELATION_PRIOR, VARIATION_PRIOR, Baseline, Count, days_before
from stream.domain.documents import EPOCH
from stream.domain.sums import Aggregate, window_start


@dataclass(frozen=True, slots=True)
class BaselineSpec:
    """The history a rule compares its window with.

    `history` is how far the baseline reaches back.  Stretches of `comparison_length` are compared with it.
    `count` says which documents of a stretch the rule counts.  `zone` is the time zone of the hours of the
    week.  Of the history at least `shortest` must have data.  `calendar` is the name of the trading calendar
    by which days of trading and closed ones are no baseline for each other, if there is one.
    """

    history: timedelta
    comparison_length: timedelta
    count: Count
    zone: tzinfo = UTC
    shortest: timedelta = timedelta(0)
    calendar: str | None = None


# What recurs came at this time of the day (with a tolerance) on some of the last days or on the same
# day of the last weeks.
RECURRENCE_DAYS = (1, 2, 3, 4, 5, 6, 7, 8, 14, 21, 28)
RECURRENCE_TOLERANCE = timedelta(minutes=30)
# A feed was working at a time if it published within so long before and after.
NEARBY = timedelta(hours=12)
NOTHING = Aggregate(EPOCH, "", "")


@dataclass(frozen=True, slots=True)
class Market:
    """How the whole stream differs from what is usual now, where it is worse.

    `rate` is how many times as many counted documents it has, `share` how many times as large its share of
    negatives is, both 1 or more; `mean` is by how much its mean score is higher, 0 or less.
    """

    rate: float = 1.0
    share: float = 1.0
    mean: float = 0.0


@dataclass(frozen=True)
class Expectation:
    """What is usual on one topic, or about one entity.  Each figure is computed when first used, and serves
    many windows.

    `cells` is the whole history, with the rule's own alerts, which the baseline leaves out.  Both leave out
    the hours that another model labelled, if there are any.
    """

    spec: BaselineSpec
    baseline: Baseline
    cells: Sequence[Aggregate] = ()

    def expected(self, start: datetime, end: datetime) -> float:
        """How many counted documents are usual in [start, end)."""
        return self.baseline.expected(self.rates, start, end)

    @property
    def negative_share(self) -> float:
        """The usual share of negative documents, between 0 and 1."""
        return self.baseline.share

    @cached_property
    def rates(self) -> list[float]:
        """Counted documents a second in each of the 168 hours of the week."""
        return self.baseline.rates(self.spec.count)

    @cached_property
    def variation(self) -> float:
        """The squared coefficient of variation of the rate: how much it varies from window to window, plus
        how uncertain the estimate of it is."""
        count, baseline = self.spec.count, self.baseline
        variation = baseline.variation(count, self.rates, self.spec.comparison_length)
        # After k events the posterior of the rate is a gamma distribution of shape k + 1/2.
        return variation * baseline.uncertainty_factor + 1 / (count(baseline.total) + 0.5)

    @cached_property
    def correlation(self) -> float:
        """How much the documents of one window resemble each other in being negative, plus how uncertain the
        estimate of it is."""
        baseline = self.baseline
        correlation = baseline.correlation(self.spec.comparison_length)
        documents = baseline.total.n + baseline.prior_documents
        return min(0.9, correlation * baseline.uncertainty_factor + 1 / (documents + 2))

    @cached_property
    def scores(self) -> tuple[float, float, float]:
        """(usual mean score, standard deviation of scores, variance of the mean from window to window plus
        that of the estimate itself)."""
        mean, deviation, variance = self.baseline.scores(self.spec.comparison_length)
        estimate_variance = deviation**2 / max(self.baseline.total.n + self.baseline.prior_documents, 1)
        return mean, deviation, variance * self.baseline.uncertainty_factor + estimate_variance

    def recurring(self, total: Aggregate) -> "Expectation":
        """What is usual where windows with these sums recur."""
        return _Recurring(self.spec, self.baseline, self.cells, total)

    def in_market(self, market: Market) -> "Expectation":
        """What is usual of an entity while the whole stream is as much worse."""
        if market == Market():
            return self
        return _InMarket(self.spec, self.baseline, self.cells, usual=self, market=market)

    def on_other_days(self, start: datetime, length: timedelta) -> Iterable[list[tuple[Aggregate, bool]]]:
        """For each day to compare with, the sums of the windows at about this time of the day, and for each
        whether the feed was working: it published before and after."""
        width = self.baseline.width
        for days in RECURRENCE_DAYS:
            same_time = days_before(start, days, self.spec.zone)
            tolerance = max(RECURRENCE_TOLERANCE, width)
            first = window_start(same_time - tolerance + width - timedelta.resolution, width)
            if not self._by_start or first < self.cells[0].start:
                continue
            windows = []
            while first <= same_time + tolerance and first + length <= start:
                windows.append((self._total(first, length), self._was_working(first, length)))
                first += width
            yield windows

    def _total(self, start: datetime, length: timedelta) -> Aggregate:
        """The sum of the cells from `start` on that make up the length."""
        width = self.baseline.width
        starts = (start + i * width for i in range(max(1, round(length / width))))
        return sum((self._by_start[at] for at in starts if at in self._by_start), NOTHING)

    def _was_working(self, start: datetime, length: timedelta) -> bool:
        before = bisect_left(self._starts, start - NEARBY) < bisect_left(self._starts, start)
        after = bisect_left(self._starts, start + length) < bisect_left(self._starts, start + length + NEARBY)
        return before and after

    @cached_property
    def _by_start(self) -> dict[datetime, Aggregate]:
        return {cell.start: cell for cell in self.cells}

    @cached_property
    def _starts(self) -> list[datetime]:
        return [cell.start for cell in self.cells]


@dataclass(frozen=True)
class _InMarket(Expectation):
    """What to expect of an entity while the whole stream is worse than usual: `usual`, as much worse."""

    usual: Expectation = field(kw_only=True)
    market: Market = field(kw_only=True)

    def expected(self, start: datetime, end: datetime) -> float:
        return self.usual.expected(start, end) * self.market.rate

    @property
    def negative_share(self) -> float:
        return min(0.95, self.usual.negative_share * self.market.share)

    @property
    def rates(self) -> list[float]:
        return self.usual.rates

    @property
    def variation(self) -> float:
        return self.usual.variation

    @property
    def correlation(self) -> float:
        return self.usual.correlation

    @property
    def scores(self) -> tuple[float, float, float]:
        mean, deviation, variance = self.usual.scores
        return mean + self.market.mean, deviation, variance


@dataclass(frozen=True)
class _Recurring(Expectation):
    """What is usual where `total` recurs: its own figures, and what little is known of how they vary."""

    total: Aggregate = NOTHING

    def expected(self, start: datetime, end: datetime) -> float:
        return max(self.spec.count(self.total), 0.5)

    @property
    def negative_share(self) -> float:
        return (self.total.negative + 0.5) / (self.total.n + 1)

    @cached_property
    def variation(self) -> float:
        return VARIATION_PRIOR + 1 / (self.spec.count(self.total) + 0.5)

    @cached_property
    def correlation(self) -> float:
        return min(0.9, CORRELATION_PRIOR + 1 / (self.total.n + 2))

    @cached_property
    def scores(self) -> tuple[float, float, float]:
        _, deviation, variance = super().scores
        mean = self.total.mean or 0.0
        return mean, deviation, variance + deviation**2 / max(self.total.n, 1)

"""What a baseline leads a rule to expect of a window."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from alerts.baseline import Baseline, Count


@dataclass(frozen=True, slots=True)
class BaselineSpec:
    """The history a rule compares its window with.

    `history` is how far the baseline reaches back.  Stretches of `comparison_length` are compared with it.
    `count` says which documents of a stretch the rule counts.
    """

    history: timedelta
    comparison_length: timedelta
    count: Count


@dataclass(frozen=True)
class Expectation:
    """What is usual on one topic.  Each figure is computed when first used, and serves many windows."""

    spec: BaselineSpec
    baseline: Baseline

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
        correlation = self.baseline.correlation(self.spec.comparison_length)
        return min(0.9, correlation * self.baseline.uncertainty_factor + 1 / (self.baseline.total.n + 2))

    @cached_property
    def scores(self) -> tuple[float, float, float]:
        """(usual mean score, standard deviation of scores, variance of the mean from window to window plus
        that of the estimate itself)."""
        mean, deviation, variance = self.baseline.scores(self.spec.comparison_length)
        estimate_variance = deviation**2 / max(self.baseline.total.n, 1)
        return mean, deviation, variance * self.baseline.uncertainty_factor + estimate_variance

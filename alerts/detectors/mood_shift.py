"""Mood shift: the documents of the window, few or many, are more negative than usual."""

from typing import Literal

from pydantic import Field

from alerts.baselines.baseline import Count, count_negatives
from alerts.baselines.expectation import Expectation
from alerts.baselines.statistics import mean_tail, share_tail
from alerts.detectors.base import (
    CountSetting,
    Observation,
    SubjectWindow,
    SumField,
    mood_in_words,
    watched_sum,
    watched_text,
    watched_value,
)
from alerts.detectors.baseline_rule import BaselineRule
from alerts.wording import duration_text, mean_confidence, share_confidence
from stream.domain.alerts import Alert
from stream.domain.sums import Counted


class MoodShiftRule(BaselineRule):
    """Fires when the documents of the window, few or many, are more negative than usual.

    `negative_share`: the share of negatives is `factor` times the usual one or more; exact for few documents.
    `mean_score`: the mean score is lower by `min_shift` or more; for windows with dozens of documents.
    """

    type: Literal["mood_shift"]
    watch: Literal["negative_share", "mean_score"] = "negative_share"
    min_negative: int = Field(4, ge=1)
    min_shift: float = Field(0.15, gt=0, le=2)
    count: CountSetting = Counted.VOICES

    @property
    def count_of(self) -> Count:
        return count_negatives

    @property
    def looks_at_negatives(self) -> bool:
        return self.watch == "negative_share"

    @property
    def required_negatives(self) -> int:
        return self.min_negative

    def severity_of(self, observation: Observation) -> float:
        value = observation.value or 0.0
        return value if self.watch == "negative_share" else -value

    @property
    def worsening_sum(self) -> SumField:
        return watched_sum(self.watch)

    def in_words(self, alert: Alert) -> str:
        if alert.usual is None:
            return super().in_words(alert)
        seen = mood_in_words(self.watch, alert, self.window)
        return f"{seen} where {watched_text(self.watch, alert.usual)} is usual"

    def compare(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        compare = self._compare_share if self.watch == "negative_share" else self._compare_mean
        return compare(subject, window, usual)

    def _compare_share(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        """The number of negatives, compared with a beta-binomial distribution (`statistics.share_tail`)."""
        total, usual_share = window.total, usual.negative_share
        share = watched_value(self.watch, total)
        chance = share_tail(total.negative, total.n, usual_share, usual.correlation)
        return Observation(
            n=total.n,
            value=share,
            threshold=min(1.0, usual_share * self.factor),
            breached=share >= usual_share * self.factor and chance <= self.allowed_chance(window),
            calm=share <= usual_share * self.resolve_factor,
            uncertainty=f"{self.chance_text(chance, window)}; {share_confidence(total)}",
            summary=(
                f"{subject}: {total.negative} of {total.n} {self.noun} negative in "
                f"{duration_text(window.length)} ({share:.0%}, usually {usual_share:.0%})"
            ),
            usual=usual_share,
            chance_per_year=self.chance_per_year(chance, window),
        )

    def _compare_mean(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        """The mean score, compared with a normal distribution (`statistics.mean_tail`)."""
        total, mean = window.total, watched_value(self.watch, window.total)
        usual_mean, deviation, variance = usual.scores
        chance = mean_tail(mean, total.n, usual_mean, deviation, variance)
        fires_at = usual_mean - self.min_shift
        return Observation(
            n=total.n,
            value=mean,
            threshold=fires_at,
            breached=mean <= fires_at and chance <= self.allowed_chance(window),
            calm=mean >= usual_mean - self.min_shift * self.resolve_factor / self.factor,
            uncertainty=f"{self.chance_text(chance, window)}; {mean_confidence(total)}",
            summary=(
                f"{subject}: mean score {mean:.2f} in {duration_text(window.length)}, "
                f"usually {usual_mean:.2f} ({total.n} {self.noun})"
            ),
            usual=usual_mean,
            chance_per_year=self.chance_per_year(chance, window),
        )

"""Slow drift: the mood gets worse little by little, and no single day stands out."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from alerts.baselines.baseline import Count, count_negatives
from alerts.baselines.expectation import Expectation
from alerts.baselines.statistics import cusum, cusum_limit
from alerts.detectors.base import (
    CountSetting,
    Duration,
    Observation,
    SubjectWindow,
    no_data,
    watched_name,
    watched_text,
    watched_value,
)
from alerts.detectors.baseline_rule import BaselineRule
from alerts.wording import duration_text
from stream.domain.alerts import Alert
from stream.domain.documents import EPOCH
from stream.domain.sums import Aggregate, Counted

# What a CUSUM subtracts at each step: half of the shift, in standard deviations, that it detects best.
SLACK = 0.5
MONTH = timedelta(days=30)
# The sums of every step are read and added up again and again.
SHORTEST_STEP, SECOND, MOST_STEPS = timedelta(minutes=1), timedelta(seconds=1), 10_000


class SlowDriftRule(BaselineRule):
    """Fires when the mood worsens in small steps: none of them stands out, but they add up.

    The window is cut into steps of length `step`.  Each is compared with what is usual, and a CUSUM adds up
    by how much they are worse.  Steps with fewer than `min_documents` documents are left out.
    """

    stands_alone: ClassVar[bool] = True
    # `min_documents` is for a step, which is long.
    entity_defaults: ClassVar[Mapping[str, Any]] = {}

    type: Literal["slow_drift"]
    watch: Literal["negative_share", "mean_score"] = "mean_score"
    window: Duration = timedelta(days=7)
    step: Duration = timedelta(hours=12)
    min_documents: int = Field(10, ge=2)
    min_baseline: Duration = timedelta(days=7)
    count: CountSetting = Counted.VOICES

    @property
    def count_of(self) -> Count:
        return count_negatives

    @property
    def looks_at_negatives(self) -> bool:
        return self.watch == "negative_share"

    def in_words(self, alert: Alert) -> str:
        return f"worse little by little, over days: {super().in_words(alert)}"

    @property
    def step_length(self) -> timedelta:
        return self.step

    @property
    def can_fire_late(self) -> bool:
        return False

    def compare(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        steps = [step for step in window.steps if step.n >= self.min_documents]
        if not steps:
            reason = f"{subject}: no step of {duration_text(self.step)} has {self.min_documents} {self.noun}"
            return no_data(self.factor, window.total.n, reason)
        usual_value, excesses = self._excesses(steps, usual)
        slack = self._slack(usual)
        shift, first = cusum(excesses, slack)
        limit = self._limit(slack, window.share)
        drift = sum(steps[min(first, len(steps) - 1) :], Aggregate(EPOCH, "", ""))
        since = steps[min(first, len(steps) - 1)].start
        value = watched_text(self.watch, watched_value(self.watch, drift))
        return Observation(
            n=drift.n,
            value=shift,
            threshold=limit,
            breached=shift > limit,
            calm=shift <= limit / 2,
            uncertainty=(
                f"cumulative shift (CUSUM) of {shift:.1f} standard deviations, fires above {limit:.1f}"
            ),
            summary=(
                f"{subject}: {watched_name(self.watch)} {value} since {since:%Y-%m-%d %H:%M} UTC, "
                f"usually {watched_text(self.watch, usual_value)} ({drift.n} {self.noun})"
            ),
            usual=usual_value,
        )

    def _slack(self, usual: Expectation) -> float:
        """The CUSUM's slack, widened by the baseline's own estimation error, which is in every term."""
        data = max(timedelta(seconds=usual.baseline.seconds), self.step)
        return float(SLACK + (self.step / data) ** 0.5)

    def _limit(self, slack: float, share: float) -> float:
        """The CUSUM's limit: chance alone passes it as often as the budget of false pages allows."""
        return cusum_limit(slack, MONTH / self.step / (self.false_pages_per_month * share))

    def _excesses(self, steps: Sequence[Aggregate], usual: Expectation) -> tuple[float, list[float]]:
        """The usual value, and by how many standard deviations each step is worse."""
        if self.watch == "mean_score":
            mean, deviation, variance = usual.scores
            return mean, [
                (mean - watched_value(self.watch, step)) / (deviation**2 / step.n + variance) ** 0.5
                for step in steps
            ]
        share, correlation = usual.negative_share, usual.correlation
        spread = share * (1 - share)
        return share, [
            (watched_value(self.watch, step) - share)
            / (spread * (1 + (step.n - 1) * correlation) / step.n) ** 0.5
            for step in steps
        ]

    @model_validator(mode="after")
    def _window_holds_steps(self) -> "SlowDriftRule":
        if self.step < SHORTEST_STEP or self.step % SECOND or self.window < 2 * self.step:
            raise ValueError("step must be whole seconds, 1m or more, and window must hold two steps or more")
        if self.window / self.step > MOST_STEPS:
            raise ValueError(f"window must hold at most {MOST_STEPS:,} steps")
        return self

"""Threshold: the mean score or the share of negatives passes a fixed value."""

from typing import Literal

from pydantic import Field, model_validator

from alerts.detectors.base import (
    Observation,
    Rule,
    SubjectWindow,
    SumField,
    mood_in_words,
    no_data,
    watched_name,
    watched_sum,
    watched_text,
    watched_value,
)
from alerts.wording import mean_confidence, number_text, share_confidence
from stream.domain.alerts import Alert


class ThresholdRule(Rule):
    """Fires while the mean score is below, or the share of negatives above, a threshold."""

    type: Literal["threshold"]
    watch: Literal["mean_score", "negative_share"]
    threshold: float = Field(ge=-1, le=1)
    resolve_at: float | None = Field(None, ge=-1, le=1)

    @property
    def looks_at_negatives(self) -> bool:
        return self.watch == "negative_share"

    @property
    def worsening_sum(self) -> SumField:
        return watched_sum(self.watch)

    def in_words(self, alert: Alert) -> str:
        return f"{mood_in_words(self.watch, alert, self.window)}; the rule fires {self._limit_text()}"

    @property
    def direction(self) -> int:
        """+1 where high values are bad, -1 where low ones are."""
        return 1 if self.watch == "negative_share" else -1

    @property
    def clear_at(self) -> float:
        """The value at which the alert is over."""
        return self.threshold if self.resolve_at is None else self.resolve_at

    def observe(self, subject: str, window: SubjectWindow) -> Observation:
        total = window.total
        if not window.feed_is_live:
            return no_data(self.threshold, total.n, "no documents on any topic")
        value = watched_value(self.watch, total)
        if total.n < self.min_documents:
            return Observation(
                n=total.n,
                value=value,
                threshold=self.threshold,
                breached=False,
                calm=True,
                uncertainty=f"the rule needs {self.min_documents}",
                summary=f"{subject}: {number_text(total.n, self.count)}",
            )
        return Observation(
            n=total.n,
            value=value,
            threshold=self.threshold,
            breached=(value - self.threshold) * self.direction > 0,
            calm=(value - self.clear_at) * self.direction <= 0,
            uncertainty=mean_confidence(total) if self.watch == "mean_score" else share_confidence(total),
            summary=(
                f"{subject}: {watched_name(self.watch)} {watched_text(self.watch, value)}, "
                f"fires {self._limit_text()} ({number_text(total.n, self.count)})"
            ),
        )

    def _limit_text(self) -> str:
        if self.watch == "mean_score":
            return f"below {self.threshold:g}"
        return f"above {100 * self.threshold:g}%"

    @model_validator(mode="after")
    def _resolves_on_the_calm_side(self) -> "ThresholdRule":
        if (self.clear_at - self.threshold) * self.direction > 0:
            raise ValueError("resolve_at must lie on the calm side of threshold")
        return self

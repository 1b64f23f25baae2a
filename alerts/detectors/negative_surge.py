"""Negative surge: far more negative documents than usual."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from alerts.baselines.baseline import Count, count_negatives
from alerts.baselines.expectation import Expectation
from alerts.detectors.base import CountSetting, Observation, SubjectWindow
from alerts.detectors.baseline_rule import BaselineRule
from alerts.detectors.count_comparison import compare_count, count_in_words
from alerts.wording import duration_text, ratio_text
from stream.domain.alerts import Alert
from stream.domain.sums import Counted


class NegativeSurgeRule(BaselineRule):
    """Fires when negative documents arrive at `factor` times their usual rate or more, and that is improbable
    by chance."""

    limited_sums = ("n", "negative")
    entity_defaults: ClassVar[Mapping[str, Any]] = {"min_documents": 5, "min_negative": 5}

    type: Literal["negative_surge"]
    min_negative: int = Field(10, ge=1)
    count: CountSetting = Counted.VOICES

    @property
    def count_of(self) -> Count:
        return count_negatives

    @property
    def required_negatives(self) -> int:
        return self.min_negative

    def in_words(self, alert: Alert) -> str:
        return count_in_words(self, alert, "negative ") or super().in_words(alert)

    def compare(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        total = window.total
        ratio = ratio_text(total.negative, usual.expected(window.start, window.end))
        summary = (
            f"{subject}: {total.negative} negative {self.noun} in {duration_text(window.length)}, {ratio} "
            f"({total.n} {self.noun} in all)"
        )
        return compare_count(self, summary, window, usual)

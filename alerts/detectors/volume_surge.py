"""Volume surge: far more documents than usual, of any sentiment."""

from typing import Literal

from pydantic import Field

from alerts.baselines.expectation import Expectation
from alerts.detectors.base import CountSetting, Observation, SubjectWindow
from alerts.detectors.baseline_rule import BaselineRule
from alerts.detectors.count_comparison import compare_count, count_in_words
from alerts.wording import duration_text, ratio_text
from stream.domain.alerts import Alert
from stream.domain.sums import Counted


class VolumeSurgeRule(BaselineRule):
    """Fires when documents of any sentiment arrive at `factor` times their usual rate or more, and that is
    improbable by chance."""

    limited_sums = ("n",)

    type: Literal["volume_surge"]
    factor: float = Field(3.0, gt=1)
    count: CountSetting = Counted.VOICES

    def in_words(self, alert: Alert) -> str:
        return count_in_words(self, alert) or super().in_words(alert)

    def compare(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        ratio = ratio_text(window.total.n, usual.expected(window.start, window.end))
        summary = f"{subject}: {window.total.n} {self.noun} in {duration_text(window.length)}, {ratio}"
        return compare_count(self, summary, window, usual)

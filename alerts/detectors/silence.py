"""Silence: no documents where some are usual."""

from typing import ClassVar, Literal

from pydantic import Field

from alerts.baselines.expectation import Expectation
from alerts.baselines.statistics import count_tail
from alerts.detectors.base import Names, Observation, SubjectWindow, calm, no_data
from alerts.detectors.baseline_rule import BaselineRule
from alerts.rules.watched_entities import Named
from alerts.wording import amount_text, duration_text, span_text, usual_text
from stream.domain.alerts import Alert
from stream.domain.sums import TimeRange


class SilenceRule(BaselineRule):
    """Fires when there is no document where `min_expected` or more are usual, and that is improbable by
    chance.

    With a `calendar`, documents are expected in its trading hours alone.  While the exchange is closed, no
    alert begins, and one that fires ends only when documents arrive.
    """

    has_evidence: ClassVar[bool] = False
    looks_for_absence: ClassVar[bool] = True
    stands_alone: ClassVar[bool] = True

    type: Literal["silence"]
    topics: Literal["each", "all"] | Names = "all"
    entities: Named = None
    min_expected: float = Field(5.0, gt=0)

    @property
    def can_fire_late(self) -> bool:
        return False

    def observe_without_baseline(self, subject: str, window: SubjectWindow) -> Observation | None:
        n = window.total.n
        if n:
            summary = f"{subject}: {n} {self.noun} in the last {duration_text(window.length)}"
            return calm(self.min_expected, n, f"{self.noun} are arriving", summary)
        if window.trading is not None and not window.trading:
            return no_data(self.min_expected, n, f"{subject}: {self.calendar} did not trade in the window")
        return None

    def compare_past(self, subject: str, past: SubjectWindow, usual: Expectation) -> Observation | None:
        """An outage of days is not regular: the feed was working before and after a silence that is."""
        if past.total.n or not past.feed_is_live:
            return None
        return super().compare_past(subject, past, usual)

    def in_words(self, alert: Alert) -> str:
        if alert.usual is None:
            return super().in_words(alert)
        return f"no {self.noun} in {span_text(self.window)} where {usual_text(alert.usual)}"

    def compare(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        times = [TimeRange(window.start, window.end)] if window.trading is None else window.trading
        expected = sum(usual.expected(*time) for time in times)
        of_trading = "" if window.trading is None else f" in the trading hours of {self.calendar}"
        chance = 1 - count_tail(1, expected, usual.variation)
        return Observation(
            n=window.total.n,
            value=expected,
            threshold=self.min_expected,
            breached=expected >= self.min_expected and chance <= self.allowed_chance(window),
            calm=False,
            uncertainty=self.chance_text(chance, window),
            summary=(
                f"{subject}: no {self.noun} in the last {duration_text(window.length)}, "
                f"usually {amount_text(expected)}{of_trading}"
            ),
            usual=expected,
            chance_per_year=self.chance_per_year(chance, window),
        )

"""The base of the rule types that compare the window with what is usual."""

from abc import abstractmethod
from datetime import timedelta

from pydantic import Field, model_validator

from alerts.baseline import Count, count_documents
from alerts.detectors.base import Duration, Observation, Rule, TopicWindow, calm, no_data
from alerts.expectation import BaselineSpec, Expectation
from alerts.statistics import chance_allowed
from alerts.wording import chance_text, duration_text


class BaselineRule(Rule):
    """Compares the window with what is usual at its hours of the week.

    `false_pages_per_month` is how often all the rule's topics together may page by chance alone; it decides
    how improbable a window must be.  The baseline ends where the window begins and leaves out the rule's own
    past alerts; at least `min_baseline` of it must have data.
    """

    baseline: Duration = timedelta(days=28)
    min_baseline: Duration = timedelta(hours=1)
    false_pages_per_month: float = Field(0.25, gt=0, le=1000)
    factor: float = Field(2.0, gt=1)
    resolve_factor: float = Field(1.5, gt=0)

    @abstractmethod
    def compare(self, topic: str, window: TopicWindow, usual: Expectation) -> Observation:
        """Compare the window with what is usual.  Pure."""

    @property
    def count(self) -> Count:
        """Which documents the rule counts."""
        return count_documents

    @property
    def required_negatives(self) -> int:
        """With fewer negative documents than this there is nothing to report."""
        return 0

    @property
    def baseline_spec(self) -> BaselineSpec:
        return BaselineSpec(self.baseline, self.step_length or self.window, self.count)

    @property
    def false_page_budget(self) -> float:
        return self.false_pages_per_month

    def observe(self, topic: str, window: TopicWindow) -> Observation:
        observation = self.observe_without_baseline(topic, window)
        return observation if observation is not None else self._observe_with_baseline(topic, window)

    def observe_without_baseline(self, topic: str, window: TopicWindow) -> Observation | None:
        """What the window says without knowing what is usual; None if the baseline must decide."""
        total = window.total
        if not window.feed_is_live:
            return no_data(self.factor, total.n, "no documents on any topic")
        if total.n < self.min_documents or total.negative < self.required_negatives:
            summary = (
                f"{topic}: {total.negative} of {total.n} documents negative in {duration_text(window.length)}"
            )
            return calm(self.factor, total.n, "too few documents to compare", summary)
        return None

    def _observe_with_baseline(self, topic: str, window: TopicWindow) -> Observation:
        usual = window.expectation() if window.expectation else None
        seconds = usual.baseline.seconds if usual else 0.0
        if usual is None or seconds < self.min_baseline.total_seconds():
            length, needed = duration_text(timedelta(seconds=seconds)), duration_text(self.min_baseline)
            return no_data(
                self.factor,
                window.total.n,
                f"the baseline has {length} of data, the rule needs {needed}",
            )
        return self.compare(topic, window, usual)

    def allowed_chance(self, window: TopicWindow) -> float:
        """How improbable a window must be to fire: a probability for a single window."""
        return chance_allowed(self.false_pages_per_month, self.window.total_seconds(), window.topic_count)

    def chance_text(self, chance: float, window: TopicWindow) -> str:
        """A probability for a single window in the words that operators read."""
        return chance_text(chance, self.allowed_chance(window), self.window, window.topic_count)

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> "BaselineRule":
        if self.resolve_factor > self.factor:
            raise ValueError("resolve_factor must not be above factor")
        if self.baseline <= self.window:
            raise ValueError("baseline must be longer than window")
        return self

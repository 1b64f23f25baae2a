"""The base of the rule types that compare the window with what is usual."""

import difflib
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from operator import itemgetter
from typing import Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from alerts.baselines.baseline import Count, count_documents, count_negatives
from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.baselines.statistics import chance_allowed, chances_per_year
from alerts.detectors.base import ALL_TOPICS, Duration, Observation, Rule, SubjectWindow, calm, no_data
from alerts.schedules.calendar_names import CALENDAR_NAMES
from alerts.wording import chance_text, duration_text
from stream.domain.sums import Aggregate

DAY = timedelta(days=1)
# A burst that came on this many other days recurs; one day may be chance, or the event itself.
RECURRENCES = 2
# A window of another day is similar if it is improbable by chance and well above the usual, even if that is
# not enough to page.
SIMILAR_CHANCE, LEAST_FACTOR = 1e-3, 1.2


class BaselineRule(Rule):
    """Compares the window with what is usual at its hours of the week.

    `timezone` names the time zone of the hours of the week (without it the setting alerts.time_zone).
    `false_pages_per_month` is how often all the rule's topics, or entities, together may page by chance
    alone; it decides how improbable a window must be.  The baseline ends where the window begins and leaves
    out the rule's own alerts; at least `min_baseline` of it must have data: for entities, of the stream.

    A burst that recurs is usual too, before the baseline has learned it: a window does not breach if a
    similar one came at about this time on two other days (see `Expectation.on_other_days`).

    `calendar` is the name of an exchange's trading calendar.  A window on days of trading is then compared
    with such days alone, and one on closed days, weekends and holidays, with those.  One that has both is
    compared with both.
    """

    baseline: Duration = timedelta(days=28)
    min_baseline: Duration = timedelta(hours=1)
    false_pages_per_month: float = Field(0.25, gt=0, le=1000)
    factor: float = Field(2.0, gt=1)
    resolve_factor: float = Field(1.5, gt=0)
    timezone: str | None = Field(None, max_length=100)
    calendar: str | None = Field(None, max_length=100)

    @abstractmethod
    def compare(self, subject: str, window: SubjectWindow, usual: Expectation) -> Observation:
        """Compare the window with what is usual.  Pure."""

    @property
    def count_of(self) -> Count:
        """Which of the documents the rule counts."""
        return count_documents

    @property
    def looks_at_negatives(self) -> bool:
        return self.count_of is count_negatives

    @property
    def baseline_spec(self) -> BaselineSpec:
        length = self.step_length or self.window
        zone = ZoneInfo(self.timezone or "UTC")
        return BaselineSpec(
            self.baseline, length, self.count_of, zone, self.min_baseline, calendar=self.calendar
        )

    @property
    def compares_labels(self) -> bool:
        """The number of all documents is the same for every model."""
        return self.count_of is not count_documents or self.topics != ALL_TOPICS or bool(self.events)

    @property
    def false_page_budget(self) -> float:
        return self.false_pages_per_month

    def observe(self, subject: str, window: SubjectWindow) -> Observation:
        observation = self.observe_without_baseline(subject, window)
        return observation if observation is not None else self._observe_with_baseline(subject, window)

    def observe_without_baseline(self, subject: str, window: SubjectWindow) -> Observation | None:
        """What the window says without knowing what is usual; None if the baseline must decide."""
        total = window.total
        if not window.feed_is_live:
            return no_data(self.factor, total.n, "no documents on any topic")
        if total.n < self.min_documents or total.negative < self.required_negatives:
            length = duration_text(window.length)
            summary = f"{subject}: {total.negative} of {total.n} {self.noun} negative in {length}"
            return calm(self.factor, total.n, f"too few {self.noun} to compare", summary)
        return None

    def _observe_with_baseline(self, subject: str, window: SubjectWindow) -> Observation:
        if window.of_other_model:
            cause = "has no stories" if self.min_novelty else "was labelled by another model"
            reason = f"{subject}: some of the window {cause}, so it is not compared"
            return no_data(self.factor, window.total.n, reason)
        usual = window.expectation() if window.expectation else None
        seconds = usual.baseline.seconds if usual else 0.0
        if usual is None or seconds < self.min_baseline.total_seconds():
            length, needed = duration_text(timedelta(seconds=seconds)), duration_text(self.min_baseline)
            return no_data(
                self.factor,
                window.total.n,
                f"the baseline has {length} of data, the rule needs {needed}",
            )
        observation = self.compare(subject, window, usual)
        if observation.breached and (burst := self._recurring(subject, window, usual)):
            return replace(observation, breached=self.compare(subject, window, burst).breached)
        return observation

    def firing(self, subject: str, window: SubjectWindow) -> Callable[[Aggregate], bool]:
        usual = window.expectation() if window.expectation else None
        if usual is None:
            return lambda total: False
        compared = [usual, self._recurring(subject, window, usual)]

        def fires(total: Aggregate) -> bool:
            seen = replace(window, total=total)
            return self.observe_without_baseline(subject, seen) is None and all(
                self.compare(subject, seen, each).breached for each in compared if each is not None
            )

        return fires

    def _recurring(self, subject: str, window: SubjectWindow, usual: Expectation) -> Expectation | None:
        """What is usual if bursts at about this time on two other days are; None if there were none.

        The second worst of them counts, so that one bad day does not hide the next.  It does not depend on
        what the window holds.
        """
        if self.window >= DAY:
            return None
        lenient = self._lenient(window)
        # The history may have cells that are longer than the window.
        past = replace(window, start=min(window.start, window.end - usual.baseline.width))
        levels: list[tuple[float, Aggregate]] = []
        for windows in usual.on_other_days(window.start, self.window):
            similar = [
                (self.severity_of(seen), total)
                for total, working in windows
                if (
                    seen := lenient.compare_past(
                        subject, replace(past, total=total, feed_is_live=working), usual
                    )
                )
                is not None
            ]
            if similar:
                levels.append(max(similar, key=itemgetter(0)))
        if len(levels) < RECURRENCES:
            return None
        _, total = sorted(levels, key=itemgetter(0))[-RECURRENCES]
        return usual.recurring(total)

    def _lenient(self, window: SubjectWindow) -> Self:
        """This rule with the limits for a similar window, which are lower than those for a page."""
        chances = self.false_pages_per_month / self.allowed_chance(window)
        budget = max(self.false_pages_per_month, SIMILAR_CHANCE * chances)
        factor = min(self.factor, max(self.resolve_factor, LEAST_FACTOR))
        return self.model_copy(update={"factor": factor, "false_pages_per_month": budget})

    def compare_past(self, subject: str, past: SubjectWindow, usual: Expectation) -> Observation | None:
        """What the rule saw in a window of another day; None unless that was unusual."""
        observation = self.compare(subject, past, usual)
        return observation if observation.breached else None

    def severity_of(self, observation: Observation) -> float:
        """How bad a breach is: the higher, the worse."""
        return observation.value or 0.0

    def allowed_chance(self, window: SubjectWindow) -> float:
        """How improbable a window must be to fire: a probability for a single window."""
        return chance_allowed(self.false_pages_per_month * window.share, self.window.total_seconds())

    def chance_text(self, chance: float, window: SubjectWindow) -> str:
        """A probability for a single window in the words that operators read."""
        return chance_text(chance, self.allowed_chance(window), self.window, window.share)

    def chance_per_year(self, chance: float, window: SubjectWindow) -> float:
        """The same as a number of times a year, over all that the rule watches."""
        return chance * chances_per_year(self.window.total_seconds()) / window.share

    @field_validator("timezone")
    @classmethod
    def _time_zone_exists(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (OSError, LookupError, ValueError) as error:
                near = difflib.get_close_matches(name, available_timezones(), 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ValueError(
                    f"there is no such time zone{hint}; use a name such as America/New_York"
                ) from error
        return name

    @field_validator("calendar")
    @classmethod
    def _calendar_exists(cls, name: str | None) -> str | None:
        if name is not None and name not in CALENDAR_NAMES:
            near = difflib.get_close_matches(name, CALENDAR_NAMES, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"there is no such trading calendar{hint}; use the code of an exchange: XNYS")
        return name

    @model_validator(mode="after")
    def _window_is_on_days_of_one_type(self) -> "BaselineRule":
        if self.calendar is not None and self.window >= DAY and not self.looks_for_absence:
            raise ValueError(
                "calendar needs a window shorter than 24h: a longer one nearly always has days of trading "
                "and closed ones"
            )
        return self

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> "BaselineRule":
        if self.resolve_factor > self.factor:
            raise ValueError("resolve_factor must not be above factor")
        if self.baseline <= self.window:
            raise ValueError("baseline must be longer than window")
        return self

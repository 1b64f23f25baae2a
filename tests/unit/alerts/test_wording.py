"""What operators read: durations, how often chance alone does something, confidence."""

from datetime import UTC, datetime, timedelta

import pytest

from alerts.baselines.statistics import chance_allowed
from alerts.wording import (
    chance_text,
    duration_text,
    frequency_text,
    mean_confidence,
    ratio_text,
    share_confidence,
)
from stream.domain.sums import Aggregate

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("times_per_year", "text"),
    [
        (0.0, "less than once in a million years"),
        (9e-7, "less than once in a million years"),
        (1e-6, "less than once in a thousand years"),
        (9e-4, "less than once in a thousand years"),
        (1 / 996, "about once in 1,000 years"),
        (1 / 437, "about once in 440 years"),
        (1 / 12.4, "about once in 12 years"),
        (1 / 3, "about once in 3 years"),
        (0.9, "about once a year"),
        (1.2, "about once a year"),
        (2, "about twice a year"),
        (11.6, "about 12 times a year"),
        (12, "about once a month"),
        (100, "about 8 times a month"),
        (365, "about 30 times a month"),
        (365.25, "at least once a day"),
        (1e9, "at least once a day"),
    ],
)
def test_a_frequency_is_said_in_words(times_per_year: float, text: str) -> None:
    assert frequency_text(times_per_year) == text


@pytest.mark.parametrize(("budget", "text"), [(0.25, "about 3 times a year"), (1, "about once a month")])
@pytest.mark.parametrize(("window", "topics"), [(timedelta(minutes=15), 20), (12 * HOUR, 1)])
def test_the_limit_of_a_rule_is_its_budget_of_false_pages_whatever_its_window_and_topics(
    budget: float, text: str, window: timedelta, topics: int
) -> None:
    allowed = chance_allowed(budget / topics, window.total_seconds())
    assert chance_text(allowed, allowed, window, 1 / topics) == (
        f"would happen by chance {text}; the rule's limit is {text}"
    )


def test_a_chance_in_one_window_becomes_times_a_year() -> None:
    # A window of 12 hours: 730.5 windows a year, 4 chances each.
    assert chance_text(1 / 2922, 1 / 100, 12 * HOUR, 1) == (
        "would happen by chance about once a year; the rule's limit is about twice a month"
    )
    assert chance_text(4e-155, 1.9e-7, timedelta(minutes=15), 1 / 9).startswith(
        "would happen by chance less than once in a million years; "
    )


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(seconds=40), "40 s"),
        (timedelta(seconds=119), "119 s"),
        (timedelta(minutes=2), "2 min"),
        (timedelta(minutes=119), "119 min"),
        (2 * HOUR, "2 h"),
        (47 * HOUR, "47 h"),
        (48 * HOUR, "2 days"),
        (36 * HOUR * 3, "4.5 days"),
    ],
)
def test_a_duration_has_a_fitting_unit(length: timedelta, text: str) -> None:
    assert duration_text(length) == text


@pytest.mark.parametrize(
    ("observed", "usual", "text"),
    [
        (4, 0.73, "5.5 times the usual 0.7"),
        (20, 0.04, "500 times the usual 0.04"),
        (4000, 1.5, "2,667 times the usual 1.5"),
        (5, 8e-05, "usually less than 0.01"),
    ],
)
def test_a_ratio_names_what_is_usual(observed: float, usual: float, text: str) -> None:
    assert ratio_text(observed, usual) == text


def test_confidence_has_units() -> None:
    window = Aggregate(NOW, "IPO", "news", 4, 0, 1, 3, 0, -27_000, 243_000_000)
    assert share_confidence(window) == "share of negatives between 30% and 95% with 95% confidence"
    assert mean_confidence(window) == "standard error of the mean score 0.225"
    assert mean_confidence(Aggregate(NOW, "IPO", "news", n=1)) == "one document only"

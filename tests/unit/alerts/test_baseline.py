"""The baseline: hours of the week, gaps, variation; and how often a calm stream pages."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest

from alerts.baselines.baseline import Baseline, count_documents, count_negatives, live_ranges, without
from alerts.baselines.expectation import Expectation
from alerts.detectors.base import SubjectWindow
from alerts.detectors.mood_shift import MoodShiftRule
from alerts.detectors.negative_surge import NegativeSurgeRule
from alerts.detectors.slow_drift import SlowDriftRule
from stream.domain.sums import Aggregate

HOUR = timedelta(hours=1)
COMMON = {"topics": "all", "factor": 1.2, "resolve_factor": 1.1, "min_documents": 1, "min_negative": 2}
DAY = 24 * HOUR
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def cell(start: datetime, n: int, negative: int) -> Aggregate:
    score = -9000 * negative
    return Aggregate(start, "", "", n, 0, n - negative, negative, 0, score, 8100_0000 * negative)


def history(counts: list[tuple[int, int]], start: datetime = MONDAY) -> Baseline:
    """Hourly cells of (texts, negatives)."""
    cells = [cell(start + i * HOUR, n, k) for i, (n, k) in enumerate(counts) if n]
    return Baseline(cells, [(start, start + len(counts) * HOUR)], HOUR)


def test_a_silence_longer_than_the_longest_gap_is_left_out() -> None:
    starts = [MONDAY, MONDAY + HOUR, MONDAY + 10 * HOUR]
    end = MONDAY + 11 * HOUR
    assert live_ranges(starts, HOUR, end, 2 * HOUR) == [
        (MONDAY, MONDAY + 2 * HOUR),
        (MONDAY + 10 * HOUR, end),
    ]
    assert live_ranges(starts, HOUR, end, 12 * HOUR) == [(MONDAY, end)]
    assert live_ranges([], HOUR, end, HOUR) == []


def test_excluded_ranges_are_cut_out() -> None:
    whole = (MONDAY, MONDAY + 10 * HOUR)
    cut = (MONDAY + 2 * HOUR, MONDAY + 3 * HOUR)
    assert without([whole], [cut]) == [(MONDAY, cut[0]), (cut[1], whole[1])]
    assert without([whole], [(MONDAY - HOUR, MONDAY + 20 * HOUR)]) == []
    assert without([whole], [(MONDAY - HOUR, MONDAY)]) == [whole]


def test_with_much_data_every_hour_of_the_week_has_its_own_rate() -> None:
    week = [(1000, 0) if 9 <= hour % 24 < 17 and hour < 120 else (10, 0) for hour in range(168)]
    usual = history(week * 4)
    rates = usual.rates(count_documents)
    open_hour, night = MONDAY + 4 * 7 * DAY + 10 * HOUR, MONDAY + 4 * 7 * DAY + 3 * HOUR
    assert usual.expected(rates, open_hour, open_hour + HOUR) == pytest.approx(1000, rel=0.05)
    assert usual.expected(rates, night, night + HOUR) == pytest.approx(10, rel=0.2)
    assert usual.expected(rates, open_hour, open_hour + 15 * timedelta(minutes=1)) == pytest.approx(
        250, rel=0.05
    )


def test_with_little_data_every_hour_has_the_overall_rate() -> None:
    usual = history([(1, 0)] * 6)
    assert usual.expected(usual.rates(count_documents), MONDAY + DAY, MONDAY + DAY + HOUR) == pytest.approx(
        1.1, abs=0.2
    )


def test_a_window_that_spans_two_hours_expects_a_part_of_each() -> None:
    usual = history([(600, 0) if hour % 24 == 0 else (60, 0) for hour in range(168 * 4)])
    rates = usual.rates(count_documents)
    half = timedelta(minutes=30)
    both = usual.expected(rates, MONDAY + half, MONDAY + HOUR + half)
    assert both == pytest.approx(300 + 30, rel=0.1)


def test_the_variation_of_a_stream_is_estimated() -> None:
    draw = np.random.default_rng(3)
    calm = history([(int(k) + 1, int(k)) for k in draw.poisson(20, 672)])
    level = np.repeat(draw.gamma(4, 1 / 4, 168), 4)
    varying = history([(int(k) + 1, int(k)) for k in draw.poisson(20 * level)])
    window = 4 * HOUR
    assert calm.variation(count_negatives, calm.rates(count_negatives), window) < 0.02
    assert varying.variation(count_negatives, varying.rates(count_negatives), window) == pytest.approx(
        0.25, abs=0.12
    )


def test_the_correlation_within_a_window_is_estimated() -> None:
    draw = np.random.default_rng(4)
    correlated = [(40, int(draw.binomial(40, draw.beta(2, 8)))) for _ in range(672)]
    independent = [(40, int(draw.binomial(40, 0.2))) for _ in range(672)]
    assert history(correlated).correlation(HOUR) == pytest.approx(1 / 11, abs=0.02)
    assert history(independent).correlation(HOUR) < 0.005


def _same(usual: Expectation) -> Expectation:
    return usual


def calm_year(rate: float, share: float, seed: int) -> list[tuple[int, int]]:
    """Hourly (texts, negatives) of a year without events: busy days, quiet nights and weekends, and rates
    that vary from day to day."""
    draw = np.random.default_rng(seed)
    hours = np.arange(365 * 24)
    season = (1 + 0.8 * np.sin((hours % 24 - 8) / 24 * 2 * np.pi)) * np.where(hours // 24 % 7 < 5, 1.2, 0.4)
    varying = np.repeat(draw.gamma(25, 1 / 25, 365), 24)
    n = draw.poisson(rate * season * varying)
    mood = np.repeat(draw.beta(share * 60, (1 - share) * 60, 365 * 2), 12)
    return [(int(a), int(b)) for a, b in zip(n, draw.binomial(n, mood), strict=True)]


def pages(rules: Sequence[NegativeSurgeRule | MoodShiftRule], year: list[tuple[int, int]]) -> list[int]:
    """How many episodes each rule would have had in the last eleven months, a day's calm between two.

    The rules differ in their budgets alone.
    """
    window = rules[0].window
    hours = window // HOUR
    found, quiet_until = [0] * len(rules), [0] * len(rules)
    usual = None
    for at in range(28 * 24, len(year)):
        if at % 24 == 0 or usual is None:
            past = at - 28 * 24
            usual = Expectation(
                rules[0].baseline_spec, history(year[past : at - hours], MONDAY + past * HOUR)
            )
        n, k = np.sum(year[at - hours : at], axis=0)
        end = MONDAY + at * HOUR
        seen = SubjectWindow(
            total=cell(end - window, int(n), int(k)),
            start=end - window,
            end=end,
            feed_is_live=True,
            expectation=partial(_same, usual),
        )
        for i, rule in enumerate(rules):
            if rule.observe("all", seen).breached:
                found[i] += at >= quiet_until[i]
                quiet_until[i] = at + 24
    return found


@pytest.mark.parametrize("rate", [2.0, 60.0])
@pytest.mark.parametrize(
    "rule",
    [
        NegativeSurgeRule.model_validate(
            {"name": "surge", "type": "negative_surge", "window": "3h"} | COMMON
        ),
        MoodShiftRule.model_validate({"name": "mood", "type": "mood_shift", "window": "12h"} | COMMON),
    ],
    ids=["surge", "mood"],
)
def test_a_calm_year_pages_no_more_often_than_the_budget(
    rule: NegativeSurgeRule | MoodShiftRule, rate: float
) -> None:
    budgets = (0.25, 1.0, 4.0)
    rules = [rule.model_copy(update={"false_pages_per_month": budget}) for budget in budgets]
    found = pages(rules, calm_year(rate, 0.2, seed=7))
    # Eleven months; twice the budget is beyond chance for a count of this size, one page is not.
    assert all(n <= max(2, 2 * 11 * budget) for n, budget in zip(found, budgets, strict=True)), found
    assert found[-1] > 0, "a generous budget is used"


@pytest.mark.parametrize("watch", ["negative_share", "mean_score"])
def test_a_slow_drift_fires_within_its_budget_in_a_calm_year_and_soon_in_a_bad_one(
    watch: str,
) -> None:
    budgets = (0.25, 1.0, 4.0)
    rules = [
        SlowDriftRule.model_validate(
            {
                "name": "drift",
                "type": "slow_drift",
                "watch": watch,
                "topics": "all",
                "false_pages_per_month": budget,
            }
        )
        for budget in budgets
    ]
    calm = calm_year(20.0, 0.2, seed=3)
    found = [len(first_drifts(rule, calm)) for rule in rules]
    assert all(n <= max(2, 2 * 11 * budget) for n, budget in zip(found, budgets, strict=True)), found
    # From day 200 on three in ten are negative instead of two.
    worse = calm[: 200 * 24] + calm_year(20.0, 0.3, seed=4)[200 * 24 : 215 * 24]
    noticed = [day for day in first_drifts(rules[0], worse) if day >= 200]
    assert noticed and noticed[0] < 207


def first_drifts(rule: SlowDriftRule, year: list[tuple[int, int]]) -> list[float]:
    """The days on which episodes begin; one ends where the rule says that it is calm."""
    hours, back = rule.window // HOUR, (rule.baseline + rule.window) // HOUR
    step = rule.step // HOUR
    found: list[float] = []
    firing = False
    for at in range(back, len(year), step):
        usual = Expectation(
            rule.baseline_spec, history(year[at - back : at - hours], MONDAY + (at - back) * HOUR)
        )
        steps = [
            cell(MONDAY + i * HOUR, *(int(x) for x in np.sum(year[i : i + step], axis=0)))
            for i in range(at - hours, at, step)
        ]
        end = MONDAY + at * HOUR
        whole = sum(steps[1:], steps[0])
        observation = rule.observe(
            "all",
            SubjectWindow(
                total=whole,
                start=end - rule.window,
                end=end,
                feed_is_live=True,
                expectation=partial(_same, usual),
                steps=steps,
            ),
        )
        if observation.breached and not firing:
            found.append(at / 24)
        firing = (firing or observation.breached) and not observation.calm
    return found

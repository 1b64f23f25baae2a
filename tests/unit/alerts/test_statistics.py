import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.baselines.statistics import (
    chance_allowed,
    count_tail,
    cusum,
    cusum_limit,
    mean_tail,
    share_tail,
    standard_error,
    wilson_interval,
)


def test_a_cusum_adds_up_what_exceeds_its_slack_and_forgets_what_was_before() -> None:
    assert cusum([2, -5, 1, 1, 1], 0.5) == (1.5, 2)
    assert cusum([-1, -1], 0.5) == (0.0, 2)
    assert cusum([], 0.5) == (0.0, 0)


@pytest.mark.parametrize(("slack", "length"), [(0.5, 100), (0.5, 1000), (0.6, 300), (0.25, 500)])
def test_a_cusum_of_noise_passes_its_limit_as_often_as_requested(slack: float, length: float) -> None:
    draw, limit, total, passed = np.random.default_rng(1), cusum_limit(slack, length), 0.0, 0
    steps = 300 * int(length)
    for value in draw.standard_normal(steps):
        total = max(0.0, total + value - slack)
        if total > limit:
            passed, total = passed + 1, 0.0
    assert steps / passed == pytest.approx(length, rel=0.2)


def negative_binomial(count: int, mean: float, variation: float) -> float:
    """The tail by direct summation of the other side, in the textbook form."""
    shape, p = 1 / variation, 1 / (1 + variation * mean)
    return 1 - sum(
        math.exp(math.lgamma(shape + k) - math.lgamma(shape) - math.lgamma(k + 1)) * p**shape * (1 - p) ** k
        for k in range(count)
    )


@pytest.mark.parametrize(
    ("count", "mean", "variation"), [(1, 0.1, 0.1), (5, 0.4, 2.0), (30, 12.0, 0.05), (3, 3.0, 0.01), (40, 33.0, 1.0)]
)  # fmt: skip
def test_the_tail_of_a_count_is_the_negative_binomials(count: int, mean: float, variation: float) -> None:
    assert count_tail(count, mean, variation) == pytest.approx(
        negative_binomial(count, mean, variation), abs=1e-9
    )


def test_with_a_known_and_steady_rate_it_is_poisson() -> None:
    poisson = 1 - sum(math.exp(-2) * 2**k / math.factorial(k) for k in range(8))
    assert count_tail(8, 2.0, 0.0) == pytest.approx(poisson, rel=1e-6)


def test_tiny_probabilities_keep_their_size() -> None:
    assert 0 < count_tail(100, 0.17, 0.1) < 1e-60
    assert count_tail(0, 0.17, 0.1) == 1.0


def test_the_tail_of_a_share_is_binomial_without_correlation() -> None:
    exact = sum(math.comb(7, k) * 0.18**k * 0.82 ** (7 - k) for k in (6, 7))
    assert share_tail(6, 7, 0.18, 0.0) == pytest.approx(exact, rel=1e-4)


def test_the_tail_of_a_share_is_beta_binomial_with_correlation() -> None:
    # With a = b = 1 every number of hits is as likely: concentration 2, correlation 1/3.
    for hits in range(1, 10):
        assert share_tail(hits, 9, 0.5, 1 / 3) == pytest.approx((10 - hits) / 10)


@given(st.integers(1, 200), st.floats(0.01, 100), st.floats(0, 3))
def test_more_events_are_less_likely(count: int, mean: float, variation: float) -> None:
    here, more = count_tail(count, mean, variation), count_tail(count + 1, mean, variation)
    assert 0 <= more <= here <= 1


@given(st.integers(1, 80), st.integers(0, 80), st.floats(0.01, 0.99), st.floats(0, 0.5))
def test_more_hits_are_less_likely(hits: int, others: int, share: float, correlation: float) -> None:
    n = hits + others
    here = share_tail(hits, n, share, correlation)
    assert 0 <= here <= 1
    assert hits == n or share_tail(hits + 1, n, share, correlation) <= here + 1e-12


def test_a_mean_is_compared_with_the_usual_mean() -> None:
    assert mean_tail(-0.1, 100, 0.0, 0.5, 0.0) == pytest.approx(0.02275, abs=1e-4)  # two standard errors
    assert mean_tail(-0.1, 100, 0.0, 0.5, 0.0025) > mean_tail(-0.1, 100, 0.0, 0.5, 0.0)
    assert mean_tail(0.2, 100, 0.0, 0.5, 0.0) > 0.99


def test_a_smaller_budget_and_shorter_windows_lower_the_allowed_chance() -> None:
    allowed = chance_allowed(1, 3600)
    assert chance_allowed(0.5, 3600) == pytest.approx(allowed / 2)
    assert chance_allowed(1, 900) == pytest.approx(allowed / 4)


def test_the_wilson_interval_of_small_samples() -> None:
    low, high = wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.490, abs=0.001), pytest.approx(0.943, abs=0.001))
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 20)[0] == 0.0


def test_the_standard_error_is_that_of_the_sample() -> None:
    values = [0.1, -0.4, 0.9, 0.3]
    mean = sum(values) / 4
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / 3 / 4)
    assert standard_error(4, sum(values), sum(v * v for v in values)) == pytest.approx(spread)
    assert standard_error(1, 0.5, 0.25) == math.inf

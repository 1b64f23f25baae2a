import math
import random

import pytest

from alerts.statistics import standard_error, surge_probability, wilson_interval


def exact_tail(count: int, exposure: float, base: int, base_exposure: float) -> float:
    """The same probability by direct summation of the other side, in the textbook form."""
    shape, p = base + 0.5, base_exposure / (base_exposure + exposure)
    below = sum(
        math.exp(math.lgamma(shape + k) - math.lgamma(shape) - math.lgamma(k + 1)) * p**shape * (1 - p) ** k
        for k in range(count)
    )
    return 1 - below


@pytest.mark.parametrize(
    ("count", "exposure", "base", "base_exposure"),
    [(1, 1, 10, 100), (5, 900, 20, 86_400), (30, 60, 0, 600), (3, 1, 300, 100), (40, 10, 200, 60)],
)
def test_the_tail_is_the_negative_binomials(
    count: int, exposure: float, base: int, base_exposure: float
) -> None:
    expected = exact_tail(count, exposure, base, base_exposure)
    assert surge_probability(count, exposure, base, base_exposure) == pytest.approx(expected, abs=1e-9)


def test_with_a_long_baseline_it_comes_to_poisson() -> None:
    poisson = 1 - sum(math.exp(-2) * 2**k / math.factorial(k) for k in range(8))
    assert surge_probability(8, 1.0, 2_000_000, 1_000_000.0) == pytest.approx(poisson, rel=1e-3)


def test_tiny_probabilities_keep_their_size() -> None:
    assert 0 < surge_probability(100, 60, 10, 3600) < 1e-100
    assert surge_probability(0, 60, 10, 3600) == 1.0


def test_on_a_steady_stream_false_alarms_are_as_rare_as_promised() -> None:
    draw = random.Random(5)

    def events(mean: float) -> int:
        level, count, product = math.exp(-mean), 0, draw.random()
        while product > level:
            count, product = count + 1, product * draw.random()
        return count

    tries, alarms = 20_000, 0
    for _ in range(tries):
        rate = 0.5
        base = sum(events(rate * 10) for _ in range(4))
        alarms += surge_probability(events(rate * 8), 8, base, 40) <= 0.01
    assert alarms / tries <= 0.013


def test_wilson_knows_small_samples() -> None:
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

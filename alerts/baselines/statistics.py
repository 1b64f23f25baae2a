"""Statistics for small counts: pure functions with their sources."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betainc, betaln, gammaln

# A window that slides is looked at again and again, and has as many chances to fire as this many separate
# windows.  Measured on simulated streams: `tests/unit/alerts/test_baseline.py` counts the false pages.
LOOKS = 4.0
MONTH = 30 * 86_400.0
YEAR = 365.25 * 86_400.0


def count_tail(count: int, mean: float, variation: float) -> float:
    """The probability of at least `count` events where `mean` (above 0) are expected.

    `variation` is the squared coefficient of variation of the rate itself: how uncertain it is and how much
    it varies.  The count is then negative binomial with shape 1 / variation and variance
    mean + variation * mean² (Hilbe, Negative Binomial Regression, 2011); at 0 it is Poisson.
    """
    if count <= 0:
        return 1.0
    variation = max(variation, 1e-9)
    return float(betainc(count, 1 / variation, variation * mean / (1 + variation * mean)))


def share_tail(hits: int, n: int, share: float, correlation: float) -> float:
    """The probability of at least `hits` among `n` texts where `share` (0 to 1, exclusive) is usual.

    Texts of one window resemble each other: `correlation` (0 to below 1) is the intra-class correlation of
    the beta-binomial distribution (Skellam 1948); at 0 it is binomial.
    """
    if hits <= 0:
        return 1.0
    concentration = 1 / max(correlation, 1e-9) - 1
    a, b = share * concentration, (1 - share) * concentration
    k = np.arange(hits, n + 1)
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return float(min(1.0, np.exp(ways + betaln(k + a, n - k + b) - betaln(a, b)).sum()))


def mean_tail(mean: float, n: int, usual: float, deviation: float, variation: float) -> float:
    """The probability that `n` scores have a mean of `mean` or lower, where scores usually have the mean
    `usual` and the standard deviation `deviation`.

    `variation` is the variance of the mean from window to window.  The test is the normal approximation of a
    two-sample test (Welch 1947), so it is meant for dozens of scores.
    """
    error = math.sqrt(deviation**2 / max(n, 1) + variation)
    return 0.5 * math.erfc((usual - mean) / (error * math.sqrt(2))) if error > 0 else float(mean >= usual)


def chance_allowed(false_pages_per_month: float, window_seconds: float) -> float:
    """How improbable a window of one topic or entity must be to fire, so that it pages so often by chance
    alone.  A rule's topics, or entities, share its budget (Bonferroni)."""
    return min(0.05, false_pages_per_month / (MONTH / window_seconds * LOOKS))


def chances_per_year(window_seconds: float) -> float:
    """How many independent chances to fire a topic or entity has in a year: the number of windows side by
    side, and LOOKS times as many because they slide.

    A probability for a single window times this is how often chance alone produces such a window.
    """
    return YEAR / window_seconds * LOOKS


def cusum(excesses: Sequence[float], slack: float) -> tuple[float, int]:
    """The one-sided cumulative sum of standardized values (Page 1954), and the index at which its last rise
    from 0 began.  Each value counts less `slack`, and the sum never falls below 0."""
    total, since = 0.0, 0
    for index, value in enumerate(excesses):
        total = max(0.0, total + value - slack)
        if total == 0.0:
            since = index + 1
    return total, since


def cusum_limit(slack: float, length: float) -> float:
    """The limit that a CUSUM of standard normal values passes once in `length` values on average.

    Siegmund's approximation (Sequential Analysis, 1985, equation 2.57), solved by bisection.
    """
    low, high = 0.0, 100.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        reach = 2 * slack * (middle + 1.166)
        run = (math.exp(min(reach, 700.0)) - reach - 1) / (2 * slack**2)
        low, high = (middle, high) if run < length else (low, middle)
    return high


def wilson_interval(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The confidence interval of a share (Wilson 1927); z = 1.96 for 95 %."""
    if n == 0:
        return 0.0, 1.0
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def standard_error(n: int, total: float, squares: float) -> float:
    """The standard error of a mean, from the sum and the sum of squares of `n` values."""
    if n < 2:
        return math.inf
    variance = max(0.0, (squares - total * total / n) / (n - 1))
    return math.sqrt(variance / n)

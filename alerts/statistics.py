"""Statistics for small counts: pure functions with their sources."""

import math


def surge_probability(count: int, exposure: float, base_count: int, base_exposure: float) -> float:
    """The probability of at least `count` events in `exposure`, given the baseline's rate.

    Exposures are lengths of time in the same unit.  The rate is not taken as known: with Jeffreys'
    prior its posterior after `base_count` events in `base_exposure` is Gamma(base_count + 1/2), so
    that the count ahead is negative-binomial (Gelman et al., Bayesian Data Analysis, section 2.6).
    """
    if count <= 0:
        return 1.0
    shape, share = base_count + 0.5, exposure / (exposure + base_exposure)
    mean = shape * exposure / base_exposure

    def log_mass(k: int) -> float:
        ways = math.lgamma(shape + k) - math.lgamma(shape) - math.lgamma(k + 1)
        return ways + shape * math.log1p(-share) + k * math.log(share)

    if count <= mean:
        return max(0.0, 1.0 - sum(math.exp(log_mass(k)) for k in range(count)))
    tail, k, mass = 0.0, count, math.exp(log_mass(count))
    while mass > tail * 1e-15:
        tail += mass
        mass *= (shape + k) / (k + 1) * share
        k += 1
    return min(1.0, tail)


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

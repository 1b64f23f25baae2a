"""What negative and volume surges share: a count far above its usual rate."""

from alerts.detectors.base import Observation, SubjectWindow
from alerts.detectors.baseline_rule import BaselineRule
from alerts.expectation import Expectation
from alerts.statistics import count_tail


def compare_count(rule: BaselineRule, summary: str, window: SubjectWindow, usual: Expectation) -> Observation:
    """Fires where the count is `factor` times the usual one and that is improbable by chance.

    The count is compared with a negative binomial distribution (`statistics.count_tail`).
    """
    count, expected = rule.count_of(window.total), usual.expected(window.start, window.end)
    chance = count_tail(count, expected, usual.variation)
    return Observation(
        n=window.total.n,
        value=count / expected,
        threshold=rule.factor,
        breached=count >= rule.factor * expected and chance <= rule.allowed_chance(window),
        calm=count <= rule.resolve_factor * expected,
        uncertainty=rule.chance_text(chance, window),
        summary=summary,
        usual=expected,
    )

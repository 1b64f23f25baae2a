"""What negative and volume surges share: a count far above its usual rate."""

from alerts.baselines.expectation import Expectation
from alerts.baselines.statistics import count_tail
from alerts.detectors.base import Observation, SubjectWindow
from alerts.detectors.baseline_rule import BaselineRule
from alerts.wording import number_text, span_text, usual_text
from stream.domain.alerts import Alert


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
        chance_per_year=rule.chance_per_year(chance, window),
    )


def count_in_words(rule: BaselineRule, alert: Alert, what: str = "") -> str:
    """Such as "23 negative voices in 15 minutes where 1 is usual"; `what` is the word before the noun.  Empty
    if the alert is of a version that did not keep what is usual."""
    if alert.usual is None:
        return ""
    number = number_text(round(alert.value * alert.usual), alert.counted, what)
    return f"{number} in {span_text(rule.window)} where {usual_text(alert.usual)}"

"""What a rule sees in the numbers it is handed: pure, without a clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from alerts.rules import NegativeSurgeRule, Rule, ThresholdRule
from alerts.statistics import standard_error, surge_probability, wilson_interval
from stream.nouns import SCORE_SCALE, Aggregate


@dataclass(frozen=True, slots=True)
class Watched:
    """The numbers of one topic: the latest window, and the baseline before it.

    Lengths are in seconds of event time.  `base_seconds` is how much of the baseline has data.
    `alive` is whether any topic at all had a document in the window: a silent feed is not a calm one.
    """

    window: Aggregate
    seconds: float
    base: Aggregate
    base_seconds: float
    alive: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """What a rule sees: `breached` asks for an alert, `calm` for its end; neither is possible too.

    Without data both are false and `value` is None.  Too few texts on a feed that is alive are calm.
    """

    n: int
    value: float | None
    threshold: float
    breached: bool
    calm: bool
    uncertainty: str
    summary: str


def covered_seconds(starts: Sequence[datetime], end: datetime, longest_gap: timedelta) -> float:
    """How much of the time from the first of `starts` (in order) to `end` has data.

    Gaps up to `longest_gap` are quiet stretches and count; longer ones are a feed that was away.
    """
    moments = [*starts, end] if starts else []
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    return sum((gap for gap in gaps if gap <= longest_gap), timedelta(0)).total_seconds()


def observe(rule: Rule, topic: str, watched: Watched) -> Observation:
    if isinstance(rule, ThresholdRule):
        return _threshold(rule, topic, watched)
    return _surge(rule, topic, watched)


def _missing(threshold: float, n: int, why: str) -> Observation:
    return Observation(n, None, threshold, breached=False, calm=False, uncertainty=why, summary=why)


def _threshold(rule: ThresholdRule, topic: str, watched: Watched) -> Observation:
    window = watched.window
    value = (window.mean if rule.watch == "mean_score" else window.negative_share) or 0.0
    if not watched.alive:
        return _missing(rule.threshold, window.n, "no documents on any topic")
    if window.n < rule.min_documents:
        why = f"{topic}: {window.n} documents, {rule.min_documents} are needed"
        return Observation(
            window.n, value, rule.threshold, breached=False, calm=True, uncertainty=why, summary=why
        )
    if rule.watch == "mean_score":
        error = standard_error(
            window.n, window.score_sum / SCORE_SCALE, window.score_squares / SCORE_SCALE**2
        )
        what, uncertainty = "mean score", f"standard error {error:.3f}"
    else:
        low, high = wilson_interval(window.negative, window.n)
        what, uncertainty = "share of negatives", f"95% interval {low:.2f} to {high:.2f}"
    side = "above" if rule.direction > 0 else "below"
    return Observation(
        n=window.n,
        value=value,
        threshold=rule.threshold,
        breached=(value - rule.threshold) * rule.direction > 0,
        calm=(value - rule.clear_at) * rule.direction <= 0,
        uncertainty=uncertainty,
        summary=f"{topic}: {what} {value:.2f}, fires {side} {rule.threshold:g} ({window.n} documents)",
    )


def _surge(rule: NegativeSurgeRule, topic: str, watched: Watched) -> Observation:
    window, base = watched.window, watched.base
    if not watched.alive:
        return _missing(rule.factor, window.n, "no documents on any topic")
    if watched.base_seconds < rule.min_baseline.total_seconds():
        why = f"the baseline covers {watched.base_seconds:.0f} s only"
        return _missing(rule.factor, window.n, why)
    # Half an event keeps the ratio finite over a baseline without any.
    expected = (base.negative + 0.5) * watched.seconds / watched.base_seconds
    ratio = window.negative / expected
    chance = surge_probability(window.negative, watched.seconds, base.negative, watched.base_seconds)
    enough = window.negative >= rule.min_negative and window.n >= rule.min_documents
    return Observation(
        n=window.n,
        value=ratio,
        threshold=rule.factor,
        breached=enough and ratio >= rule.factor and chance <= rule.p_value,
        calm=ratio <= rule.resolve_factor or window.negative < rule.min_negative,
        uncertainty=f"chance {chance:.1e} at the baseline's rate",
        summary=(
            f"{topic}: {window.negative} negative texts in {watched.seconds / 60:.0f} min, "
            f"{ratio:.1f} times the usual {expected:.1f} ({window.n} documents)"
        ),
    )

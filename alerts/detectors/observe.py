"""What a rule sees in the numbers it is handed: pure, without a clock."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from alerts.baseline import Baseline, Count, negatives, texts
from alerts.rules import (
    BaselineRule,
    HeartbeatRule,
    MoodShiftRule,
    NegativeSurgeRule,
    Rule,
    SilenceRule,
    SlowDriftRule,
    ThresholdRule,
)
from alerts.statistics import (
    chance_allowed,
    count_tail,
    cusum,
    cusum_limit,
    mean_tail,
    share_tail,
    standard_error,
    wilson_interval,
)
from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.sums import Aggregate

# What a CUSUM lets pass at each step: half of the shift, in standard deviations, that it is best at finding.
DRIFT = 0.5


@dataclass(frozen=True)
class Usual:
    """What a baseline leads a rule to expect: each figure worked out when first asked for, used for many
    windows."""

    rule: BaselineRule
    baseline: Baseline

    @property
    def length(self) -> timedelta:
        """What is held against it: windows of this length."""
        return self.rule.step if isinstance(self.rule, SlowDriftRule) else self.rule.window

    @cached_property
    def rates(self) -> list[float]:
        """Events a second in each hour of the week: negatives, or (volume, silence) all texts."""
        return self.baseline.rates(counted(self.rule))

    @cached_property
    def variation(self) -> float:
        """How restless and how uncertain the rates are together."""
        count, baseline = counted(self.rule), self.baseline
        restless = baseline.variation(count, self.rates, self.length) * baseline.doubt
        # Known from so many events only: the rate's posterior is a gamma distribution of that shape.
        return restless + 1 / (count(baseline.total) + 0.5)

    @cached_property
    def correlation(self) -> float:
        """The same for the share of negatives."""
        alike = self.baseline.correlation(self.length) * self.baseline.doubt
        return min(0.9, alike + 1 / (self.baseline.total.n + 2))

    @cached_property
    def scores(self) -> tuple[float, float, float]:
        """(mean score, its standard deviation, variance of the windows' means and of what is known of it)."""
        mean, deviation, shift = self.baseline.scores(self.length)
        return mean, deviation, shift * self.baseline.doubt + deviation**2 / max(self.baseline.total.n, 1)


@dataclass(frozen=True, slots=True)
class Watched:
    """The numbers of one topic: the window from `start` to `end`, and what is usual.

    `alive` is whether any topic at all had a document in the window: a silent feed is not a calm one.
    `usual` works out what is usual, which is asked for only where it matters; `topics` is how many the rule
    watches one by one.  `steps` are the whole steps of the window, for a slow drift; `heard` says when each
    of a heartbeat's sources last spoke in it.
    """

    window: Aggregate
    start: datetime
    end: datetime
    alive: bool
    usual: Callable[[], Usual] | None = None
    topics: int = 1
    steps: Sequence[Aggregate] = ()
    heard: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def length(self) -> timedelta:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Observation:
    """What a rule sees: `breached` asks for an alert, `calm` for its end; neither is possible too.

    Without data both are false and `value` is None.  Too few texts on a feed that is alive are calm and have
    no value either: an episode keeps its last one.
    """

    n: int
    value: float | None
    threshold: float
    breached: bool
    calm: bool
    uncertainty: str
    summary: str
    usual: float | None = None


def counted(rule: BaselineRule) -> Count:
    """Which texts a rule counts."""
    return negatives if isinstance(rule, NegativeSurgeRule | MoodShiftRule | SlowDriftRule) else texts


def observe(rule: Rule, topic: str, watched: Watched) -> Observation:
    """Look at one topic through one rule."""
    if isinstance(rule, ThresholdRule):
        return _threshold(rule, topic, watched)
    if isinstance(rule, HeartbeatRule):
        return _heartbeat(rule, watched)
    return _plain(rule, topic, watched) or _against_usual(rule, topic, watched)


def _against_usual(rule: BaselineRule, topic: str, watched: Watched) -> Observation:
    usual = watched.usual() if watched.usual else None
    if usual is None or usual.baseline.seconds < rule.min_baseline.total_seconds():
        seconds = usual.baseline.seconds if usual else 0.0
        return _missing(rule.factor, watched.window.n, f"the baseline covers {seconds:.0f} s only")
    if isinstance(rule, SilenceRule):
        return _silence(rule, topic, watched, usual)
    if isinstance(rule, SlowDriftRule):
        return _drift(rule, topic, watched, usual)
    if isinstance(rule, MoodShiftRule):
        return (_share if rule.watch == "negative_share" else _score)(rule, topic, watched, usual)
    return _surge(rule, topic, watched, usual)


def _plain(rule: BaselineRule, topic: str, watched: Watched) -> Observation | None:
    """What can be said without knowing what is usual, if anything."""
    window, length = watched.window, _length(watched.length)
    if isinstance(rule, SilenceRule):
        told = f"{topic}: {window.n} texts in {length}"
        return _calm(window.n, rule.min_expected, "it speaks", told) if window.n else None
    if not watched.alive:
        return _missing(rule.factor, window.n, "no documents on any topic")
    if window.n < rule.min_documents or window.negative < fewest(rule):
        told = f"{topic}: {window.negative} of {window.n} texts negative in {length}"
        return _calm(window.n, rule.factor, "too few to tell", told)
    return None


def fewest(rule: BaselineRule) -> int:
    """Fewer negatives than these are no matter for the rule."""
    return rule.min_negative if isinstance(rule, NegativeSurgeRule | MoodShiftRule) else 0


def _missing(threshold: float, n: int, why: str) -> Observation:
    return Observation(n, None, threshold, breached=False, calm=False, uncertainty=why, summary=why)


def _calm(n: int, threshold: float, why: str, told: str) -> Observation:
    return Observation(n, None, threshold, breached=False, calm=True, uncertainty=why, summary=told)


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
    side = "above" if rule.direction > 0 else "below"
    return Observation(
        n=window.n,
        value=value,
        threshold=rule.threshold,
        breached=(value - rule.threshold) * rule.direction > 0,
        calm=(value - rule.clear_at) * rule.direction <= 0,
        uncertainty=_error(window) if rule.watch == "mean_score" else _interval(window),
        summary=(
            f"{topic}: {_watched_name(rule.watch)} {value:.2f}, fires {side} {rule.threshold:g} "
            f"({window.n} documents)"
        ),
    )


def _surge(rule: BaselineRule, topic: str, watched: Watched, usual: Usual) -> Observation:
    window, count = watched.window, counted(rule)
    seen = count(window)
    expected = usual.baseline.expected(usual.rates, watched.start, watched.end)
    chance, allowed = count_tail(seen, expected, usual.variation), _allowed(rule, watched)
    what = "negative texts" if isinstance(rule, NegativeSurgeRule) else "texts"
    return Observation(
        n=window.n,
        value=seen / expected,
        threshold=rule.factor,
        breached=seen >= rule.factor * expected and chance <= allowed,
        calm=seen <= rule.resolve_factor * expected,
        uncertainty=_odds(chance, allowed),
        summary=(
            f"{topic}: {seen} {what} in {_length(watched.length)}, "
            f"{seen / expected:.1f} times the usual {expected:.1f} ({window.n} documents)"
        ),
        usual=expected,
    )


def _share(rule: MoodShiftRule, topic: str, watched: Watched, usual: Usual) -> Observation:
    window = watched.window
    share = window.negative_share or 0.0
    chance = share_tail(window.negative, window.n, usual.baseline.share, usual.correlation)
    allowed = _allowed(rule, watched)
    return Observation(
        n=window.n,
        value=share,
        threshold=min(1.0, usual.baseline.share * rule.factor),
        breached=share >= usual.baseline.share * rule.factor and chance <= allowed,
        calm=share <= usual.baseline.share * rule.resolve_factor,
        uncertainty=f"{_odds(chance, allowed)}, {_interval(window)}",
        summary=(
            f"{topic}: {window.negative} of {window.n} texts negative in {_length(watched.length)} "
            f"({share:.0%}, usual {usual.baseline.share:.0%})"
        ),
        usual=usual.baseline.share,
    )


def _score(rule: MoodShiftRule, topic: str, watched: Watched, usual: Usual) -> Observation:
    window, mean = watched.window, watched.window.mean or 0.0
    usual_mean, deviation, shift = usual.scores
    chance = mean_tail(mean, window.n, usual_mean, deviation, shift)
    allowed, fires_at = _allowed(rule, watched), usual_mean - rule.min_shift
    return Observation(
        n=window.n,
        value=mean,
        threshold=fires_at,
        breached=mean <= fires_at and chance <= allowed,
        calm=mean >= usual_mean - rule.min_shift * rule.resolve_factor / rule.factor,
        uncertainty=f"{_odds(chance, allowed)}, {_error(window)}",
        summary=(
            f"{topic}: mean score {mean:.2f} in {_length(watched.length)}, usual {usual_mean:.2f} "
            f"({window.n} documents)"
        ),
        usual=usual_mean,
    )


def _drift(rule: SlowDriftRule, topic: str, watched: Watched, usual: Usual) -> Observation:
    """By how many standard deviations each step is worse than usual, added up by a CUSUM."""
    steps = [step for step in watched.steps if step.n >= rule.min_documents]
    if not steps:
        return _missing(rule.factor, watched.window.n, f"{topic}: no step has {rule.min_documents} texts")
    expected, worse = _worse(rule, steps, usual)
    # What is usual is itself known from so many steps only, and an error in it is in every term.
    slack = DRIFT + (rule.step / max(timedelta(seconds=usual.baseline.seconds), rule.step)) ** 0.5
    total, first = cusum(worse, slack)
    month = timedelta(days=30) / rule.step
    limit = cusum_limit(slack, month * watched.topics / rule.false_pages_per_month)
    since = steps[min(first, len(steps) - 1) :]
    n, value = sum(step.n for step in since), _watched_value(rule.watch, since)
    return Observation(
        n=n,
        value=total,
        threshold=limit,
        breached=total > limit,
        calm=total <= limit / 2,
        uncertainty=f"CUSUM {total:.1f} standard deviations where {limit:.1f} fires",
        summary=(
            f"{topic}: {_watched_name(rule.watch)} {value:.2f} since {since[0].start:%Y-%m-%d %H:%M}, "
            f"usual {expected:.2f} ({n} documents)"
        ),
        usual=expected,
    )


def _worse(rule: SlowDriftRule, steps: Sequence[Aggregate], usual: Usual) -> tuple[float, list[float]]:
    """What is usual, and by how many standard deviations each step is worse."""
    if rule.watch == "mean_score":
        expected, deviation, shift = usual.scores
        means = [(step.n, step.mean or 0.0) for step in steps]
        return expected, [(expected - mean) / (deviation**2 / n + shift) ** 0.5 for n, mean in means]
    expected, alike = usual.baseline.share, usual.correlation
    spread = expected * (1 - expected)
    shares = [(step.n, step.negative_share or 0.0) for step in steps]
    return expected, [(s - expected) / (spread * (1 + (n - 1) * alike) / n) ** 0.5 for n, s in shares]


def _watched_name(watch: str) -> str:
    return "mean score" if watch == "mean_score" else "share of negatives"


def _watched_value(watch: str, steps: Sequence[Aggregate]) -> float:
    total = sum(steps, Aggregate(EPOCH, "", ""))
    return (total.mean if watch == "mean_score" else total.negative_share) or 0.0


def _heartbeat(rule: HeartbeatRule, watched: Watched) -> Observation:
    missing = [source for source in rule.sources if source not in watched.heard]
    told = f"nothing from {', '.join(missing)}" if missing else f"{len(rule.sources)} sources spoke"
    return Observation(
        n=len(watched.heard),
        value=float(len(missing)),
        threshold=1.0,
        breached=bool(missing),
        calm=not missing,
        uncertainty="counted by the stamps of what was read",
        summary=f"{told} in {_length(watched.length)}",
    )


def _silence(rule: SilenceRule, topic: str, watched: Watched, usual: Usual) -> Observation:
    n, expected = watched.window.n, usual.baseline.expected(usual.rates, watched.start, watched.end)
    chance = 1 - count_tail(1, expected, usual.variation)
    allowed = _allowed(rule, watched)
    return Observation(
        n=n,
        value=expected,
        threshold=rule.min_expected,
        breached=expected >= rule.min_expected and chance <= allowed,
        calm=False,
        uncertainty=_odds(chance, allowed),
        summary=f"{topic}: {n} texts in {_length(watched.length)}, {expected:.1f} are usual",
        usual=expected,
    )


def _allowed(rule: BaselineRule, watched: Watched) -> float:
    return chance_allowed(rule.false_pages_per_month, rule.window.total_seconds(), watched.topics)


def _odds(chance: float, allowed: float) -> str:
    return f"chance {chance:.1e} where up to {allowed:.1e} fires"


def _error(window: Aggregate) -> str:
    squares = window.score_squares / SCORE_SCALE**2
    return f"standard error {standard_error(window.n, window.score_sum / SCORE_SCALE, squares):.3f}"


def _interval(window: Aggregate) -> str:
    low, high = wilson_interval(window.negative, window.n)
    return f"95% interval {low:.2f} to {high:.2f}"


def _length(length: timedelta) -> str:
    minutes = length.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"

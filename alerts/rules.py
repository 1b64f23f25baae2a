"""The rules: what a rule file may say."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from alerts.delivery import template
from stream.domain.alerts import Severity
from stream.domain.documents import Kind
from stream.domain.sums import Selection

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ALL = "all"
LONGEST = 366 * 86_400
SEVERITY_SCHEMA = {"enum": list(Severity), "title": "Severity", "type": "string"}


def parse_duration(value: object) -> object:
    """Such as 90s, 15m, 24h, 7d."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip())
    if not match:
        raise ValueError("a duration is a number and a unit: 90s, 15m, 24h or 7d")
    seconds = float(match[1]) * UNITS[match[2]]
    if seconds > LONGEST:
        raise ValueError("at most 366d")
    return timedelta(seconds=seconds)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d+(\.\d+)?[smhd]$", "examples": ["90s", "15m", "24h", "7d"]}
    ),
]
NO_TIME = timedelta(0)


class _Rule(BaseModel):
    """What every rule has.

    `topics` is `each` (every topic by itself), `all` (all of them together) or a list of names; `sources`,
    `symbols` and `languages` leave out all other texts where they are given.  The window is the latest
    stretch of event time, up to now.  `for` is how long a breach must last before it fires,
    `keep_firing_for` how long it must be over before it resolves, and `cool_down` how long it then stays
    quiet.  `min_sources` and `min_authors` are how many must have written the negative texts.  What fired
    `flap_count` times within `flap_window` and fires again is flapping: it pages once, and resolves after a
    calm of that length.  `message` is a template of what a page says: {{ topic }}, {{ value }}, {{ n }} and
    the alert's other fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")
    topics: Literal["each", "all"] | tuple[str, ...] = "each"
    kinds: tuple[Kind, ...] = Field(tuple(Kind), min_length=1)
    sources: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    window: Duration = timedelta(minutes=15)
    min_documents: int = Field(20, ge=1)
    min_sources: int = Field(1, ge=1)
    min_authors: int = Field(0, ge=0)
    hold: Duration = Field(NO_TIME, alias="for")
    keep_firing_for: Duration = timedelta(minutes=5)
    cool_down: Duration = NO_TIME
    flap_count: int = Field(3, ge=1)
    flap_window: Duration = timedelta(hours=3)
    message: str | None = Field(None, max_length=4000)
    severity: Annotated[Severity, WithJsonSchema(SEVERITY_SCHEMA)] = Severity.PAGE
    labels: dict[str, str] = {}
    runbook: str | None = None

    @field_validator("message")
    @classmethod
    def _renders(cls, message: str | None) -> str | None:
        if message is not None:
            template.render(message, template.EXAMPLE)
        return message

    @model_validator(mode="after")
    def _positive_window(self) -> "_Rule":
        if self.window <= NO_TIME:
            raise ValueError("window must be longer than nothing")
        if not self.topics or (len(set(self.topics)) < len(self.topics) and isinstance(self.topics, tuple)):
            raise ValueError("topics must be each, all, or a list that names each topic once")
        return self

    @property
    def selection(self) -> Selection:
        return Selection(self.sources, self.symbols, self.languages)


class ThresholdRule(_Rule):
    """Fires while the mean score is below, or the share of negatives above, a threshold."""

    type: Literal["threshold"]
    watch: Literal["mean_score", "negative_share"]
    threshold: float = Field(ge=-1, le=1)
    resolve_at: float | None = Field(None, ge=-1, le=1)

    @property
    def direction(self) -> int:
        """+1 where high values are bad, -1 where low ones are."""
        return 1 if self.watch == "negative_share" else -1

    @property
    def clear_at(self) -> float:
        return self.threshold if self.resolve_at is None else self.resolve_at

    @model_validator(mode="after")
    def _resolves_on_the_calm_side(self) -> "ThresholdRule":
        if (self.clear_at - self.threshold) * self.direction > 0:
            raise ValueError("resolve_at must lie on the calm side of threshold")
        return self


class BaselineRule(_Rule):
    """Holds the window against what is usual at its hours of the week.

    `false_pages_per_month` is how often all the rule's topics together may page by chance alone; from it
    follows how improbable a window must be.  The baseline ends where the window begins and leaves out the
    rule's own past alerts; at least `min_baseline` of it must have data.
    """

    baseline: Duration = timedelta(days=28)
    min_baseline: Duration = timedelta(hours=1)
    false_pages_per_month: float = Field(0.25, gt=0, le=1000)
    factor: float = Field(2.0, gt=1)
    resolve_factor: float = Field(1.5, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "BaselineRule":
        if self.resolve_factor > self.factor:
            raise ValueError("resolve_factor must not be above factor")
        if self.baseline <= self.window:
            raise ValueError("baseline must be longer than window")
        return self


class NegativeSurgeRule(BaselineRule):
    """Fires when negatives come at `factor` times their usual rate or more, improbably so by chance."""

    type: Literal["negative_surge"]
    min_negative: int = Field(10, ge=1)


class VolumeSurgeRule(BaselineRule):
    """Fires when texts of any sentiment come at `factor` times their usual rate, improbably so by chance."""

    type: Literal["volume_surge"]
    factor: float = Field(3.0, gt=1)


class MoodShiftRule(BaselineRule):
    """Fires when the texts of the window, however many, are of another mood than usual.

    `negative_share`: the share of negatives is `factor` times the usual one or more; exact for few texts.
    `mean_score`: the mean score lies lower by `min_shift` or more; for windows of some dozens of texts.
    """

    type: Literal["mood_shift"]
    watch: Literal["negative_share", "mean_score"] = "negative_share"
    min_negative: int = Field(4, ge=1)
    min_shift: float = Field(0.15, gt=0, le=2)


class SilenceRule(BaselineRule):
    """Fires when nothing comes where `min_expected` texts or more are usual, improbably so by chance."""

    type: Literal["silence"]
    topics: Literal["each", "all"] | tuple[str, ...] = "all"
    min_expected: float = Field(5.0, gt=0)


class SlowDriftRule(BaselineRule):
    """Fires when the mood has gone down little by little: no single stretch stands out, their sum does.

    The window is cut into stretches of `step`, each is held against what is usual, and a CUSUM adds up by how
    much they fell short.  Stretches with fewer than `min_documents` texts say nothing.
    """

    type: Literal["slow_drift"]
    watch: Literal["negative_share", "mean_score"] = "mean_score"
    window: Duration = timedelta(days=7)
    step: Duration = timedelta(hours=12)
    min_documents: int = Field(10, ge=2)
    min_baseline: Duration = timedelta(days=7)

    @model_validator(mode="after")
    def _some_steps(self) -> "SlowDriftRule":
        if self.step <= NO_TIME or self.window < 2 * self.step:
            raise ValueError("window must hold two steps or more")
        return self


class HeartbeatRule(_Rule):
    """Fires when one of its `sources` has had no text published within the window, of any sort or language,
    whatever is usual."""

    type: Literal["heartbeat"]
    topics: Literal["all"] = "all"
    sources: tuple[str, ...] = Field(min_length=1)
    # A monitor that was away itself reads what waited first.
    hold: Duration = Field(timedelta(minutes=2), alias="for")
    keep_firing_for: Duration = NO_TIME


Rule = (
    ThresholdRule
    | NegativeSurgeRule
    | VolumeSurgeRule
    | MoodShiftRule
    | SilenceRule
    | SlowDriftRule
    | HeartbeatRule
)
BY_TYPE: dict[str, type[Rule]] = {
    "threshold": ThresholdRule,
    "negative_surge": NegativeSurgeRule,
    "volume_surge": VolumeSurgeRule,
    "mood_shift": MoodShiftRule,
    "silence": SilenceRule,
    "slow_drift": SlowDriftRule,
    "heartbeat": HeartbeatRule,
}


def topics_of(rule: Rule, known: Sequence[str]) -> tuple[str, ...]:
    """The topics that `rule` watches one by one; `all` stands for all of them together."""
    if rule.topics == "each":
        return tuple(known)
    return (ALL,) if rule.topics == ALL else tuple(rule.topics)

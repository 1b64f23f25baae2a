"""The rules: what a YAML file may say, and errors that name its file, line and rule."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from alerts.errors import RuleError
from stream.nouns import Kind

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ALL = "all"
LONGEST = 366 * 86_400


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


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
NO_TIME = timedelta(0)


class _Rule(BaseModel):
    """What every rule has.

    `topics` is `each` (every topic by itself), `all` (all of them together) or a list of names.  The
    window is the latest stretch of event time, up to now.  `for` is how long a breach must last
    before it fires, `keep_firing_for` how long it must be over before it resolves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")
    topics: Literal["each", "all"] | tuple[str, ...] = "each"
    kinds: tuple[Kind, ...] = Field(tuple(Kind), min_length=1)
    window: Duration = timedelta(minutes=15)
    min_documents: int = Field(20, ge=1)
    hold: Duration = Field(NO_TIME, alias="for")
    keep_firing_for: Duration = timedelta(minutes=5)
    severity: Literal["page", "ticket", "info"] = "page"
    runbook: str | None = None

    @model_validator(mode="after")
    def _positive_window(self) -> "_Rule":
        if self.window <= NO_TIME:
            raise ValueError("window must be longer than nothing")
        if not self.topics or (len(set(self.topics)) < len(self.topics) and isinstance(self.topics, tuple)):
            raise ValueError("topics must be each, all, or a list that names each topic once")
        return self


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


class NegativeSurgeRule(_Rule):
    """Fires when negatives come at many times their rate in the baseline before the window.

    Both must hold: the rate is at least `factor` times the baseline's, and so many negatives would
    come by chance with a probability of at most `p_value`.
    """

    type: Literal["negative_surge"]
    baseline: Duration = timedelta(hours=24)
    min_baseline: Duration = timedelta(hours=1)
    min_negative: int = Field(10, ge=1)
    factor: float = Field(3.0, gt=1)
    resolve_factor: float = Field(1.5, gt=0)
    p_value: float = Field(1e-6, gt=0, lt=0.5)

    @model_validator(mode="after")
    def _ordered(self) -> "NegativeSurgeRule":
        if self.resolve_factor > self.factor:
            raise ValueError("resolve_factor must not be above factor")
        if self.baseline <= self.window:
            raise ValueError("baseline must be longer than window")
        return self


Rule = ThresholdRule | NegativeSurgeRule
BY_TYPE: dict[str, type[ThresholdRule] | type[NegativeSurgeRule]] = {
    "threshold": ThresholdRule,
    "negative_surge": NegativeSurgeRule,
}


def topics_of(rule: Rule, known: Sequence[str]) -> tuple[str, ...]:
    """The topics that `rule` watches one by one; `all` stands for all of them together."""
    if rule.topics == "each":
        return tuple(known)
    return (ALL,) if rule.topics == ALL else tuple(rule.topics)


def load_rules(path: Path, topics: Sequence[str] = ()) -> tuple[Rule, ...]:
    """Read a rule file.  With `topics`, a rule on an unknown topic is refused too.

    Raises RuleError with every complaint, a line each: file, line, rule, what is wrong.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise RuleError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from error
    nodes = _rule_nodes(path, root)
    complaints: list[str] = []
    rules = [rule for node in nodes if (rule := _rule(path, node, topics, complaints))]
    seen: set[str] = set()
    for rule, node in zip(rules, nodes, strict=False):
        if not complaints and rule.name in seen:
            complaints.append(f"{path}:{node.start_mark.line + 1}: rule {rule.name!r}: the name is taken")
        seen.add(rule.name)
    if complaints:
        raise RuleError("\n".join(complaints))
    return tuple(rules)


def _rule_nodes(path: Path, root: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(root, yaml.MappingNode):
        keys = {str(key.value): value for key, value in root.value}
        rules = keys.pop("rules", None)
        if keys:
            raise RuleError(f"{path}:1: unknown key {next(iter(keys))!r}; allowed: rules")
        if isinstance(rules, yaml.SequenceNode):
            return list(rules.value)
    raise RuleError(f"{path}:1: a mapping with the key `rules`, a list, was expected")


def _rule(path: Path, node: yaml.Node, topics: Sequence[str], complaints: list[str]) -> Rule | None:
    try:
        data = _plain(node)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise RuleError(f"{path}:{node.start_mark.line + 1}: {error}") from error
    name = data.get("name", "(unnamed)") if isinstance(data, dict) else "(unnamed)"

    def complain(place: Sequence[object], message: str) -> None:
        complaints.append(f"{path}:{_line(node, place)}: rule {name!r}: {message}")

    kind = data.pop("type", None) if isinstance(data, dict) else None
    model = BY_TYPE.get(str(kind))
    if model is None:
        complain(("type",), f"type is {kind!r}; allowed: {', '.join(BY_TYPE)}")
        return None
    try:
        rule = model.model_validate({**data, "type": kind})
    except ValidationError as error:
        for detail in error.errors():
            complain(detail["loc"], _message(model, detail))
        return None
    unknown = [t for t in topics_of(rule, topics) if topics and t != ALL and t not in topics]
    if unknown:
        complain(("topics",), f"unknown topic {unknown[0]!r}; known: {', '.join(topics)}")
        return None
    return rule


def _plain(node: yaml.Node) -> Any:
    """The node as plain data; SafeLoader makes no objects."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _message(model: type[BaseModel], detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "the rule"
    if detail["type"] == "extra_forbidden":
        known = sorted(info.alias or name for name, info in model.model_fields.items())
        return f"unknown key {field!r}; allowed: {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{field} is required"
    return f"{field} is {detail['input']!r}: {detail['msg'].removeprefix('Value error, ')}"


def _line(node: yaml.Node, place: Sequence[object]) -> int:
    """The line of the key that `place` leads to, or of the nearest thing around it."""
    line = node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line

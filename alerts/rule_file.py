"""Rule files: YAML in, rules out, and errors that name file, line and rule."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)

from alerts.detectors.base import ALL_TOPICS, Rule
from alerts.errors import RuleError
from alerts.rules import RULE_TYPES
from stream.domain.files import read_small_file, shorten_text, show_value

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# libyaml reads a megabyte in two seconds, the loader in Python takes half a minute.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# More than people write, and little enough to be read between two evaluations.
LONGEST_FILE, LONGEST_SCALAR, DEEPEST, MOST_RULES = 1_000_000, 10_000, 20, 1000
# How many errors of a file are shown.
MOST_ERRORS = 20
NESTING = {
    yaml.SequenceStartEvent: 1,
    yaml.MappingStartEvent: 1,
    yaml.SequenceEndEvent: -1,
    yaml.MappingEndEvent: -1,
}
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def load_rules(path: Path, topics: Sequence[str] = (), time_zone: str = "UTC") -> tuple[Rule, ...]:
    """Read a rule file.  With `topics`, a rule on an unknown topic is refused too.  Rules that name no time
    zone get `time_zone`.

    Raises RuleError, and nothing else whatever the file holds: a running monitor reads it.  It has the errors
    of the file, a line each: file, line, rule, what is wrong.
    """
    try:
        return _load_rules(path, topics, time_zone)
    except RuleError:
        raise
    except OSError as error:
        raise RuleError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise RuleError(
            f"{path}: cannot be used: {type(error).__name__}: {shorten_text(str(error))}"
        ) from error


def _load_rules(path: Path, topics: Sequence[str], time_zone: str) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    lines: list[int] = []
    errors: list[str] = []
    root = _compose(path)
    for key, line in _repeated_keys(root):
        errors.append(f"{path}:{line}: the key {show_value(key)} is there twice")
    for node in _rule_nodes(path, root):
        try:
            rules.append(_parse_rule(path, node, topics, time_zone))
            lines.append(node.start_mark.line + 1)
        except _InvalidRule as invalid:
            errors += [
                f"{path}:{_line(node, location)}: rule {show_value(invalid.name)}: {message}"
                for location, message in invalid.errors
            ]
    errors = errors or _name_errors(path, rules, lines)
    if not rules and not errors:
        errors = [f"{path}:1: no rules: with this file nobody would ever be paged"]
    if errors:
        rest = [f"{path}: and {len(errors) - MOST_ERRORS} more errors"] if len(errors) > MOST_ERRORS else []
        raise RuleError("\n".join([*errors[:MOST_ERRORS], *rest]))
    return tuple(rules)


def _compose(path: Path) -> yaml.Node | None:
    """The nodes of the file.  Raises RuleError where it is not the plain YAML that a rule file needs."""
    try:
        text = read_small_file(path, LONGEST_FILE)
    except ValueError as error:
        raise RuleError(f"{path}: cannot be read: {error}") from error
    try:
        _check_events(path, yaml.parse(text, Loader=LOADER))
        return yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise RuleError(
            f"{path}{line}: not YAML: {shorten_text(str(getattr(error, 'problem', error)))}"
        ) from error


def _check_events(path: Path, events: Iterable[Any]) -> None:
    """Refuse what makes a small file large or slow, and what no other part could store.  Raises RuleError.

    The events come before anything is built from them, so that neither nesting nor aliases can hurt.
    """
    depth = 0
    for event in events:
        depth += NESTING.get(type(event), 0)
        problem = _event_problem(event)
        if depth > DEEPEST:
            problem = f"nested more than {DEEPEST} deep"
        if problem is not None:
            raise RuleError(f"{path}:{event.start_mark.line + 1}: {problem}")


def _event_problem(event: Any) -> str | None:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        return "anchors and aliases are not allowed: write the value out"
    if getattr(event, "tag", None) is not None:
        return f"tags such as {show_value(event.tag)} are not allowed"
    value = getattr(event, "value", "")
    if value == "<<" and not event.style:
        return "merge keys (<<) are not allowed: write the keys out"
    if len(value) > LONGEST_SCALAR:
        return f"a value of {len(value):,} characters; at most {LONGEST_SCALAR:,} are allowed"
    if UNSTORABLE.search(value):
        return "a value with a NUL character or half a surrogate pair, which no database stores"
    return None


def _name_errors(path: Path, rules: Sequence[Rule], lines: Sequence[int]) -> list[str]:
    names = [rule.name for rule in rules]
    return [
        f"{path}:{line}: rule {show_value(name)}: the name is taken"
        for i, (name, line) in enumerate(zip(names, lines, strict=True))
        if name in names[:i]
    ]


class RuleFile:
    """The rules of a file, read again when it changes; a file with errors leaves the previous rules.

    A change is read when the file looks the same twice in a row: a file that is being written may be valid
    halfway, with rules missing.
    """

    def __init__(self, path: Path, topics: Sequence[str] = (), time_zone: str = "UTC") -> None:
        """Raises RuleError."""
        self.path, self._topics, self._time_zone = path, topics, time_zone
        fingerprint = _fingerprint(path)
        self._fingerprint: tuple[int, ...] | None = fingerprint
        self._seen = fingerprint
        self.rules = load_rules(path, topics, time_zone)

    def expire(self) -> None:
        """Read the file at the next `changed`, whether it changed or not; from any thread."""
        self._fingerprint = None

    def changed(self) -> bool:
        """Whether the file was read again.  Raises RuleError, once for each change with errors."""
        before, self._seen = self._seen, _fingerprint(self.path)
        if self._seen != before or self._seen == self._fingerprint:
            return False
        self._fingerprint = self._seen
        self.rules = load_rules(self.path, self._topics, self._time_zone)
        return True


def _fingerprint(path: Path) -> tuple[int, ...]:
    """Changes when the file does; empty if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _rule_nodes(path: Path, root: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(root, yaml.MappingNode):
        keys = {str(key.value): value for key, value in root.value}
        rules = keys.pop("rules", None)
        if keys:
            raise RuleError(f"{path}:1: unknown key {show_value(next(iter(keys)))}; allowed: rules")
        if isinstance(rules, yaml.SequenceNode):
            if len(rules.value) > MOST_RULES:
                raise RuleError(f"{path}:1: {len(rules.value):,} rules; at most {MOST_RULES:,} are allowed")
            return list(rules.value)
    raise RuleError(f"{path}:1: expected a mapping with the key `rules`, a list")


class _InvalidRule(Exception):
    """One rule of a file cannot be used: each error is the location of a key and what is wrong with it."""

    def __init__(self, name: object, errors: Sequence[tuple[Sequence[object], str]]) -> None:
        super().__init__(name)
        self.name, self.errors = name, errors


def _parse_rule(path: Path, node: yaml.Node, topics: Sequence[str], time_zone: str) -> Rule:
    """Raises _InvalidRule; RuleError if the node is not data."""
    try:
        data = _as_data(node)
    except Exception as error:
        # PyYAML raises whatever the conversion of a value raises.
        reason = shorten_text(" ".join(str(error).split()))
        raise RuleError(f"{path}:{node.start_mark.line + 1}: a value cannot be read: {reason}") from error
    settings = data if isinstance(data, dict) else {}
    name, type_name = settings.get("name", "(unnamed)"), settings.get("type")
    rule_type = RULE_TYPES.get(str(type_name))
    if rule_type is None:
        hint, allowed = _did_you_mean(str(type_name), RULE_TYPES), ", ".join(RULE_TYPES)
        raise _InvalidRule(name, [(("type",), f"type is {show_value(type_name)}{hint}; allowed: {allowed}")])
    defaults = {"timezone": time_zone} if "timezone" in rule_type.model_fields else {}
    try:
        rule = rule_type.model_validate(defaults | settings)
    except ValidationError as error:
        errors = [(detail["loc"], _message(rule_type, detail)) for detail in error.errors()]
        raise _InvalidRule(name, errors) from error
    unknown = [t for t in rule.watched_topics(topics) if topics and t != ALL_TOPICS and t not in topics]
    if unknown:
        named = ", ".join(f"{show_value(topic)}{_did_you_mean(topic, topics)}" for topic in unknown)
        plural = "s" if len(unknown) > 1 else ""
        message = f"unknown topic{plural} {named}; known: {', '.join(topics)}"
        raise _InvalidRule(name, [(("topics",), message)])
    return rule


def _repeated_keys(node: yaml.Node | None) -> list[tuple[str, int]]:
    """The keys that a mapping has twice, of which YAML would silently keep the last, and their lines."""
    found: list[tuple[str, int]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    found.append((key.value, key.start_mark.line + 1))
                seen.add(key.value)
            found += _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        found += [repeated for item in node.value for repeated in _repeated_keys(item)]
    return found


def _as_data(node: yaml.Node) -> Any:
    """The node as plain data; SafeLoader creates no objects."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _message(model: type[BaseModel], detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = sorted(info.alias or name for name, info in model.model_fields.items())
        return f"unknown key {show_value(field)}{_did_you_mean(field, known)}; allowed: {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{field} is required"
    reason = shorten_text(detail["msg"].removeprefix("Value error, "))
    if not detail["loc"]:
        return reason
    return f"{shorten_text(field)} is {show_value(detail['input'])}: {reason}"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word; empty if no known word is close."""
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def schema() -> dict[str, Any]:
    """The JSON Schema of a rule file, for editors."""
    any_type: Any = Union[tuple(RULE_TYPES.values())]  # noqa: UP007
    rule: Any = Annotated[any_type, Field(discriminator="type")]
    model = create_model(
        "RuleFile",
        __config__=ConfigDict(extra="forbid"),
        __doc__="Alert rules.",
        rules=(list[rule], ...),
    )
    return model.model_json_schema(by_alias=True) | {"$schema": SCHEMA_DIALECT}


def _line(node: yaml.Node, location: Sequence[object]) -> int:
    """The line of the key at `location`, or of the nearest node around it."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            entries = [(key, value) for key, value in node.value if key.value == part]
            if not entries:
                break
            line, node = entries[0][0].start_mark.line + 1, entries[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line

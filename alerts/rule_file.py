"""Reading a rule file: YAML in, rules out, and errors that name file, line and rule."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from alerts.errors import RuleError
from alerts.rules import ALL, BY_TYPE, Rule, topics_of


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


class RuleFile:
    """The rules of a file, read again when it changes; one that cannot be used leaves the old rules."""

    def __init__(self, path: Path, topics: Sequence[str] = ()) -> None:
        """Raises RuleError."""
        self.path, self._topics = path, topics
        self._seen = _stamp(path)
        self.rules = load_rules(path, topics)

    def changed(self) -> bool:
        """Whether there are other rules now.  Raises RuleError, once for each change that cannot be used."""
        stamp = _stamp(self.path)
        if stamp == self._seen:
            return False
        self._seen = stamp
        self.rules = load_rules(self.path, self._topics)
        return True


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells one state of a file from another; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


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
        complain(("type",), f"type is {kind!r}{_perhaps(str(kind), BY_TYPE)}; allowed: {', '.join(BY_TYPE)}")
        return None
    try:
        rule = model.model_validate({**data, "type": kind})
    except ValidationError as error:
        for detail in error.errors():
            complain(detail["loc"], _message(model, detail))
        return None
    unknown = [t for t in topics_of(rule, topics) if topics and t != ALL and t not in topics]
    if unknown:
        complain(
            ("topics",),
            f"unknown topic {unknown[0]!r}{_perhaps(unknown[0], topics)}; known: {', '.join(topics)}",
        )
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
        return f"unknown key {field!r}{_perhaps(field, known)}; allowed: {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{field} is required"
    return f"{field} is {detail['input']!r}: {detail['msg'].removeprefix('Value error, ')}"


def _perhaps(word: str, known: Iterable[str]) -> str:
    """A suggestion for a word that is nearly a known one."""
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def schema() -> dict[str, Any]:
    """The JSON Schema of a rule file, for editors."""

    class RuleFile(BaseModel):
        """Alert rules."""

        model_config = ConfigDict(extra="forbid")
        rules: list[Annotated[Rule, Field(discriminator="type")]]

    found = RuleFile.model_json_schema(by_alias=True)
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return found


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

"""Rule files: YAML in, rules out, and errors that name file, line and rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Union

import yaml
from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from alerts.detectors.base import ALL_TOPICS, Rule
from alerts.errors import RuleError
from alerts.rules.registry import RULE_TYPES
from alerts.rules.rule_yaml import (
    as_data,
    compose,
    did_you_mean,
    field_message,
    line_at,
    repeated_key_errors,
)
from alerts.rules.watched_entities import (
    WATCHLISTS_SCHEMA,
    KnownEntities,
    ResolveEntity,
    Watchlists,
    any_entity,
)
from alerts.rules.watchlists import gauges_problem, read_watchlists
from stream.domain.files.small_files import shorten_text, show_value

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# More than people write, and little enough to be read between two evaluations.
MOST_RULES = 1000
# How many errors of a file are shown.
MOST_ERRORS = 20


@dataclass(frozen=True)
class RuleSet:
    """The rules and the watchlists of a file, and the entities that have gauges of their own."""

    rules: tuple[Rule, ...]
    watchlists: Watchlists
    with_gauges: tuple[str, ...] = ()


def load_rules(
    path: Path,
    topics: Sequence[str] = (),
    time_zone: str = "UTC",
    resolve: ResolveEntity = any_entity,
    event_types: Sequence[str] | None = None,
) -> tuple[Rule, ...]:
    """The rules of a file; see `load_rule_set`."""
    return load_rule_set(path, topics, time_zone, resolve, event_types=event_types).rules


def load_rule_set(
    path: Path,
    topics: Sequence[str] = (),
    time_zone: str = "UTC",
    resolve: ResolveEntity = any_entity,
    watchlist: str = "",
    *,
    event_types: Sequence[str] | None = None,
    texts: Mapping[Path, str] = MappingProxyType({}),
) -> RuleSet:
    """Read a rule file.  With `topics`, a rule on an unknown topic is refused too, and with `event_types` one
    on an unknown type of event.  Rules that name no time zone get `time_zone`.  `resolve` gives the id that
    an entity has now.  The entities of `watchlist`, if there is a name, have gauges of their own.
    `texts` are read instead of the files at these paths: what they would say after a change.

    Raises RuleError, and nothing else whatever the file holds: a running monitor reads it.  It has the errors
    of the file, a line each: file, line, rule, what is wrong.
    """
    try:
        loaded = _load_rule_set(path, Known(topics, event_types, time_zone), resolve, texts)
    except RuleError:
        raise
    except OSError as error:
        raise RuleError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise RuleError(
            f"{path}: cannot be used: {type(error).__name__}: {shorten_text(str(error))}"
        ) from error
    return _with_gauges(path, loaded, watchlist) if watchlist else loaded


def _with_gauges(path: Path, loaded: RuleSet, watchlist: str) -> RuleSet:
    """Raises RuleError."""
    if problem := gauges_problem(watchlist, loaded.watchlists):
        raise RuleError(f"{path}: {problem}")
    return replace(loaded, with_gauges=loaded.watchlists[watchlist])


@dataclass(frozen=True)
class Known:
    """What rules may name: the topics (empty: any) and types of events (None: any); and the time zone of
    rules that name none."""

    topics: Sequence[str]
    event_types: Sequence[str] | None
    time_zone: str

    def error_of(self, rule: Rule) -> tuple[str, str] | None:
        """The key of the first name of a rule that is not known, and what is wrong; None if there is none."""
        topics = self.topics
        unknown = [t for t in rule.watched_topics(topics) if topics and t != ALL_TOPICS and t not in topics]
        if unknown:
            return "topics", _unknown_names("topic", unknown, topics)
        if self.event_types is None:
            return None
        unknown = [name for name in rule.events if name not in self.event_types]
        return ("events", _unknown_names("event", unknown, self.event_types)) if unknown else None


def _unknown_names(what: str, unknown: Sequence[str], known: Sequence[str]) -> str:
    named = ", ".join(f"{show_value(name)}{did_you_mean(name, known)}" for name in unknown)
    plural = "s" if len(unknown) > 1 else ""
    return f"unknown {what}{plural} {named}; known: {', '.join(known) or 'none, by this model'}"


def _load_rule_set(path: Path, labels: Known, resolve: ResolveEntity, texts: Mapping[Path, str]) -> RuleSet:
    rules: list[Rule] = []
    lines: list[int] = []
    root = compose(path, texts.get(path))
    nodes, watchlists_node = parts(path, root)
    errors = repeated_key_errors(path, root)
    watchlists = read_watchlists(path, watchlists_node, resolve, texts)
    errors += watchlists.errors
    known = KnownEntities(watchlists.ids, resolve)
    for node in nodes:
        try:
            rules.append(_parse_rule(path, node, labels, known))
            lines.append(node.start_mark.line + 1)
        except _InvalidRule as invalid:
            errors += [
                f"{path}:{line_at(node, location)}: rule {show_value(invalid.name)}: {message}"
                for location, message in invalid.errors
            ]
    errors = errors or _name_errors(path, rules, lines)
    if not rules and not errors:
        errors = [f"{path}:1: no rules: with this file nobody would ever be paged"]
    if errors:
        rest = [f"{path}: and {len(errors) - MOST_ERRORS} more errors"] if len(errors) > MOST_ERRORS else []
        raise RuleError("\n".join([*errors[:MOST_ERRORS], *rest]))
    return RuleSet(tuple(rules), watchlists.ids)


def _name_errors(path: Path, rules: Sequence[Rule], lines: Sequence[int]) -> list[str]:
    names = [rule.name for rule in rules]
    return [
        f"{path}:{line}: rule {show_value(name)}: the name is taken"
        for i, (name, line) in enumerate(zip(names, lines, strict=True))
        if name in names[:i]
    ]


def rule_files(path: Path) -> tuple[Path, ...]:
    """The file and the files of its watchlists, as far as they can be found."""
    try:
        _, watchlists = parts(path, compose(path))
        return (path, *read_watchlists(path, watchlists, any_entity).files)
    except Exception:  # whatever is wrong in the file, reading its rules says so
        return (path,)


class RuleFile:
    """The rules of a file, read again when it changes; a file with errors leaves the previous rules.

    The files of its watchlists belong to it.  A change is read when the files look the same twice in a row: a
    file that is being written may be valid halfway, with rules missing.
    """

    def __init__(
        self,
        path: Path,
        topics: Sequence[str] = (),
        time_zone: str = "UTC",
        resolve: ResolveEntity = any_entity,
        watchlist: str = "",
        *,
        event_types: Sequence[str] | None = None,
    ) -> None:
        """Raises RuleError."""
        self.path = path
        self._load = partial(
            load_rule_set, path, topics, time_zone, resolve, watchlist, event_types=event_types
        )
        self._files = rule_files(path)
        self._seen = _fingerprints(self._files)
        self._fingerprint: Fingerprints | None = self._seen
        self._set = self._load()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self._set.rules

    @property
    def watchlists(self) -> Watchlists:
        """The ids of the entities of each watchlist, by its name."""
        return self._set.watchlists

    @property
    def with_gauges(self) -> tuple[str, ...]:
        """The ids of the entities that have gauges of their own on /metrics."""
        return self._set.with_gauges

    def load(self, texts: Mapping[Path, str] = MappingProxyType({})) -> RuleSet:
        """What the files say now, and would say with these `texts` in them; nothing else changes.

        Raises RuleError.
        """
        return self._load(texts=texts)

    def expire(self) -> None:
        """Read the files at the next `changed`, whether they changed or not; from any thread."""
        self._fingerprint = None

    def changed(self) -> bool:
        """Whether the files were read again.  Raises RuleError, once for each change with errors."""
        before, self._seen = self._seen, _fingerprints(self._files)
        if self._seen != before or self._seen == self._fingerprint:
            return False
        self._files = rule_files(self.path)
        self._seen = self._fingerprint = _fingerprints(self._files)
        self._set = self._load()
        return True


Fingerprints = tuple[tuple[int, ...], ...]


def _fingerprints(paths: Sequence[Path]) -> Fingerprints:
    return tuple(map(fingerprint, paths))


def fingerprint(path: Path) -> tuple[int, ...]:
    """Changes when the file does; empty if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def parts(path: Path, root: yaml.Node | None) -> tuple[list[yaml.Node], yaml.Node | None]:
    """The rules and the watchlists of a file.  Raises RuleError."""
    if isinstance(root, yaml.MappingNode):
        keys = {str(key.value): value for key, value in root.value}
        rules, watchlists = keys.pop("rules", None), keys.pop("watchlists", None)
        if keys:
            raise RuleError(
                f"{path}:1: unknown key {show_value(next(iter(keys)))}; allowed: rules, watchlists"
            )
        if isinstance(rules, yaml.SequenceNode):
            if len(rules.value) > MOST_RULES:
                raise RuleError(f"{path}:1: {len(rules.value):,} rules; at most {MOST_RULES:,} are allowed")
            return list(rules.value), watchlists
    raise RuleError(f"{path}:1: expected a mapping with the key `rules`, a list")


class _InvalidRule(Exception):
    """One rule of a file cannot be used: each error is the location of a key and what is wrong with it."""

    def __init__(self, name: object, errors: Sequence[tuple[Sequence[object], str]]) -> None:
        super().__init__(name)
        self.name, self.errors = name, errors


def _parse_rule(path: Path, node: yaml.Node, labels: Known, known: KnownEntities) -> Rule:
    """Raises _InvalidRule; RuleError if the node is not data."""
    data = as_data(path, node)
    settings = data if isinstance(data, dict) else {}
    name, type_name = settings.get("name", "(unnamed)"), settings.get("type")
    rule_type = RULE_TYPES.get(str(type_name))
    if rule_type is None:
        hint, allowed = did_you_mean(str(type_name), RULE_TYPES), ", ".join(RULE_TYPES)
        raise _InvalidRule(name, [(("type",), f"type is {show_value(type_name)}{hint}; allowed: {allowed}")])
    defaults = {"timezone": labels.time_zone} if "timezone" in rule_type.model_fields else {}
    try:
        rule = rule_type.model_validate(defaults | settings, context=known)
    except ValidationError as error:
        errors = [(detail["loc"], field_message(rule_type, detail)) for detail in error.errors()]
        raise _InvalidRule(name, errors) from error
    if unknown := labels.error_of(rule):
        key, message = unknown
        raise _InvalidRule(name, [((key,), message)])
    return rule


def schema() -> dict[str, Any]:
    """The JSON Schema of a rule file, for editors."""
    any_type: Any = Union[tuple(RULE_TYPES.values())]  # noqa: UP007
    rule: Any = Annotated[any_type, Field(discriminator="type")]
    model = create_model(
        "RuleFile",
        __config__=ConfigDict(extra="forbid"),
        __doc__="Alert rules.",
        rules=(list[rule], ...),
        watchlists=(Annotated[Any, WithJsonSchema(WATCHLISTS_SCHEMA)], {}),
    )
    return model.model_json_schema(by_alias=True) | {"$schema": SCHEMA_DIALECT}

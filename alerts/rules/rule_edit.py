"""The numbers of a rule, as a rule file writes them, and the text of the file with other numbers.

Comments, order and everything else of the file stay as people wrote them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from alerts.detectors.base import UNITS, Rule
from alerts.errors import RuleError
from alerts.rules.rule_file import parts
from alerts.rules.rule_yaml import compose
from alerts.rules.text_edits import TextEdit, apply, end_of_line, entry, line_break, replace_node
from stream.domain.files.small_files import show_value

# What may be put into a file: it needs no quotes, and says nothing but a number.
NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?[smhd]?")
# What a rule on sources does not use: it counts no documents.
OF_DOCUMENTS = ("min_documents", "min_sources", "min_authors", "min_voices", "min_novelty")


class NumberKind(StrEnum):
    """What may be written for a number."""

    DURATION = "duration"
    WHOLE = "whole number"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class RuleNumber:
    """A number of a rule: its key, what it is now as a file writes it, and whether that is the default.

    `choices` are the only ones that are allowed, if not empty.  An empty `text` means that there is none.
    """

    key: str
    kind: NumberKind
    text: str
    is_default: bool
    choices: tuple[str, ...] = ()


def numbers_of(rule: Rule) -> list[RuleNumber]:
    """The numbers that decide when the rule fires, in the order of its type."""
    found = []
    for name, field in type(rule).model_fields.items():
        kind = _kind(field.annotation)
        if kind is None or not _applies(rule, name):
            continue
        value = getattr(rule, name)
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        found.append(
            RuleNumber(
                key=field.alias or name,
                kind=kind,
                text=written(value),
                is_default=_is_default(rule, name, field),
                choices=tuple(map(str, choices)),
            )
        )
    return found


def _kind(annotation: Any) -> NumberKind | None:
    types = {type(value) for value in get_args(annotation)} if get_origin(annotation) is Literal else None
    if annotation is timedelta:
        return NumberKind.DURATION
    if annotation is int or types == {int}:
        return NumberKind.WHOLE
    return NumberKind.NUMBER if annotation is float or annotation == float | None else None


def _applies(rule: Rule, name: str) -> bool:
    if name == "min_relevance":
        return rule.entities is not None
    return rule.watches_documents or name not in OF_DOCUMENTS


def _is_default(rule: Rule, name: str, field: FieldInfo) -> bool:
    default = field.default
    if rule.entities is not None:
        default = rule.entity_defaults.get(name, default)
    return bool(getattr(rule, name) == default)


def written(value: timedelta | float | None) -> str:
    """A number as a rule file writes it, such as 15m, 3 or 0.25; empty for None."""
    if value is None:
        return ""
    if not isinstance(value, timedelta):
        return f"{value:.10g}"
    seconds = value.total_seconds()
    for unit, length in sorted(UNITS.items(), key=lambda item: -item[1]):
        if seconds and seconds % length == 0:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.10g}s"


def changed_numbers(rule: Rule, given: Mapping[str, str]) -> dict[str, str]:
    """The numbers among the given ones that differ from the rule's, by key.

    What is empty or no number of this rule is left out.  Raises RuleError for what is no number at all.
    """
    changes = {}
    for number in numbers_of(rule):
        text = given.get(number.key, "").strip()
        if not text or text == number.text:
            continue
        if not NUMBER.fullmatch(text):
            example = "a duration such as 15m" if number.kind is NumberKind.DURATION else "a number such as 3"
            raise RuleError(
                f"rule {show_value(rule.name)}: {number.key} is {show_value(text)}: write {example}"
            )
        changes[number.key] = text
    return changes


def with_numbers(path: Path, text: str, rule: str, changes: Mapping[str, str]) -> str:
    """The text of a rule file with other numbers in one of its rules.

    Raises RuleError if it is no rule file or has no such rule.  Whether the rule can be used is for
    `load_rule_set` to say.
    """
    node = _rule_node(path, text, rule)
    edits, missing = [], {}
    for key, value in changes.items():
        found = entry(node, key)
        if found is None:
            missing[key] = value
        else:
            edits.append(replace_node(found[1], value))
    return apply(text, [*edits, *_additions(text, node, missing)])


def rule_text(path: Path, text: str, rule: str) -> str:
    """What the file says of one rule.  Raises RuleError."""
    node = _rule_node(path, text, rule)
    lines = text[node.start_mark.index : node.end_mark.index].rstrip().splitlines()
    indent = " " * node.start_mark.column
    own = [
        line for number, line in enumerate(lines) if not number or line.startswith(indent) or not line.strip()
    ]
    return "\n".join(line.removeprefix(indent) for line in own).rstrip()


def _rule_node(path: Path, text: str, rule: str) -> yaml.MappingNode:
    for node in parts(path, compose(path, text))[0]:
        if isinstance(node, yaml.MappingNode):
            name = entry(node, "name")
            if name is not None and name[1].value == rule:
                return node
    raise RuleError(f"{path}: there is no rule {show_value(rule)}; it may have been renamed or removed")


def _additions(text: str, node: yaml.MappingNode, numbers: Mapping[str, str]) -> list[TextEdit]:
    """Add keys behind the type of the rule, which every rule has, in the way its other keys are written."""
    if not numbers:
        return []
    key, value = entry(node, "type") or node.value[0]
    if node.flow_style:
        at = value.end_mark.index
        return [TextEdit(at, at, "".join(f", {name}: {number}" for name, number in numbers.items()))]
    at, newline, indent = (
        end_of_line(text, value.end_mark.index),
        line_break(text),
        " " * key.start_mark.column,
    )
    lines = "".join(f"{indent}{name}: {number}{newline}" for name, number in numbers.items())
    ends_open = at == len(text) and not text.endswith("\n")
    return [TextEdit(at, at, newline + lines if ends_open else lines)]

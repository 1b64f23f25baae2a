"""Rule files as plain YAML, with the errors of rule files and what they say of a field."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from alerts.errors import RuleError
from stream.domain.files import plain_yaml
from stream.domain.files.plain_yaml import PlainYamlError, line_of, repeated_key_errors
from stream.domain.files.small_files import shorten_text, show_value

__all__ = [
    "as_data",
    "compose",
    "did_you_mean",
    "field_message",
    "line_at",
    "line_of",
    "repeated_key_errors",
]


def compose(path: Path, text: str | None = None) -> yaml.Node | None:
    """The nodes of the file, or of the `text` that it may get.

    Raises OSError, and RuleError where it is not plain YAML.
    """
    try:
        return plain_yaml.compose(path, text)
    except PlainYamlError as error:
        raise RuleError(str(error)) from error


def as_data(path: Path, node: yaml.Node) -> Any:
    """The node as plain data.  Raises RuleError."""
    try:
        return plain_yaml.as_data(path, node)
    except PlainYamlError as error:
        raise RuleError(str(error)) from error


def field_message(model: type[BaseModel], detail: Any) -> str:
    """What is wrong with a field, in the words of its file; `detail` is one of pydantic's errors."""
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = sorted(info.alias or name for name, info in model.model_fields.items())
        return f"unknown key {show_value(field)}{did_you_mean(field, known)}; allowed: {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{field} is required"
    reason = shorten_text(detail["msg"].removeprefix("Value error, "))
    if not detail["loc"]:
        return reason
    return f"{shorten_text(field)} is {show_value(detail['input'])}: {reason}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt word; empty if no known word is close."""
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def line_at(node: yaml.Node, location: Sequence[object]) -> int:
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

"""Replacing parts of the text of a YAML file that people wrote, so that everything else stays as it was."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import yaml

# Ids and numbers that YAML reads as they are written; everything else is quoted.
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 :._-]*[A-Za-z0-9]|[A-Za-z0-9]")
ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Puts `text` in place of the characters [start, end)."""

    start: int
    end: int
    text: str


def apply(text: str, edits: Iterable[TextEdit]) -> str:
    """The text after these edits, which do not overlap."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def replace_node(node: yaml.Node, text: str) -> TextEdit:
    """Put a text in place of a node."""
    return TextEdit(node.start_mark.index, node.end_mark.index, text)


def line_break(text: str) -> str:
    """How the lines of the text end."""
    return "\r\n" if "\r\n" in text else "\n"


def start_of_line(text: str, index: int) -> int:
    """Where the line with this character begins."""
    return text.rfind("\n", 0, index) + 1


def end_of_line(text: str, index: int) -> int:
    """Where the line after the one with this character begins; the end of the text for the last line."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def scalar(value: str) -> str:
    """A text as a YAML scalar, quoted unless it is read as the same text without."""
    if PLAIN.fullmatch(value) and ": " not in value and yaml.safe_load(value) == value:
        return value
    return '"' + "".join(ESCAPED.get(char, char) for char in value) + '"'


def entry(mapping: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The nodes of a key and its value; None if the mapping does not have it."""
    found = (pair for pair in mapping.value if pair[0].value == key)
    return next(found, None)

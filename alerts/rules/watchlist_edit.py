"""The text of the file that a watchlist stands in, with other entities.

A list may stand in the rule file, in a file with all lists, or in a file of its own
(`alerts/rules/watchlists.py`).  Comments, order and everything else stay as people wrote them; of an entity
that is taken out its line goes, with the comment behind it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from alerts.errors import RuleError
from alerts.rules.rule_file import parts
from alerts.rules.rule_yaml import compose
from alerts.rules.text_edits import (
    TextEdit,
    apply,
    end_of_line,
    entry,
    line_break,
    replace_node,
    scalar,
    start_of_line,
)

ReadText = Callable[[Path], str]


@dataclass(frozen=True, slots=True)
class FileChange:
    """What a file says, and what it would say after a change."""

    path: Path
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A node in the text of a file; None where the file has nothing yet."""

    path: Path
    text: str
    node: yaml.Node | None


def with_watchlist(rule_file: Path, name: str, ids: Sequence[str], read: ReadText) -> FileChange:
    """The change after which the watchlist names these entities; a list of a new name is added.

    `read` gives the text of a file.  Raises RuleError, and OSError where a file cannot be read.  Whether the
    list can be used is for `load_rule_set` to say.
    """
    text = read(rule_file)
    lists = _follow(_Place(rule_file, text, parts(rule_file, compose(rule_file, text))[1]), read)
    if lists.node is None:
        newline = line_break(text)
        start = "" if text.endswith("\n") else newline
        added = newline.join((f"{start}watchlists:", f"  {scalar(name)}: {_flow(ids)}", ""))
        return FileChange(lists.path, text, text + added)
    if not isinstance(lists.node, yaml.MappingNode):
        raise RuleError(f"{lists.path}: watchlists must be lists of ids by name")
    found = entry(lists.node, name)
    if found is None:
        return _changed(lists, [_new_list(lists, lists.node, name, ids)])
    place = _follow(_Place(lists.path, lists.text, found[1]), read)
    if not isinstance(place.node, yaml.SequenceNode):
        raise RuleError(f"{place.path}: watchlist {name!r} must be a list of ids")
    return _changed(place, _list_edits(place.text, place.node, ids))


def _changed(place: _Place, edits: Sequence[TextEdit]) -> FileChange:
    return FileChange(place.path, place.text, apply(place.text, edits))


def _follow(place: _Place, read: ReadText) -> _Place:
    """The place itself; where it names a file, what that holds."""
    if not isinstance(place.node, yaml.ScalarNode):
        return place
    path = place.path.parent / str(place.node.value)
    text = read(path)
    return _Place(path, text, compose(path, text))


def _new_list(place: _Place, mapping: yaml.MappingNode, name: str, ids: Sequence[str]) -> TextEdit:
    """Put a list before the first one."""
    written = f"{scalar(name)}: {_flow(ids)}"
    if not mapping.value:
        return replace_node(mapping, f"{{{written}}}")
    key = mapping.value[0][0]
    at = key.start_mark.index
    indent = line_break(place.text) + " " * key.start_mark.column
    return TextEdit(at, at, f"{written}{', ' if mapping.flow_style else indent}")


def _list_edits(text: str, node: yaml.SequenceNode, ids: Sequence[str]) -> list[TextEdit]:
    """A list in brackets is rewritten.  Of a list with one entity a line, only the lines change that must."""
    if node.flow_style or not node.value:
        return [replace_node(node, _flow(ids))]
    items = {str(item.value): item for item in node.value}
    kept = [item for id_, item in items.items() if id_ in ids]
    dropped = [item for id_, item in items.items() if id_ not in ids]
    edits = [
        TextEdit(start_of_line(text, item.start_mark.index), end_of_line(text, item.end_mark.index), "")
        for item in dropped
    ]
    added = [id_ for id_ in ids if id_ not in items]
    return [*edits, _added_lines(text, kept[-1] if kept else node.value[0], added)]


def _added_lines(text: str, after: yaml.Node, ids: Sequence[str]) -> TextEdit:
    """A line for each id, behind the line of an item and written as that is."""
    at, newline = end_of_line(text, after.end_mark.index), line_break(text)
    prefix = text[start_of_line(text, after.start_mark.index) : after.start_mark.index]
    lines = "".join(f"{prefix}{scalar(id_)}{newline}" for id_ in ids)
    ends_open = ids and at == len(text) and not text.endswith("\n")
    return TextEdit(at, at, newline + lines if ends_open else lines)


def _flow(ids: Sequence[str]) -> str:
    return f"[{', '.join(map(scalar, ids))}]"

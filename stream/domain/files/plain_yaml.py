"""Plain YAML in files that people write while the monitor runs.

What makes a small file large or slow is refused before anything is built from it.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from stream.domain.files.small_files import read_small_file, shorten_text, show_value

# libyaml reads a megabyte in two seconds, the loader in Python takes half a minute.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# More than people write, and little enough to be read in a moment.
LONGEST_FILE, LONGEST_SCALAR, DEEPEST = 1_000_000, 10_000, 20
NESTING = {
    yaml.SequenceStartEvent: 1,
    yaml.MappingStartEvent: 1,
    yaml.SequenceEndEvent: -1,
    yaml.MappingEndEvent: -1,
}
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class PlainYamlError(ValueError):
    """A file is not plain YAML; names file and line."""


def read_yaml(path: Path) -> str:
    """The text of the file.  Raises OSError, and PlainYamlError where it is no short text."""
    try:
        return read_small_file(path, LONGEST_FILE)
    except ValueError as error:
        raise PlainYamlError(f"{path}: cannot be read: {error}") from error


def compose(path: Path, text: str | None = None) -> yaml.Node | None:
    """The nodes of the file, or of the `text` that it may get.

    Raises OSError, and PlainYamlError where it is not plain YAML.
    """
    if text is None:
        text = read_yaml(path)
    try:
        _check_events(path, yaml.parse(text, Loader=LOADER))
        return yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise PlainYamlError(
            f"{path}{line}: not YAML: {shorten_text(str(getattr(error, 'problem', error)))}"
        ) from error


def _check_events(path: Path, events: Iterable[Any]) -> None:
    """Refuse what makes a small file large or slow, and what no other part could store.

    The events come before anything is built from them, so that neither nesting nor aliases can hurt.  Raises
    PlainYamlError.
    """
    depth = 0
    for event in events:
        depth += NESTING.get(type(event), 0)
        problem = _event_problem(event)
        if depth > DEEPEST:
            problem = f"nested more than {DEEPEST} deep"
        if problem is not None:
            raise PlainYamlError(f"{path}:{event.start_mark.line + 1}: {problem}")


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


def repeated_key_errors(path: Path, root: yaml.Node | None) -> list[str]:
    """An error for each key that a mapping has twice, of which YAML would silently keep the last."""
    return [f"{path}:{line}: the key {show_value(key)} is there twice" for key, line in _repeated_keys(root)]


def _repeated_keys(node: yaml.Node | None) -> list[tuple[str, int]]:
    """The keys and their lines."""
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


def as_data(path: Path, node: yaml.Node) -> Any:
    """The node as plain data; SafeLoader creates no objects.  Raises PlainYamlError."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except Exception as error:
        # PyYAML raises whatever the conversion of a value raises.
        reason = shorten_text(" ".join(str(error).split()))
        raise PlainYamlError(f"{path}:{line_of(node)}: a value cannot be read: {reason}") from error
    finally:
        loader.dispose()


def line_of(node: yaml.Node) -> int:
    """The line at which a node begins, from 1 on."""
    return int(node.start_mark.line) + 1

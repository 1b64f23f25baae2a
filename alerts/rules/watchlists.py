"""Watchlists of a rule file: lists of entities by name, in the file itself or in files of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml

from alerts.errors import RuleError
from alerts.rules.rule_yaml import as_data, compose, line_of, repeated_key_errors
from alerts.rules.watched_entities import ResolveEntity, Watchlists, checked_ids, unknown_watchlist
from stream.domain.files.small_files import show_value

MOST_WATCHLISTS = 100
# Each entity with gauges is six series of every scrape.
MOST_WITH_GAUGES = 100
LONGEST_NAME = 100


@dataclass
class ReadWatchlists:
    """The ids of each watchlist, the files besides the rule file that they are in, and the errors in them,
    each with file and line.  `texts` are what files may get, by their paths."""

    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    texts: Mapping[Path, str] = field(default_factory=dict)


def gauges_problem(name: str, watchlists: Watchlists) -> str | None:
    """What is wrong with the watchlist whose entities have gauges of their own; None if nothing is."""
    if name not in watchlists:
        return f"alerts.watchlist: {unknown_watchlist(name, watchlists)}"
    if len(watchlists[name]) > MOST_WITH_GAUGES:
        return (
            f"alerts.watchlist: watchlist {show_value(name)} has {len(watchlists[name]):,} entities; at most "
            f"{MOST_WITH_GAUGES} can have gauges of their own, each of them six series: name a shorter list"
        )
    return None


def read_watchlists(
    path: Path,
    node: yaml.Node | None,
    resolve: ResolveEntity,
    texts: Mapping[Path, str] = MappingProxyType({}),
) -> ReadWatchlists:
    """What a rule file says under `watchlists`: lists by name, or the path of a file with them.

    A list may be the path of a file too.  Paths begin at the folder of the file that names them.  `texts` are
    read instead of the files at these paths.
    """
    found = ReadWatchlists(texts=texts)
    if node is None:
        return found
    place = _follow(path, node, found)
    if place is None:
        return found
    path, node = place
    if not isinstance(node, yaml.MappingNode) or len(node.value) > MOST_WATCHLISTS:
        found.errors.append(
            f"{path}:{line_of(node)}: watchlists must be at most {MOST_WATCHLISTS} lists of ids by name, or "
            "the path of a file with them"
        )
        return found
    for key, value in node.value:
        _read_list(path, key, value, found, resolve)
    return found


def _read_list(
    path: Path, key: yaml.Node, value: yaml.Node, found: ReadWatchlists, resolve: ResolveEntity
) -> None:
    """Read one list, or note what is wrong with it."""
    name = str(key.value)
    label = f"watchlist {show_value(name)}"
    if not isinstance(key, yaml.ScalarNode) or not 0 < len(name.strip()) <= LONGEST_NAME:
        found.errors.append(f"{path}:{line_of(key)}: {label}: a name has 1 to {LONGEST_NAME} characters")
        return
    found.ids[name.strip()] = ()  # with errors it exists too: its rules have none of their own
    place = _follow(path, value, found)
    if place is None:
        return
    path, value = place
    if not isinstance(value, yaml.SequenceNode):
        found.errors.append(
            f"{path}:{line_of(value)}: {label} must be a list of ids such as [XNAS:AAPL, cb:FED], or the "
            "path of a file with one"
        )
        return
    problems: list[str] = []
    for item in value.value:
        try:
            checked_ids([as_data(path, item)], resolve)
        except ValueError as error:
            problems.append(f"{path}:{line_of(item)}: {label}: {error}")
    if not problems:
        try:
            found.ids[name.strip()] = checked_ids(as_data(path, value), resolve)
        except ValueError as error:
            problems.append(f"{path}:{line_of(value)}: {label}: {error}")
    found.errors += problems


def _follow(path: Path, node: yaml.Node, found: ReadWatchlists) -> tuple[Path, yaml.Node] | None:
    """The node itself with its file; of a text, the content of the file with this path.  None with an error,
    which is noted."""
    if not isinstance(node, yaml.ScalarNode):
        return path, node
    named = path.parent / str(node.value)
    if named not in found.files:
        found.files.append(named)
    try:
        root = compose(named, found.texts.get(named))
    except RuleError as error:
        found.errors.append(f"{path}:{line_of(node)}: {error}")
        return None
    except OSError as error:
        found.errors.append(
            f"{path}:{line_of(node)}: watchlists: {named} cannot be read: {error.strerror or error}"
        )
        return None
    found.errors += repeated_key_errors(named, root)
    if root is None:
        found.errors.append(f"{named}:1: the file is empty")
        return None
    return named, root

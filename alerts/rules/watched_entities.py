"""Which entities a rule watches: `each`, `watchlist NAME`, or a list of ids."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from stream.domain.entities import LONGEST_ENTITY
from stream.domain.files.small_files import show_value

EACH, WATCHLIST = "each", "watchlist "
# Every id is a parameter of the rule's queries.
MOST_ENTITIES = 1000

# The id that an entity has now, for one that it has or ever had.  Raises ValueError for any other, such as
# "unknown entity 'XNAS:APPL'".
ResolveEntity = Callable[[str], str]
Watchlists = Mapping[str, tuple[str, ...]]


def any_entity(entity: str) -> str:
    """For where no list of entities is at hand: every id may exist."""
    return entity


@dataclass(frozen=True, slots=True)
class KnownEntities:
    """What a rule may name: the watchlists of the rule file, and the entities that exist."""

    watchlists: Watchlists = field(default_factory=dict)
    resolve: ResolveEntity = any_entity


@dataclass(frozen=True, slots=True)
class WatchedEntities:
    """The entities that a rule watches one by one; `ids` is None if it watches each.

    `text` is what the rule file says, such as watchlist banks.
    """

    text: str
    ids: tuple[str, ...] | None = None


def parse_watched(value: object, info: ValidationInfo) -> object:
    """What a rule file says under `entities`.  The context is a KnownEntities.  Raises ValueError."""
    known = info.context if isinstance(info.context, KnownEntities) else KnownEntities()
    if isinstance(value, WatchedEntities):
        return value
    if value == EACH:
        return WatchedEntities(EACH)
    if isinstance(value, str) and value.startswith(WATCHLIST):
        name = value.removeprefix(WATCHLIST).strip()
        if name not in known.watchlists:
            raise ValueError(unknown_watchlist(name, known.watchlists))
        return WatchedEntities(f"{WATCHLIST}{name}", known.watchlists[name])
    if not isinstance(value, list | tuple):
        raise ValueError("write each, watchlist NAME, or a list of ids such as [XNAS:AAPL, cb:FED]")
    ids = checked_ids(value, known.resolve)
    return WatchedEntities(", ".join(ids), ids)


def checked_ids(values: Iterable[object], resolve: ResolveEntity) -> tuple[str, ...]:
    """The ids of a list in a rule file.  Raises ValueError."""
    values = list(values)
    ids: list[str] = []
    problems: list[str] = []
    for value in values:
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ENTITY:
            raise ValueError(f"{show_value(value)} is no id of an entity, such as XNAS:AAPL or cb:FED")
        try:
            ids.append(resolve(value))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    if not ids or len(set(map(str, values))) < len(ids):
        raise ValueError("the list must name one entity or more, each of them once")
    if len(ids) > MOST_ENTITIES:
        raise ValueError(f"{len(ids):,} entities; at most {MOST_ENTITIES:,} are allowed")
    # Two ids may be one entity now: two classes of shares, or companies that merged.
    return tuple(dict.fromkeys(ids))


def unknown_watchlist(name: str, watchlists: Watchlists) -> str:
    """What is wrong with a name that no watchlist has."""
    near = difflib.get_close_matches(name, watchlists, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    defined = f"defined: {', '.join(watchlists)}" if watchlists else "the file has no `watchlists`"
    return f"there is no watchlist {show_value(name)}{hint}; {defined}"


_IDS_SCHEMA = {
    "type": "array", "items": {"type": "string", "maxLength": LONGEST_ENTITY},
    "minItems": 1, "maxItems": MOST_ENTITIES, "uniqueItems": True,
}  # fmt: skip
WATCHED_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"const": EACH},
        {"type": "string", "pattern": "^watchlist .+$"},
        _IDS_SCHEMA,
    ],
    "examples": [EACH, "watchlist banks", ["XNAS:AAPL", "cb:FED"]],
    "title": "Entities",
}  # fmt: skip
WATCHLISTS_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "additionalProperties": {"anyOf": [_IDS_SCHEMA, {"type": "string"}]}},
    ],
    "description": "Lists of ids of entities by name, or the path of a file with them, from the folder of "
    "this file.  A list may be such a path too.",
    "title": "Watchlists",
}
NAMED_SCHEMA = {"anyOf": WATCHED_SCHEMA["anyOf"][1:], "title": "Entities"}
Watched = Annotated[WatchedEntities | None, BeforeValidator(parse_watched), WithJsonSchema(WATCHED_SCHEMA)]
# Without each.
Named = Annotated[WatchedEntities | None, BeforeValidator(parse_watched), WithJsonSchema(NAMED_SCHEMA)]

"""A house's own file on top of the shipped gazetteer: what to add, and what to forbid or remove.

    add:
      - id: XLON:NGB
        kind: company
        name: Northgate Bank
        names: [Northgate, {name: Beacon, needs_evidence: true}]
        tickers: [XLON:NGB]
    alias:
      - {id: XNAS:AAPL, names: [Cupertino]}
    forbid:
      - Target
      - {name: Gap, id: XNYS:GAP}
    remove: [OTCM:XYZ]

docs/entities.md says what each part does.
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from models.entities.entity import Entity, EntityKind, Name
from models.entities.forms import fold, name_forms
from models.errors import GazetteerError
from stream.domain.entities import LONGEST_ENTITY
from stream.domain.files.plain_yaml import PlainYamlError, as_data, compose, line_of, repeated_key_errors
from stream.domain.files.small_files import shorten_text, show_value
from stream.domain.text.cleaning import clean

# How many errors of a file are shown, and how many entries it may have.
MOST_ERRORS, MOST_ENTRIES = 20, 20_000
LONGEST_NAME, MOST_NAMES = 200, 1000
ID = re.compile(r"[A-Za-z0-9_]+:[A-Za-z0-9_.&^=-]+")
TICKER = re.compile(r"(?:[A-Z0-9]{4}:)?[A-Za-z0-9.&^=/-]+")


def _checked(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"not {what}")
        return value

    return check


def _as_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Id = Annotated[
    str,
    Field(max_length=LONGEST_ENTITY),
    AfterValidator(_checked(ID, "an id such as XLON:NGB or crypto:XYZ")),
]
Ticker = Annotated[
    str,
    Field(max_length=40),
    AfterValidator(_checked(TICKER, "a ticker such as XLON:NGB, with the exchange's MIC")),
]
NameText = Annotated[str, Field(min_length=2, max_length=LONGEST_NAME)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class HouseName(_Entry):
    """A name.  Unset, it needs evidence if the shipped gazetteer says so of the same name."""

    name: NameText
    needs_evidence: bool | None = None


Names = Annotated[tuple[Annotated[HouseName, BeforeValidator(_as_name)], ...], Field(max_length=MOST_NAMES)]


class Addition(_Entry):
    """An entity that the gazetteer lacks."""

    id: Id
    kind: EntityKind
    name: NameText | None = None
    chinese_name: NameText | None = None
    names: Names = ()
    tickers: Annotated[tuple[Ticker, ...], Field(max_length=MOST_NAMES)] = ()


class Alias(_Entry):
    """More names of an entity."""

    id: Id
    names: Annotated[Names, Field(min_length=1)]


class Forbidden(_Entry):
    """A name that is no link: to the entity `id`, or to any."""

    name: NameText
    id: Id | None = None


class Removal(_Entry):
    """An entity that texts are not linked to."""

    id: Id


# The keys of the file, and what their entries are; `short` is the key of an entry that is plain text.
@dataclass(frozen=True)
class _Section:
    model: type[_Entry]
    short: str | None = None


SECTIONS: Mapping[str, _Section] = {
    "add": _Section(Addition),
    "alias": _Section(Alias),
    "forbid": _Section(Forbidden, "name"),
    "remove": _Section(Removal, "id"),
}


@dataclass(frozen=True)
class Located:
    """An entry of the file and where it is, as errors say: file, line, section and number."""

    entry: Any
    place: str


class Shipped(Protocol):
    """What the house's file changes: `models.entities.gazetteer.Gazetteer`."""

    @property
    def entities(self) -> Mapping[str, Entity]: ...

    def resolve(self, entity: str) -> str | None: ...


@dataclass(frozen=True)
class House:
    """The entries of a house's file, by section, in order.  `version` changes with what they say."""

    entries: Mapping[str, tuple[Located, ...]]
    version: str

    def count(self, section: str) -> int:
        return len(self.entries[section])


def read_house(path: Path) -> House:
    """Read a file.  Raises GazetteerError with its errors, a line each: file, line, entry, what is wrong."""
    try:
        return _read(path)
    except GazetteerError:
        raise
    except OSError as error:
        raise GazetteerError(f"{path}: cannot be read: {error.strerror or error}") from error
    except PlainYamlError as error:
        raise GazetteerError(str(error)) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {shorten_text(str(error))}"
        raise GazetteerError(f"{path}: cannot be used: {reason}") from error


def _read(path: Path) -> House:
    root = compose(path)
    errors = repeated_key_errors(path, root)
    entries: dict[str, tuple[Located, ...]] = dict.fromkeys(SECTIONS, ())
    for name, node in _sections(path, root):
        located: list[Located] = []
        for number, item in enumerate(node.value, 1):
            place = f"{path}:{line_of(item)}: {name} {number}"
            try:
                located.append(Located(_entry(path, item, SECTIONS[name]), place))
            except ValidationError as error:
                errors += [f"{place}: {_message(SECTIONS[name], detail)}" for detail in error.errors()]
        entries[name] = tuple(located)
    _raise(path, errors)
    said = {name: [item.entry.model_dump_json() for item in items] for name, items in entries.items()}
    return House(entries, hashlib.sha256(repr(said).encode()).hexdigest()[:12])


def _sections(path: Path, root: yaml.Node | None) -> Iterable[tuple[str, yaml.Node]]:
    """The lists of the file, by key.  An empty file has none."""
    if root is None:
        return
    known = ", ".join(SECTIONS)
    if not isinstance(root, yaml.MappingNode):
        raise GazetteerError(f"{path}:1: expected a mapping with the keys {known}, each a list")
    for key, node in root.value:
        name = str(key.value)
        if name not in SECTIONS:
            near = _did_you_mean(name, SECTIONS)
            raise GazetteerError(
                f"{path}:{line_of(key)}: unknown key {show_value(name)}{near}; allowed: {known}"
            )
        if isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~"):
            continue
        if not isinstance(node, yaml.SequenceNode) or len(node.value) > MOST_ENTRIES:
            raise GazetteerError(
                f"{path}:{line_of(node)}: {name} must be a list of at most {MOST_ENTRIES:,} entries"
            )
        yield name, node


def _entry(path: Path, node: yaml.Node, section: _Section) -> _Entry:
    data = as_data(path, node)
    if section.short and isinstance(data, str):
        data = {section.short: data}
    return section.model.model_validate(data)


def _message(section: _Section, detail: Any) -> str:
    location = ".".join(str(part) for part in detail["loc"])
    allowed = sorted(section.model.model_fields)
    if detail["type"] == "extra_forbidden":
        near = _did_you_mean(location, allowed)
        return f"unknown key {show_value(location)}{near}; allowed: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{location} is required"
    reason = shorten_text(detail["msg"].removeprefix("Value error, "))
    if not location:
        return f"{show_value(detail['input'])} is no entry: expected {', '.join(allowed)}"
    return f"{location} is {show_value(detail['input'])}: {reason}"


def _raise(path: Path, errors: Sequence[str]) -> None:
    if errors:
        rest = [f"{path}: and {len(errors) - MOST_ERRORS} more errors"] if len(errors) > MOST_ERRORS else []
        raise GazetteerError("\n".join([*errors[:MOST_ERRORS], *rest]))


class Taken(NamedTuple):
    """A name that was that of `before`, and is that of `now`; None if it is a link to none any more."""

    name: str
    before: str
    now: str | None


@dataclass(frozen=True)
class Applied:
    """The entities after a house's changes.

    `forbidden` are the names that are no links, folded, with the id for which they are none, or None for all.
    `taken` are the shipped names that the changes took away from an entity.
    """

    entities: Mapping[str, Entity]
    forbidden: frozenset[tuple[str, str | None]]
    taken: tuple[Taken, ...] = ()


def apply(path: Path, house: House, shipped: Shipped) -> Applied:
    """Make the changes.  Raises GazetteerError if an entry does not fit the shipped gazetteer."""
    changes = _Changes(path, shipped)
    for section, change in (
        ("remove", changes.remove),
        ("add", changes.add),
        ("alias", changes.alias),
        ("forbid", changes.forbid),
    ):
        for item in house.entries[section]:
            change(item.entry, item.place)
    return changes.result()


class _Changes:
    """The entities while they are changed, and the errors so far."""

    def __init__(self, path: Path, shipped: Shipped) -> None:
        self._path, self._shipped = path, shipped
        self._entities = dict(shipped.entities)
        self._errors: list[str] = []
        # Names that the house gave, with the entity that has them now.
        self._given: dict[str, str] = {}
        self._flagged: set[str] | None = None
        self._forbidden: set[tuple[str, str | None]] = set()

    def remove(self, entry: Removal, place: str) -> None:
        entity = self._find(entry.id, place)
        if entity is not None:
            del self._entities[entity]

    def add(self, entry: Addition, place: str) -> None:
        if entry.id in self._entities:
            known = self._entities[entry.id].name
            self._errors.append(f"{place}: {entry.id} is there already ({known}): give it names under alias")
            return
        usual = [HouseName(name=name) for name in (entry.name, entry.chinese_name) if name]
        names = [*usual, *entry.names]
        if not names:
            self._errors.append(f"{place}: {entry.id} has no name: give it a name, or names")
            return
        self._entities[entry.id] = Entity(
            id=entry.id,
            kind=entry.kind,
            name=entry.name or names[0].name,
            chinese_name=entry.chinese_name,
            tickers=entry.tickers,
        )
        self._give(entry.id, names, place)

    def alias(self, entry: Alias, place: str) -> None:
        entity = self._find(entry.id, place)
        if entity is not None:
            self._give(entity, entry.names, place)

    def forbid(self, entry: Forbidden, place: str) -> None:
        entity = self._find(entry.id, place) if entry.id else None
        if entry.id and entity is None:
            return
        forms = {form.text for form in name_forms(entry.name) if not form.needs_legal}
        self._forbidden |= {(form, entity) for form in forms | {_key(entry.name)}}

    def _find(self, entity: str, place: str) -> str | None:
        """The id of an entity that is there; else an error."""
        current = entity if entity in self._entities else self._shipped.resolve(entity)
        if current in self._entities:
            return current
        if current is not None:
            self._errors.append(f"{place}: {entity} is removed by this file: take it out under remove")
        else:
            self._errors.append(f"{place}: unknown id {show_value(entity)}{self._suggestion(entity)}")
        return None

    def _suggestion(self, entity: str) -> str:
        close = difflib.get_close_matches(entity, self._entities, 50, 0.7)
        near = sorted(close, key=lambda known: self._distance(known, entity))
        if not near:
            return ": see `monitor entities list`, or add it under add"
        return f" (did you mean {near[0]}, {self._entities[near[0]].name}?)"

    def _distance(self, known: str, written: str) -> tuple[bool, int, int]:
        """How far an id is from a misspelt one; of equally near ones the entity with most names is meant."""
        different = sum(one != other for one, other in zip(known, written, strict=False))
        return len(known) != len(written), different, -len(self._entities[known].names)

    def _give(self, entity: str, names: Iterable[HouseName], place: str) -> None:
        for name in names:
            key = _key(name.name)
            owner = self._given.setdefault(key, entity)
            if owner != entity:
                self._errors.append(
                    f"{place}: {show_value(name.name)} is a name of {owner} by this file already"
                )
                continue
            flag = key in self._flagged_names() if name.needs_evidence is None else name.needs_evidence
            self._entities[entity] = _with_name(self._entities[entity], Name(name.name, flag))

    def _flagged_names(self) -> set[str]:
        """The names of the shipped gazetteer that need evidence."""
        if self._flagged is None:
            shipped = self._shipped.entities.values()
            self._flagged = {
                fold(name.text) for entity in shipped for name in entity.names if name.needs_evidence
            }
        return self._flagged

    def result(self) -> Applied:
        _raise(self._path, self._errors)
        taken: list[Taken] = []
        if self._given or self._forbidden:
            for entity in list(self._entities.values()):
                lost = [name for name in entity.names if not self._stays(entity.id, name)]
                if lost:
                    kept = tuple(name for name in entity.names if name not in lost)
                    self._entities[entity.id] = replace(entity, names=kept)
                    taken += (Taken(name.text, entity.id, self._given.get(fold(name.text))) for name in lost)
        return Applied(self._entities, frozenset(self._forbidden), tuple(taken))

    def _stays(self, entity: str, name: Name) -> bool:
        """Whether no other entity got the name, and nothing forbids it."""
        key = fold(name.text)
        if self._given.get(key, entity) != entity:
            return False
        return (key, None) not in self._forbidden and (key, entity) not in self._forbidden


def _with_name(entity: Entity, name: Name) -> Entity:
    """The entity with one more name, which takes the place of an equal one."""
    others = tuple(known for known in entity.names if fold(known.text) != fold(name.text))
    return replace(entity, names=(*others, name))


def _key(name: str) -> str:
    """Equal for two spellings of one name, in simplified or in traditional characters."""
    return fold(name if name.isascii() else clean(name).text)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""

"""The hand-written files of the gazetteer, and the compiled ones."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools.gazetteer_drafts import LEGAL_NAME, Draft, Listing, mapping_of, title_case
from tools.legal_names import strip_tags

ENTITIES, IDS, COMMON_WORDS = "entities.tsv", "ids.txt", "common_words.txt"
# The size of a company that is in no list, in ranks of the lists.
HAND_RANK = 5000


class CompileError(Exception):
    """A file cannot be used; names file and line, or the entity."""


@dataclass
class HandCorrections:
    """What corrections.txt says: names of rows, rows to leave out, companies to join or to keep apart."""

    names: dict[str, str] = field(default_factory=dict)
    dropped: list[re.Pattern[str]] = field(default_factory=list)
    same: list[tuple[str, str]] = field(default_factory=list)
    pairs_apart: set[frozenset[str]] = field(default_factory=set)

    def correct(self, listing: Listing) -> Listing | None:
        """The listing as it should be; None if it is to be left out."""
        if any(pattern.fullmatch(listing.ticker) for pattern in self.dropped):
            return None
        if name := self.names.get(listing.ticker):
            return replace(listing, english=name, key="")
        if listing.source == "us":
            return replace(listing, english=title_case(strip_tags(listing.english)))
        return listing

    def apart(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self.pairs_apart


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with content, and their numbers."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def read_corrections(path: Path) -> HandCorrections:
    """`name TICKER NAME`, `drop PATTERN`, `same TICKER TICKER...`, `apart TICKER TICKER...`.

    Raises CompileError.
    """
    result = HandCorrections()
    for number, line in lines(path):
        verb, *rest = line.split()
        if verb == "name" and len(rest) > 1:
            result.names[rest[0]] = " ".join(rest[1:])
        elif verb == "drop" and len(rest) == 1:
            result.dropped.append(re.compile(rest[0]))
        elif verb == "same" and len(rest) > 1:
            result.same += [(rest[0], other) for other in rest[1:]]
        elif verb == "apart" and len(rest) > 1:
            result.pairs_apart |= {frozenset((rest[0], other)) for other in rest[1:]}
        else:
            raise CompileError(f"{path}:{number}: expected name, drop, same or apart, and tickers")
    return result


def _columns(path: Path, number: int, line: str, most: int) -> list[str]:
    columns = [column.strip() for column in line.split("|")]
    if len(columns) > most:
        raise CompileError(f"{path}:{number}: {len(columns)} columns; at most {most} are allowed")
    return columns + [""] * (most - len(columns))


def _split(column: str) -> list[str]:
    return [part.strip() for part in column.split(";") if part.strip()]


def add_companies(path: Path, drafts: list[Draft]) -> None:
    """Add names by hand: `TICKER | usual name | Chinese name | other names | other tickers`.

    A ticker after `+` is that of a company that is in no list; a company of a list that has one of its other
    tickers is the same.  A name after `-` is taken away.  Raises CompileError.
    """
    known = dict(mapping_of(drafts))
    for number, line in lines(path):
        ticker, english, chinese, others, tickers = _columns(path, number, line, 5)
        draft = known.get(ticker.lstrip("+"))
        if (draft is None) != ticker.startswith("+"):
            fault = "is in a list: remove the +" if draft else "is in no list: put + in front"
            raise CompileError(f"{path}:{number}: {ticker.lstrip('+')} {fault}")
        if draft is None:
            if not english:
                raise CompileError(f"{path}:{number}: {ticker[1:]} has no name")
            draft = Draft(ticker[1:], "company", rank=HAND_RANK)
            draft.tickers += [] if ticker.startswith("+XXXX") else [draft.id]
            drafts.append(draft)
            known[draft.id] = draft
        _fill(draft, english, chinese, _split(others))
        for other in _split(tickers):
            same = known.get(other, draft)
            if same is not draft:
                if not ticker.startswith("+"):
                    raise CompileError(f"{path}:{number}: {other} is a ticker of {same.id}")
                draft.absorb(same)
                drafts.remove(same)
                known.update(dict.fromkeys(same.tickers, draft))
            if other not in draft.tickers:
                draft.tickers.append(other)
                known[other] = draft


def read_entities(path: Path, kind: str) -> list[Draft]:
    """`id | usual name | Chinese name | other names | tickers`.  Raises CompileError."""
    drafts = []
    for number, line in lines(path):
        entity, english, chinese, others, tickers = _columns(path, number, line, 5)
        if not english:
            raise CompileError(f"{path}:{number}: {entity} has no name")
        draft = Draft(entity, kind, rank=number, tickers=_split(tickers))
        _fill(draft, english, chinese, _split(others))
        drafts.append(draft)
    return drafts


def _fill(draft: Draft, english: str, chinese: str, others: Iterable[str]) -> None:
    if english:
        draft.name = english.lstrip("?!")
        draft.add_name(english)
    if chinese:
        draft.chinese_name = chinese.lstrip("?!")
        draft.add_name(chinese)
    for name in others:
        if name.startswith("-"):
            draft.names.pop(name[1:], None)
        else:
            draft.add_name(name)


class HandWords:
    """Names that are words too, from words.txt (by hand) and common_words.txt (counted in texts)."""

    def __init__(self, words: Iterable[str], common: Iterable[str]) -> None:
        self._words = frozenset(word.casefold() for word in words)
        self._common = frozenset(word.casefold() for word in common)

    def is_word(self, name: str) -> bool:
        return name.casefold() in self._words

    def is_common(self, name: str) -> bool:
        return name.casefold() in self._common


def read_words(folder: Path) -> HandWords:
    return HandWords(*(_words(folder / name) for name in ("words.txt", COMMON_WORDS)))


def _words(path: Path) -> list[str]:
    return [word for _, line in lines(path) for word in _split(line)]


def read_places(folder: Path) -> list[str]:
    return _words(folder / "places.txt")


@dataclass
class Published:
    """What was compiled before: the lines of the ids, what each id means, and the entities."""

    lines: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)


def read_published(folder: Path) -> Published:
    """What the folder has; nothing if it is empty."""
    published = Published()
    if not (folder / ENTITIES).exists():
        return published
    for line in (folder / ENTITIES).read_text(encoding="utf-8").splitlines():
        entity, kind, name, chinese, tickers, names, keys = line.split("\t")
        draft = Draft(entity, kind, name, chinese, tickers.split(), keys=keys.split())
        for written in filter(None, names.split("|")):
            draft.add_name(written, LEGAL_NAME)
        published.drafts.append(draft)
    published.lines = (folder / IDS).read_text(encoding="utf-8").splitlines()
    for line in published.lines:
        entity, _, current = line.partition(" ")
        published.ids[entity] = current or entity
    return published


def write(drafts: Sequence[Draft], published: Published, folder: Path) -> None:
    """Write the entities, a line each, and add new ids to the list of all that were ever published.

    An id that is no entity any more gets a line with the id that took its place.  Lines are never changed.
    Raises CompileError if an id would be lost.
    """
    current = {entity: draft.id for draft in drafts for entity in (draft.id, *draft.former_ids)}
    lost = sorted(entity for entity, now in published.ids.items() if now not in current)
    if lost:
        raise CompileError(f"published ids would be lost: {', '.join(lost[:10])}")
    changed = sorted(
        entity if entity == now else f"{entity} {now}"
        for entity, now in current.items()
        if published.ids.get(entity) != now
    )
    rows = sorted(_row(draft) for draft in drafts)
    (folder / ENTITIES).write_text("".join(rows), encoding="utf-8")
    (folder / IDS).write_text("".join(f"{line}\n" for line in [*published.lines, *changed]), encoding="utf-8")


def _row(draft: Draft) -> str:
    usual = [name for name in (draft.name, draft.chinese_name) if name in draft.names]
    ordered = dict.fromkeys([*usual, *draft.names])
    names = "|".join(("?" if draft.flags.get(name) else "") + name for name in ordered)
    columns = [
        draft.id,
        draft.kind,
        draft.name,
        draft.chinese_name,
        " ".join(draft.tickers),
        names,
        " ".join(draft.keys),
    ]
    if any("\t" in column or "\n" in column for column in columns):
        raise CompileError(f"{draft.id}: a tab or a line break in a name")
    return "\t".join(columns) + "\n"

"""Names that are known, found in texts: places in English and Chinese, and Chinese names of other things.

English names are written as names are ("US", not "us"); Chinese is written without blanks, and its names are
found where they stand.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
WORD = re.compile(r"[^\W\d_](?:[\w.&'-]*\w)?\.?")
# A shorter name must be written with its own capitals: "US", "Ore."
LONGEST_OF_CAPITALS = 3


class Names(NamedTuple):
    """Known names: English ones by the first word in lower case, Chinese ones by their first two characters.

    Longer names come first.  Each has the id of what it names.
    """

    english: Mapping[str, list["EnglishName"]]
    chinese: Mapping[str, list[tuple[str, str]]]


class EnglishName(NamedTuple):
    """The words of a name as they are compared, whether a text must begin it with a capital ("Hong Kong", but
    "euro zone"), and the id of what it names."""

    words: tuple[str, ...]
    is_capital: bool
    id: str


@cache
def places() -> Names:
    """Countries (`jp`), and their cities and regions (`jp-tokyo`)."""
    return _names((row["id"], row["english"], row["chinese"]) for row in _rows("places.csv"))


@cache
def chinese_names() -> Names:
    """People, organisations, products and statistics, in Chinese texts."""
    return _names((row["id"], "", row["names"]) for row in _rows("names_zh.csv"))


class Found(NamedTuple):
    """A name in a text: characters from `start` up to `end`, and the id of what it names."""

    start: int
    end: int
    id: str


def find(text: str, names: Names, *, has_han: bool) -> list[Found]:
    """The names in a text; the English ones come first."""
    return [*_english(text, names), *(_chinese(text, names) if has_han else ())]


def _english(text: str, names: Names) -> Iterator[Found]:
    words = list(_words(text)) if names.english else []
    keys = [_key(word) for _, _, word in words]
    at = 0
    while at < len(words):
        for name in names.english.get(words[at].text.casefold(), ()):
            last = at + len(name.words) - 1
            own = (keys[at],) if at == last else _folded(words[at : last + 1])
            if own == name.words and (_is_capital(words[at]) or not name.is_capital):
                yield Found(words[at].start, words[last].end, name.id)
                at = last
                break
        at += 1


class Word(NamedTuple):
    """A word of a text: characters from `start` up to `end`, without dots and a possessive ending."""

    start: int
    end: int
    text: str


def _words(text: str) -> Iterator[Word]:
    """Words; the parts of "US-China" are words too."""
    for match in WORD.finditer(text):
        start = match.start()
        for part in match[0].split("-"):
            plain = part.removesuffix("'s").removesuffix("'S")
            yield Word(start, start + len(part), plain.replace(".", ""))
            start += len(part) + 1


def _folded(words: Sequence[Word]) -> tuple[str, ...]:
    """The words of a name of several, as they are compared."""
    return tuple(word.text.casefold() for word in words)


def _is_capital(word: Word) -> bool:
    return word.text[:1].isupper()


def _chinese(text: str, names: Names) -> Iterator[Found]:
    at = 0
    while at < len(text) - 1:
        for variant, name in names.chinese.get(text[at : at + 2], ()):
            if text.startswith(variant, at) and not text.startswith("门", at + len(variant)):
                yield Found(at, at + len(variant), name)
                at += len(variant) - 1
                break
        at += 1


def _key(word: str) -> str:
    """A word that is a name by itself, as it is compared: capitals count in short ones."""
    return word.casefold() if len(word) > LONGEST_OF_CAPITALS and word[:1].isupper() else word


def _names(rows: Iterable[tuple[str, str, str]]) -> Names:
    english: dict[str, list[EnglishName]] = {}
    chinese: dict[str, list[tuple[str, str]]] = {}
    for name, in_english, in_chinese in rows:
        for variant in filter(None, in_english.split(";")):
            words = list(_words(variant))
            forms = (_key(words[0].text),) if len(words) == 1 else _folded(words)
            entry = EnglishName(forms, _is_capital(words[0]), name)
            english.setdefault(words[0].text.casefold(), []).append(entry)
        for variant in filter(None, in_chinese.split(";")):
            chinese.setdefault(variant[:2], []).append((variant, name))
    return Names(
        {first: sorted(own, key=_longest_first) for first, own in english.items()},
        {first: sorted(own, key=_longest_first) for first, own in chinese.items()},
    )


def _longest_first(entry: Sequence[Any]) -> int:
    return -len(entry[0])


def _rows(file: str) -> Iterator[dict[str, str]]:
    with (FOLDER / file).open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)

"""The invented world of the sample feed: its companies, who writes about them, and what they write.

The companies are those of `entities.yaml`, the demo's list of entities.  The texts are in `texts.yaml` (an
ordinary day) and `surge.yaml`, publishers and authors in `publishers.yaml`.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from models.entities.house import read_house
from stream.domain.files import plain_yaml

FOLDER = Path(__file__).parent
ENTITIES = FOLDER / "entities.yaml"
ENGLISH, CHINESE = "en", "zh"
# Sectors whose companies are named in news about others only.
SPEAKERS = frozenset({"broker", "rating_agency", "auditor"})


class Company(msgspec.Struct, frozen=True):
    """An invented company.  `short` is its shortest English name, `home` the language of its country."""

    symbol: str
    sector: str
    name: str
    chinese_name: str
    short: str
    home: str

    def named(self, lang: str) -> str:
        """Its name in a language."""
        return self.chinese_name if lang == CHINESE else self.name


class Publisher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wire, a site or a board.  With `symbols`, its messages name tickers."""

    name: str
    host: str
    symbols: bool = False


class Publishers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who writes, by language; `people` are officers of companies, with an English and a Chinese name."""

    wires: Mapping[str, tuple[Publisher, ...]]
    syndicators: Mapping[str, tuple[Publisher, ...]]
    boards: Mapping[str, tuple[Publisher, ...]]
    reporters: Mapping[str, tuple[str, ...]]
    commenters: Mapping[str, tuple[tuple[str, ...], ...]]
    people: tuple[tuple[str, str], ...]


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens on an ordinary day; its titles in a language are wordings of the same news.

    `weight` says how common it is.  It happens to a company of one of its `sectors`, by default any, or to
    the `market`.  `choices` are slots of its own, each with pairs of an English and a Chinese value.
    """

    en: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()
    en_text: tuple[str, ...] = ()
    zh_text: tuple[str, ...] = ()
    en_comments: tuple[str, ...] = ()
    zh_comments: tuple[str, ...] = ()
    weight: int = 1
    market: bool = False
    sectors: tuple[str, ...] = ()
    choices: Mapping[str, tuple[tuple[str, str], ...]] = {}

    def titles(self, lang: str) -> tuple[str, ...]:
        """The headlines in a language."""
        return self.zh if lang == CHINESE else self.en

    def sentences(self, lang: str) -> tuple[str, ...]:
        """What the text under a headline can say."""
        return self.zh_text if lang == CHINESE else self.en_text

    def comments(self, lang: str) -> tuple[str, ...]:
        """What readers say of it."""
        return self.zh_comments if lang == CHINESE else self.en_comments


class CommentParts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A comment is one of each: an opening, what it is about, and an ending."""

    opening: tuple[str, ...]
    about: tuple[str, ...]
    ending: tuple[str, ...]


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The texts of an ordinary day; `chinese` are the tickers of companies in China."""

    sectors: Mapping[str, tuple[str, ...]]
    chinese: tuple[str, ...]
    slots: Mapping[str, tuple[tuple[str, str], ...]]
    background: Mapping[str, tuple[str, ...]]
    events: tuple[Event, ...]
    comments: Mapping[str, CommentParts]


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A headline with a text under it."""

    title: str
    text: str = ""


class SurgePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event of the surge.  `fall` is the range of the share's fall in percent while it is reported."""

    part: str
    fall: tuple[int, int]
    news: Mapping[str, tuple[Report | str, ...]]
    comments: Mapping[str, tuple[str, ...]]


class World(msgspec.Struct, frozen=True):
    """All of it."""

    companies: tuple[Company, ...]
    publishers: Publishers
    texts: Texts
    surge: tuple[SurgePart, ...]

    def sector(self, name: str) -> list[Company]:
        """The companies of a sector."""
        return [company for company in self.companies if company.sector == name]

    @property
    def listed(self) -> list[Company]:
        """The companies that news is about."""
        return [company for company in self.companies if company.sector not in SPEAKERS]


@cache
def load_world() -> World:
    """Read the files of the demo once."""
    texts = msgspec.convert(_read("texts.yaml"), Texts)
    return World(
        companies=_companies(texts),
        publishers=msgspec.convert(_read("publishers.yaml"), Publishers),
        texts=texts,
        surge=msgspec.convert(_read("surge.yaml"), tuple[SurgePart, ...]),
    )


def _companies(texts: Texts) -> tuple[Company, ...]:
    sectors = {symbol: sector for sector, symbols in texts.sectors.items() for symbol in symbols}
    companies = []
    for located in read_house(ENTITIES).entries["add"]:
        entity = located.entry
        symbol = entity.id.partition(":")[2]
        companies.append(
            Company(
                symbol=symbol,
                sector=sectors[symbol],
                name=entity.name,
                chinese_name=entity.chinese_name,
                short=entity.names[0].name if entity.names else entity.name,
                home=CHINESE if symbol in texts.chinese else ENGLISH,
            )
        )
    return tuple(companies)


def _read(name: str) -> Any:
    path = FOLDER / name
    node = plain_yaml.compose(path)
    return plain_yaml.as_data(path, node) if node else None

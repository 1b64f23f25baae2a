"""The gazetteer: all entities that texts are linked to, by id, and by ticker.

docs/entities.md describes the ids, the sources of the names, and the files in models/entities/data.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Self

from models.entities.entity import Entity, EntityKind, Name

DATA = Path(__file__).parent / "data"
ENTITIES, IDS = DATA / "entities.tsv", DATA / "ids.txt"
# Exchanges whose tickers are meant where a text names no exchange, and one where a ticker is a last resort.
FIRST_EXCHANGES = frozenset(("XNAS", "XNYS", "BATS"))
LAST_EXCHANGE = "OTCM"
# In front of a name in the data that needs evidence.
EVIDENCE_MARK = "?"
DIGITS_OF_HONG_KONG = 4


@dataclass(frozen=True)
class Gazetteer:
    """All entities.  Immutable, so any thread may use it.

    `entities` is by id.  `retired` has the ids that were published once and are no more, with the ids that
    took their place.  `forbidden` has the names that a house's file forbids, folded, with the id for which it
    does, or None for all.  `version` changes whenever an entity does, and has at most 64 characters.
    """

    version: str
    entities: Mapping[str, Entity]
    retired: Mapping[str, str]
    forbidden: frozenset[tuple[str, str | None]] = frozenset()

    @classmethod
    def load(cls, house: Path | None = None) -> Self:
        """The shipped gazetteer, with the changes of a house's own file, if there is one.

        Raises GazetteerError if the file has errors.
        """
        shipped = cls._load_shipped()
        if house is None:
            return shipped
        # It reads names as the linker does, which takes longer to import than this module.
        from models.entities.house import apply, read_house

        own = read_house(house)
        applied = apply(house, own, shipped)
        return cls(
            version=f"{shipped.version}+{own.version}",
            entities=MappingProxyType(applied.entities),
            retired=shipped.retired,
            forbidden=applied.forbidden,
        )

    @classmethod
    def _load_shipped(cls) -> Self:
        content, ids = ENTITIES.read_bytes(), IDS.read_bytes()
        entities = (_entity(line) for line in content.decode().splitlines())
        pairs = (line.split() for line in ids.decode().splitlines() if " " in line)
        return cls(
            version=hashlib.sha256(content + ids).hexdigest()[:12],
            entities=MappingProxyType({entity.id: entity for entity in entities}),
            retired=MappingProxyType(dict(pairs)),
        )

    @cached_property
    def by_ticker(self) -> Mapping[str, str]:
        """The id that a ticker means, by `normal_ticker`: with its MIC, and without.

        Without, it is the entity that claims it as such (`BTC`, `^GSPC`), else the one on an exchange of the
        United States, else the only one.  A ticker that several have is left out.
        """
        found: dict[str, str] = {}
        claims: dict[str, dict[str, int]] = {}
        for entity in self.entities.values():
            for ticker in entity.tickers:
                normal = normal_ticker(ticker)
                found[normal] = entity.id
                mic, _, bare = normal.rpartition(":")
                claim = claims.setdefault(bare, {})
                claim[entity.id] = min(_claim(mic), claim.get(entity.id, 9))
        for bare, claim in claims.items():
            strongest = min(claim.values())
            best = [entity for entity, strength in claim.items() if strength == strongest]
            if len(best) == 1:
                found[bare] = best[0]
        return MappingProxyType(found)

    def forbids(self, folded: str, entity: str) -> bool:
        """Whether a house forbids to link this folded name to this entity."""
        return (folded, None) in self.forbidden or (folded, entity) in self.forbidden

    def resolve(self, entity: str) -> str | None:
        """The id of the entity that has this id, ever had it, or is listed by it; None if there is none."""
        current = self.retired.get(entity, entity)
        if current in self.entities:
            return current
        return self.by_ticker.get(normal_ticker(current)) if ":" in current else None


def normal_ticker(ticker: str) -> str:
    """A ticker in the gazetteer's form: `BRK-B` for `brk.b` and `BRK/B`, `XHKG:0700` for `XHKG:00700`."""
    mic, _, bare = ticker.strip().upper().rpartition(":")
    if not bare.startswith("^"):
        bare = bare.replace(".", "-").replace("/", "-")
    if mic == "XHKG" and bare.isdigit():
        bare = bare.lstrip("0").zfill(DIGITS_OF_HONG_KONG)
    return f"{mic}:{bare}" if mic else bare


def _claim(mic: str) -> int:
    """How strong the claim of a listing to its bare ticker is; lower is stronger."""
    if not mic:
        return 0
    return 1 if mic in FIRST_EXCHANGES else 3 if mic == LAST_EXCHANGE else 2


def _entity(line: str) -> Entity:
    """The entity of one line of the data: id, kind, usual name, Chinese name, tickers, names, source keys."""
    entity, kind, name, chinese, tickers, names, _keys = line.split("\t")
    return Entity(
        id=entity,
        kind=EntityKind(kind),
        name=name,
        chinese_name=chinese or None,
        tickers=tuple(tickers.split()),
        names=tuple(_names(names.split("|"))) if names else (),
    )


def _names(written: Iterable[str]) -> Iterable[Name]:
    for text in written:
        if text.startswith(EVIDENCE_MARK):
            yield Name(text[1:], needs_evidence=True)
        else:
            yield Name(text)

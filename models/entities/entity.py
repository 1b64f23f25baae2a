"""An entity of the gazetteer, and how texts name it."""

from dataclasses import dataclass
from enum import StrEnum


class EntityKind(StrEnum):
    """What an entity is, by the name in the gazetteer and in SQL."""

    COMPANY = "company"
    CRYPTO = "crypto"
    INDEX = "index"
    COMMODITY = "commodity"
    CURRENCY = "currency"
    CENTRAL_BANK = "central_bank"
    REGULATOR = "regulator"


@dataclass(frozen=True, slots=True)
class Name:
    """A name of an entity.  One that `needs_evidence` is a word too: alone it is no link."""

    text: str
    needs_evidence: bool = False


@dataclass(frozen=True, slots=True)
class Entity:
    """One company, coin, index, commodity, currency, central bank or regulator.

    `id` never changes.  `name` is its usual name in English, `chinese_name` in Chinese, if it has one.
    `tickers` are its listings as MIC and ticker (`XNAS:AAPL`, `XHKG:0700`), `names` all that texts call
    it, the two usual names among them.
    """

    id: str
    kind: EntityKind
    name: str
    chinese_name: str | None = None
    tickers: tuple[str, ...] = ()
    names: tuple[Name, ...] = ()

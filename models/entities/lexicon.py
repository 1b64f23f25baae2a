"""The names of the gazetteer, and where a text has them.

All names, and the phrases that contain a name and mean something else, are patterns of one Aho-Corasick
automaton over folded text (Aho and Corasick, Efficient string matching, 1975).  It reports every occurrence;
`Lexicon.find` keeps those on word boundaries that are written as the name is.
"""

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import ahocorasick_rs

from models.entities.entity import Entity, EntityKind, Name
from models.entities.evidence_words import NOT_NAMES
from models.entities.forms import HAN, LEGAL, LEGAL_ZH, ReadText, fold, name_forms
from models.entities.gazetteer import Gazetteer

# Beside one of these, a name that begins or ends with one of them goes on.
WORD_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
# A name in capitals and no longer than this is an acronym: in lower case it is another word.
LONGEST_ACRONYM = 5
# How a legal form begins, so that it is not looked for behind other names.
BEFORE_LEGAL = frozenset(" ,(&（股有控集")


class Need(IntEnum):
    """What a name needs to be a link: nothing, evidence, or a legal form behind it."""

    NOTHING = 0
    EVIDENCE = 1
    LEGAL = 2


class Claim(NamedTuple):
    """An entity that a name belongs to; `legals` are the legal forms that it has behind the name."""

    entity: str
    kind: EntityKind
    need: Need
    is_acronym: bool
    has_capitals: bool
    legals: frozenset[str] = frozenset()


class Match(NamedTuple):
    """A name from `start` to `end` of a text; from `core_end` on it is a legal form.

    Without claims it is a phrase that is no name.
    """

    start: int
    end: int
    core_end: int
    claims: tuple[Claim, ...] = ()

    @property
    def has_legal(self) -> bool:
        """Whether a legal form stands behind the name."""
        return self.core_end < self.end


# The entities that each folded name belongs to.
Claims = dict[str, tuple[Claim, ...]]


class Lexicon:
    """All names.  Immutable: any thread may use it."""

    def __init__(self, gazetteer: Gazetteer) -> None:
        # What a house forbids for everyone hides the names within it: "Cupertino Times" hides "Cupertino".
        forbidden = {phrase for phrase, entity in gazetteer.forbidden if entity is None}
        claims: Claims = dict.fromkeys([*map(fold, NOT_NAMES), *sorted(forbidden)], ())
        for entity in gazetteer.entities.values():
            for name in entity.names:
                _claim(claims, entity, name)
        self._claims = list(claims.values())
        self._automaton = ahocorasick_rs.AhoCorasick(
            claims, implementation=ahocorasick_rs.Implementation.ContiguousNFA, store_patterns=False
        )

    def find(self, text: ReadText) -> list[Match]:
        """All names and phrases on word boundaries, by their end; they may overlap."""
        folded, last = text.folded, len(text.folded)
        found = []
        for index, start, end in self._automaton.find_matches_as_indexes(folded, overlapping=True):
            if start and folded[start - 1] in WORD_CHARACTERS and folded[start] in WORD_CHARACTERS:
                continue
            if end < last and folded[end] in WORD_CHARACTERS and folded[end - 1] in WORD_CHARACTERS:
                continue
            claims = self._claims[index]
            match = Match(start, end, end, claims) if not claims else _match(text, start, end, claims)
            if match is not None:
                found.append(match)
        return found


def _claim(claims: Claims, entity: Entity, name: Name) -> None:
    """Add the forms of a name.  Of equal forms of an entity, the one that needs least counts."""
    is_acronym = len(name.text) <= LONGEST_ACRONYM and name.text.isupper() and _is_letters(name.text)
    has_capitals = name.text != name.text.lower()
    plain = Need.EVIDENCE if name.needs_evidence else Need.NOTHING
    for form in name_forms(name.text):
        # A number is no name by itself.
        need = Need.LEGAL if form.needs_legal or form.text.isdigit() else plain
        known = claims.get(form.text, ())
        claim = Claim(entity.id, entity.kind, need, is_acronym, has_capitals, _legals(form.legal))
        for own in known:
            if own.entity == entity.id:
                claim = _least(claim, own)
        claims[form.text] = (*(own for own in known if own.entity != entity.id), claim)


def _least(claim: Claim, other: Claim) -> Claim:
    """What two names of an entity that have a form in common need: the least."""
    return claim._replace(
        need=min(claim.need, other.need),
        is_acronym=claim.is_acronym and other.is_acronym,
        has_capitals=claim.has_capitals and other.has_capitals,
        legals=_shared(claim.legals | other.legals),
    )


@lru_cache(1024)
def _legals(legal: str) -> frozenset[str]:
    return frozenset((legal,)) if legal else frozenset()


@lru_cache(4096)
def _shared(legals: frozenset[str]) -> frozenset[str]:
    """One object for equal sets: most companies have one of a few legal forms."""
    return legals


def _is_letters(name: str) -> bool:
    return name.isascii() and name.isalnum()


def _match(text: ReadText, start: int, end: int, claims: tuple[Claim, ...]) -> Match | None:
    """The match with its legal form; None if no claim allows what the text has here."""
    written = text.text
    if _in_address(written, start, end) or _in_number(written, start):
        return None
    full_end = end
    if end < len(written) and written[end] in BEFORE_LEGAL:
        pattern = LEGAL_ZH if HAN.match(written, end - 1) else LEGAL
        legal = pattern.match(written, end)
        full_end = legal.end() if legal else end
    own = [claim for claim in claims if claim.need is not Need.LEGAL or full_end > end]
    if any(claim.is_acronym for claim in own) and not written[start:end].isupper():
        own = [claim for claim in own if not claim.is_acronym]
    return Match(start, full_end, end, tuple(own)) if own else None


def _in_number(written: str, start: int) -> bool:
    """Whether the match is a part of a number, as 3M in $52.3M."""
    return written[start].isdigit() and written[start - 1 : start] in (".", ",", "$", "€", "£", "¥")


def _in_address(written: str, start: int, end: int) -> bool:
    """Whether the match is a part of an address such as `apple.com` or `shop.apple`."""
    after = written[end : end + 2]
    if len(after) == 2 and after[0] == "." and "a" <= after[1] <= "z":
        return True
    before = written[max(0, start - 2) : start]
    return len(before) == 2 and before[1] == "." and before[0].islower() and written[start].islower()

"""Entities of the gazetteer while they are put together: joined listings, and names that are settled."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tools import legal_names

# Which listing of a company gives it its id; the lists of the world are between the Chinese and OTC.
MAIN_LISTING = {"XNAS": 0, "XNYS": 0, "BATS": 0, "XSHG": 1, "XSHE": 1, "XBSE": 1, "OTCM": 3}
WORLD_LISTING = 2
# How far a name is from what a person wrote: lower wins where two entities have the same name.
HAND, LEGAL_NAME, SHORTENED = 0, 1, 3
# Of two companies with one name, one of so many times the rank is left out.
LARGER = 4
UNKNOWN_RANK = 1_000_000
# Texts call companies up to this rank by the short form of their name.
WELL_KNOWN = 1500
SHORTEST_ENGLISH, LONGEST_ABBREVIATION = 3, 3


@dataclass(frozen=True)
class Listing:
    """One row of a list of companies.  `ticker` is MIC and ticker; `chinese` the short and the legal name."""

    source: str
    ticker: str
    english: str
    rank: int
    chinese: tuple[str, ...] = ()
    key: str = ""


@dataclass
class Draft:
    """An entity.  `names` are with their distance; `flags` say which need evidence, by name."""

    id: str
    kind: str
    name: str = ""
    chinese_name: str = ""
    tickers: list[str] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    former_ids: list[str] = field(default_factory=list)
    rank: int = UNKNOWN_RANK

    def add_name(self, name: str, distance: int = HAND) -> None:
        """A name, flagged by `?` in front as one that needs evidence, or by `!` as one that does not."""
        bare = name.lstrip("?!")
        if bare != name:
            self.flags[bare] = name[0] == "?"
        self.names[bare] = min(distance, self.names.get(bare, distance))

    def absorb(self, other: "Draft") -> None:
        """Take over what another draft of the same company has."""
        self.tickers += [ticker for ticker in other.tickers if ticker not in self.tickers]
        self.keys += [key for key in other.keys if key not in self.keys]
        for name, distance in other.names.items():
            self.names.setdefault(name, distance)
        self.rank = min(self.rank, other.rank)
        self.chinese_name = self.chinese_name or other.chinese_name


class Corrections(Protocol):
    """What the hand-written corrections say of two listings, by their tickers."""

    @property
    def same(self) -> Sequence[tuple[str, str]]: ...

    def apart(self, one: str, other: str) -> bool: ...


class Words(Protocol):
    """Which names are words too: names by hand, and names that are derived from a list."""

    def is_word(self, name: str) -> bool: ...

    def is_common(self, name: str) -> bool: ...


def name_key(name: str) -> str:
    """Equal for two names that the linker cannot tell apart."""
    return unicodedata.normalize("NFKC", name).casefold()


def join_listings(
    listings: Sequence[Listing], corrections: Corrections, places: Sequence[str]
) -> list[Draft]:
    """One draft for each company, however many listings it has."""
    groups = _Groups(listings, corrections)
    first: dict[str, Listing] = {}
    names: dict[tuple[str, str], Listing] = {}
    by_ticker = {listing.ticker: listing for listing in listings}
    for listing in listings:
        if listing.key:
            other = first.setdefault(listing.key, listing)
            if listing.source == "us" or _first_word(other) == _first_word(listing):
                groups.join(other, listing)
        key = legal_names.compare_key(listing.english)
        other = names.setdefault((listing.source, key), listing)
        if listing.source == "world":
            groups.join(other, listing)
    for (source, key), listing in names.items():
        for other_source in ("us", "cn", "world"):
            if key and source != other_source and (other_source, key) in names:
                groups.join(names[other_source, key], listing)
    for one, another in corrections.same:
        groups.join(by_ticker[one], by_ticker[another])
    return [_company(group, places) for group in groups.result()]


class _Groups:
    """Listings, joined in pairs."""

    def __init__(self, listings: Sequence[Listing], corrections: Corrections) -> None:
        self._parents = {listing: listing for listing in listings}
        self._corrections = corrections

    def _root(self, listing: Listing) -> Listing:
        while self._parents[listing] != listing:
            listing = self._parents[listing]
        return listing

    def join(self, one: Listing, other: Listing) -> None:
        if not self._corrections.apart(one.ticker, other.ticker):
            self._parents[self._root(other)] = self._root(one)

    def result(self) -> list[list[Listing]]:
        groups: dict[Listing, list[Listing]] = defaultdict(list)
        for listing in self._parents:
            groups[self._root(listing)].append(listing)
        return list(groups.values())


def _first_word(listing: Listing) -> str:
    """An ISIN of the world's list often belongs to the parent company, under another name."""
    return (legal_names.compare_key(listing.english).split() or [listing.ticker])[0]


def _company(group: list[Listing], places: Sequence[str]) -> Draft:
    group.sort(key=_listing_order)
    draft = Draft(group[0].ticker, "company", rank=min(listing.rank for listing in group))
    for listing in group:
        if listing.ticker not in draft.tickers:
            draft.tickers.append(listing.ticker)
        if listing.key and listing.key not in draft.keys:
            draft.keys.append(listing.key)
        for distance, name in enumerate(legal_names.english_names(listing.english), LEGAL_NAME):
            if len(name) >= SHORTEST_ENGLISH:
                draft.add_name(name, distance)
        if listing.chinese:
            short, full = listing.chinese
            names = (*legal_names.chinese_short_names(short), *legal_names.chinese_full_names(full))
            draft.chinese_name = draft.chinese_name or names[0]
            for name in names:
                draft.add_name(name, LEGAL_NAME)
            for name in legal_names.chinese_derived_names(short, full, places):
                draft.add_name(name, SHORTENED)
    draft.name = _shown_name(group)
    return draft


def _listing_order(listing: Listing) -> tuple[int, int, int, str]:
    mic = listing.ticker.partition(":")[0]
    return MAIN_LISTING.get(mic, WORLD_LISTING), listing.rank, len(listing.ticker), listing.ticker


def _shown_name(group: Sequence[Listing]) -> str:
    """The name as the list writes it that does not write all in capitals, if there is one."""
    names = [legal_names.english_names(listing.english)[0] for listing in group]
    return next((name for name in names if not name.isupper()), names[0])


def settle_names(drafts: Sequence[Draft], words: Words) -> None:
    """Give each name to one entity, in one spelling, and flag the names that need evidence."""
    for draft in drafts:
        _unify_spellings(draft)
    claims: dict[str, list[tuple[int, int, Draft, str]]] = defaultdict(list)
    for draft in drafts:
        for name, distance in draft.names.items():
            claims[name_key(name)].append((distance, draft.rank, draft, name))
    for claimed in claims.values():
        _settle(claimed)
    for draft in drafts:
        for name, distance in draft.names.items():
            if words.is_word(name) or (distance > HAND and _is_doubtful(draft, name, distance, words)):
                draft.flags.setdefault(name, True)


def _settle(claimed: Sequence[tuple[int, int, Draft, str]]) -> None:
    """A name belongs to those whose own name it is most; several of the same rank need evidence."""
    if len({id(draft) for _, _, draft, _ in claimed}) == 1:
        return
    nearest = min(distance for distance, _, _, _ in claimed)
    holders = [claim for claim in claimed if claim[0] == nearest]
    largest = min(rank for _, rank, _, _ in holders)
    for distance, rank, draft, name in claimed:
        if distance > nearest or (distance > HAND and rank > LARGER * largest):
            del draft.names[name]
        elif distance > HAND or len(holders) > 1:
            draft.flags.setdefault(name, True)


def _is_doubtful(draft: Draft, name: str, distance: int, words: Words) -> bool:
    """Whether a name from a list may be another word, or somebody else's name."""
    is_short = distance >= SHORTENED and draft.rank > WELL_KNOWN and " " not in name and name.isascii()
    return is_short or words.is_common(name) or (name.isascii() and len(name) <= LONGEST_ABBREVIATION)


def _unify_spellings(draft: Draft) -> None:
    """Keep one spelling of names that differ in case only: the one nearest to what a person wrote."""
    spellings: dict[str, str] = {}
    for name in sorted(draft.names, key=lambda name: (draft.names[name], name.isupper())):
        spellings.setdefault(name_key(name), name)
    kept = set(spellings.values())
    if draft.name not in kept:
        draft.name = spellings.get(name_key(draft.name), draft.name)
    draft.names = {name: distance for name, distance in draft.names.items() if name in kept}


def title_case(name: str) -> str:
    """A name that is written all in capitals, as texts would write it: `Oracle` for `ORACLE`."""
    return (
        re.sub(r"[^\s\-/&.()]+", lambda match: _title_word(match.group()), name) if name.isupper() else name
    )


def _title_word(word: str) -> str:
    if len(word) <= 3 and word.casefold() not in SMALL_WORDS | SHORT_WORDS:
        return word
    if not re.search("[AEIOUY]", word) or re.search(r"\d", word):
        return word
    return word.lower() if word.casefold() in SMALL_WORDS else word[0] + word[1:].lower()


# Words of a name in lower case, and short words that are no abbreviations.
_SMALL = "of and the de du di da del la le for in on et y e von"
_SHORT = """
new oil gas sun air car red sky bio one two six ten big top net web pet fox ice art eye zip box low all our
my day key lab log map max mid old pan pay pro sea see set tri uni van via way win war water gap bay bar bed
bee cup cat dog ear egg elf fun gem gum hat hub ion jet joy kid leg lie lip man mix nut oak orb pie pop raw
ray rev rib rim row run sat sea sir son spa spy tag tea tie tip toe ton toy van vet wax wet yes zen zoo inc
ltd co
"""
SMALL_WORDS, SHORT_WORDS = frozenset(_SMALL.split()), frozenset(_SHORT.split())


def mapping_of(drafts: Sequence[Draft]) -> Mapping[str, Draft]:
    """The drafts by every ticker and id."""
    return {key: draft for draft in drafts for key in (draft.id, *draft.tickers)}

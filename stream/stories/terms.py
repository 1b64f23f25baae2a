"""What a text tells, as terms: whom, where and when it is about, its figures and its other content words.

Two texts can tell the same event only if they share terms, and texts that look alike tell different events if
their names, places, periods or figures differ: "profit up 12 %" of two companies.
"""

import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from stream.domain.stories import TextTerms
from stream.stories.signature import HAN
from stream.stories.specifics import STOPWORDS, WORD, Sort, Specific, rounded, specifics, stem

# Of a long text the title and the beginning tell what it is about.
MOST_CHARACTERS = 600
# Terms of each kind that are kept.
MOST_TERMS, MOST_WORDS = 16, 40
# An entity of less relevance is mentioned by the way.
LEAST_RELEVANCE = 20
HAN_RUN = re.compile(rf"[{HAN}]+")
# The letters of a country's id.
COUNTRY = 2
# Chinese characters next to a specific that tell what it is.
NEIGHBOURS = 2
# Characters between a specific and the word that tells what it is, in other languages.
LONGEST_GAP = 12
# Chinese characters that join words rather than name things: no pair of characters spans one.
JOINING = re.compile(
    "[的了在是和与及或将为等被对从向把让于以其之并而也又都就还已再更最很太不没个这那此该各每些着过到由据称表示来源记者"
    "月日年时分秒]"
)


class ContentWord(NamedTuple):
    """A word of a text that says something, without its ending: characters from `start` up to `end`."""

    start: int
    end: int
    stem: str


def text_terms(text: str, entities: Iterable[tuple[str, int]] = ()) -> TextTerms:
    """The terms of a text (`signature.core`) with these entities (id, relevance)."""
    text = text[:MOST_CHARACTERS]
    has_han = HAN_RUN.search(text) is not None
    found = specifics(text, has_han=has_han)
    words = list(_content_words(text, found))
    of_sort = {sort: [each.value for each in found if each.sort is sort] for sort in Sort}
    places, numbers = of_sort[Sort.PLACE], of_sort[Sort.NUMBER]
    slots = dict(_slots(text, found, words))
    first = sorted(slots)[: 2 * MOST_TERMS]
    return TextTerms(
        entities=_hashes(name for name, relevance in entities if relevance >= LEAST_RELEVANCE),
        # Texts round: of an exact figure both forms are kept.
        numbers=_hashes([*numbers, *filter(None, map(rounded, numbers))]),
        periods=_hashes(of_sort[Sort.PERIOD]),
        names=_hashes(of_sort[Sort.NAME]),
        # A city stands for its country too: "Ankara raises rates" is about Turkey.
        countries=_hashes(country for place in places if len(country := place.partition("-")[0]) == COUNTRY),
        cities=_hashes(place for place in places if "-" in place),
        words=_hashes((word.stem for word in words), MOST_WORDS),
        slots=tuple(first),
        fillings=tuple(slots[slot] for slot in first),
    )


def _content_words(text: str, found: Sequence[Specific]) -> Iterator[ContentWord]:
    """Words of Latin letters, and pairs of Chinese characters; none of them in a figure or a period."""
    taken = bytearray(len(text))
    for each in found:
        if each.sort in (Sort.NUMBER, Sort.PERIOD):
            taken[each.start : each.end] = b"\1" * (each.end - each.start)
    for match in WORD.finditer(text):
        word = match[0].casefold()
        if len(word) > 1 and word not in STOPWORDS and not taken[match.start()]:
            yield ContentWord(*match.span(), stem(word))
    for run in HAN_RUN.finditer(text):
        for start in range(run.start(), run.end() - 1):
            pair = text[start : start + 2]
            if not JOINING.search(pair) and not any(taken[start : start + 2]):
                yield ContentWord(start, start + 2, pair)


def _slots(text: str, found: Sequence[Specific], words: Sequence[ContentWord]) -> Iterator[tuple[int, int]]:
    """Where specifics stand and what stands there, as hashes: "recalls …" and "… jobs" are slots."""
    latin = sorted(word for word in words if word.end - word.start != 2 or word.stem.isascii())
    specific_places = {each.start for each in found}
    plain = [word for word in latin if word.start not in specific_places]
    starts, ends = [word.start for word in plain], [word.end for word in plain]
    for each in found:
        sort = Sort.NAME if each.sort is Sort.PLACE else each.sort
        before, after = (
            text[max(0, each.start - NEIGHBOURS) : each.start],
            text[each.end : each.end + NEIGHBOURS],
        )
        around = []
        if HAN_RUN.fullmatch(before) and len(before) == NEIGHBOURS:
            around.append(f"{sort}<{before}")
        elif (place := bisect_right(ends, each.start)) and each.start - ends[place - 1] <= LONGEST_GAP:
            around.append(f"{sort}<{plain[place - 1].stem}")
        if HAN_RUN.fullmatch(after) and len(after) == NEIGHBOURS:
            around.append(f"{sort}>{after}")
        elif (place := bisect_left(starts, each.end)) < len(plain) and starts[
            place
        ] - each.end <= LONGEST_GAP:
            around.append(f"{sort}>{plain[place].stem}")
        yield from ((_hash(slot), _hash(f"{slot}={each.value}")) for slot in around)


def _hashes(terms: Iterable[str], most: int = MOST_TERMS) -> tuple[int, ...]:
    """The hashes of the first different terms, sorted."""
    return tuple(sorted({_hash(term) for term in list(dict.fromkeys(terms))[:most]}))


def _hash(term: str) -> int:
    return zlib.crc32(term.encode("utf-8", "surrogatepass"))

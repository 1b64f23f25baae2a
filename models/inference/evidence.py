"""Which words carried a decision, as stretches of the text with their share of it."""

import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from stream.domain.documents import Span

HAS_WORD = re.compile(r"[\w\U0001f300-\U0001faff]")  # an emoji says something too
LINK = re.compile(r"https?://\S+")
HAN = re.compile(r"[\u3400-\u9fff]")
PLAIN = re.compile(r"[\u3400-\u9fff]{1,2}|[^\W\u3400-\u9fff]+")


Piece = tuple[int, tuple[int, int]]


def pieces(text: str, windows: Sequence[Encoding]) -> list[list[Piece]]:
    """For each window its tokens that stand in a word, as (token, (start, end) of the word in the text).

    In Chinese, where nothing separates words, each piece of the tokenizer stands for one.
    """
    return [_pieces(text, window) for window in windows]


def _pieces(text: str, window: Encoding) -> list[Piece]:
    has_han = HAN.search(text) is not None
    tokens: list[tuple[int, object]] = []
    places: dict[object, tuple[int, int]] = {}
    for at, (word, (first, end)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
        start = first
        while start < end and text[start].isspace():
            start += 1
        if word is None or start == end:
            continue
        unit: object = ("piece", at) if has_han and HAN.search(text, start, end) else word
        places[unit] = (places[unit][0], end) if unit in places else (start, end)
        tokens.append((at, unit))
    return [(at, places[unit]) for at, unit in tokens]


def words(pieces: Sequence[Sequence[Piece]], values: Sequence[np.ndarray]) -> dict[tuple[int, int], float]:
    """The sum of `values` over the tokens of each word, by its (start, end) in the text.

    `values` holds one array [tokens] a window.  A word that two windows share is counted in both.
    """
    found: dict[tuple[int, int], float] = {}
    for of_window, given in zip(pieces, values, strict=True):
        shares = given.tolist()
        for at, place in of_window:
            found[place] = found.get(place, 0.0) + shares[at]
    return found


def spans(
    task: str, text: str, pieces: Sequence[Sequence[Piece]], values: Sequence[np.ndarray], count: int
) -> list[Span]:
    """The `count` words that did most for the label, largest first, with their share of all that did.

    Words that spoke against it have no share; links and punctuation are no evidence.
    """
    found = words(pieces, values)
    ranked = sorted((-value, place) for place, value in found.items() if value > 0)
    total = -sum(value for value, _ in ranked)
    links = [match.span() for match in LINK.finditer(text)] if "http" in text else []
    chosen: list[Span] = []
    for value, (start, end) in ranked:
        if len(chosen) == count:
            break
        if HAS_WORD.search(text, start, end) and not any(a <= start < b for a, b in links):
            chosen.append(Span(task, text[start:end], start, end, round(-value / total, 4)))
    return chosen


def plain_words(text: str) -> list[tuple[int, int]]:
    """The words of a text without a tokenizer: runs of letters and digits, in Chinese pairs of letters."""
    links = [match.span() for match in LINK.finditer(text)]
    found = [match.span() for match in PLAIN.finditer(text)]
    return [(start, end) for start, end in found if not any(a <= start < b for a, b in links)]

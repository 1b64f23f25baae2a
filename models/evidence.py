"""Which words carried a decision, as stretches of the text with their share of it."""

import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from stream.nouns import Span

HAS_WORD = re.compile(r"[\w\U0001f300-\U0001faff]")  # an emoji says something too
LINK = re.compile(r"https?://\S+")
HAN = re.compile(r"[\u3400-\u9fff]")
PLAIN = re.compile(r"[\u3400-\u9fff]{1,2}|[^\W\u3400-\u9fff]+")


def words(
    text: str, windows: Sequence[Encoding], values: Sequence[np.ndarray]
) -> dict[tuple[int, int], float]:
    """The sum of `values` over the tokens of each word, by its (start, end) in the text.

    `values` holds one array [tokens] a window.  A word that two windows share is counted in both.  In
    Chinese, where nothing separates words, each piece of the tokenizer stands for one.
    """
    found: dict[tuple[int, int], float] = {}
    for window, of_window in zip(windows, values, strict=True):
        shares: dict[object, float] = {}
        places: dict[object, tuple[int, int]] = {}
        for at, (word, (first, end)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
            start = end - len(text[first:end].lstrip())
            if word is None or start == end:
                continue
            unit: object = ("piece", at) if HAN.search(text, start, end) else word
            shares[unit] = shares.get(unit, 0.0) + float(of_window[at])
            places[unit] = (places.get(unit, (start, end))[0], end)
        for unit, share in shares.items():
            found[places[unit]] = found.get(places[unit], 0.0) + share
    return found


def spans(
    task: str, text: str, windows: Sequence[Encoding], values: Sequence[np.ndarray], count: int
) -> list[Span]:
    """The `count` words that did most for the label, largest first, with their share of all that did.

    Words that spoke against it have no share; links and punctuation are no evidence.
    """
    shares = {place: value for place, value in words(text, windows, values).items() if value > 0}
    total = sum(shares.values())
    links = [match.span() for match in LINK.finditer(text)]
    chosen: list[Span] = []
    for start, end in sorted(shares, key=lambda place: (-shares[place], place)):
        if len(chosen) == count:
            break
        if HAS_WORD.search(text, start, end) and not any(a <= start < b for a, b in links):
            chosen.append(Span(task, text[start:end], start, end, round(shares[start, end] / total, 4)))
    return chosen


def plain_words(text: str) -> list[tuple[int, int]]:
    """The words of a text without a tokenizer: runs of letters and digits, in Chinese pairs of letters."""
    links = [match.span() for match in LINK.finditer(text)]
    found = [match.span() for match in PLAIN.finditer(text)]
    return [(start, end) for start, end in found if not any(a <= start < b for a, b in links)]

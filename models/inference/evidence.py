"""Words of evidence: the spans of a text that contributed most to its label."""

import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from stream.domain.budgets import cut
from stream.domain.documents import LONGEST_WORD, Span

HAS_WORD = re.compile(r"[\w\U0001f300-\U0001faff]")  # emoji count as words
LINK = re.compile(r"https?://\S+")
HAN = re.compile(r"[\u3400-\u9fff]")
PLAIN = re.compile(r"[\u3400-\u9fff]{1,2}|[^\W\u3400-\u9fff]+")

# A token of a window, and the (start, end) in the text of the word it belongs to.
Piece = tuple[int, tuple[int, int]]


def pieces(text: str, windows: Sequence[Encoding]) -> list[list[Piece]]:
    """For each window, its tokens that belong to a word.

    In Chinese, where nothing separates words, each token counts as a word.
    """
    return [_pieces(text, window) for window in windows]


def _pieces(text: str, window: Encoding) -> list[Piece]:
    has_han = HAN.search(text) is not None
    tokens: list[tuple[int, object]] = []
    spans: dict[object, tuple[int, int]] = {}
    for token, (word, (first, end)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
        start = first
        while start < end and text[start].isspace():
            start += 1
        if word is None or start == end:
            continue
        unit: object = ("token", token) if has_han and HAN.search(text, start, end) else word
        spans[unit] = (spans[unit][0], end) if unit in spans else (start, end)
        tokens.append((token, unit))
    return [(token, spans[unit]) for token, unit in tokens]


def sum_by_word(
    pieces: Sequence[Sequence[Piece]], values: Sequence[np.ndarray]
) -> dict[tuple[int, int], float]:
    """The sum of `values` over the tokens of each word, by its (start, end) in the text.

    `values` holds one array [tokens] a window.  A word that two windows share is counted in both.
    """
    sums: dict[tuple[int, int], float] = {}
    for window_pieces, array in zip(pieces, values, strict=True):
        window_values = array.tolist()
        for token, span in window_pieces:
            sums[span] = sums.get(span, 0.0) + window_values[token]
    return sums


def spans(
    task: str, text: str, pieces: Sequence[Sequence[Piece]], values: Sequence[np.ndarray], count: int
) -> list[Span]:
    """The `count` words that contributed most to the label, largest first.

    A weight is the share of the sum of positive contributions.  Words that speak against the label, links and
    punctuation are no evidence.  The text of a long word is cut; its start and end are those of the whole.
    """
    by_word = sum_by_word(pieces, values)
    ranked = sorted((-value, word) for word, value in by_word.items() if value > 0)
    total = -sum(value for value, _ in ranked)
    links = [match.span() for match in LINK.finditer(text)] if "http" in text else []
    top: list[Span] = []
    for value, (start, end) in ranked:
        if len(top) == count:
            break
        if HAS_WORD.search(text, start, end) and not any(a <= start < b for a, b in links):
            # Copy no more than is shown: a text without blanks is one word.
            word = cut(text[start : min(end, start + LONGEST_WORD + 1)], LONGEST_WORD)
            top.append(Span(task, word, start, end, round(-value / total, 4)))
    return top


def plain_words(text: str) -> list[tuple[int, int]]:
    """The words of a text without a tokenizer: runs of letters and digits, or pairs of Chinese characters."""
    links = [match.span() for match in LINK.finditer(text)]
    plain = [match.span() for match in PLAIN.finditer(text)]
    return [(start, end) for start, end in plain if not any(a <= start < b for a, b in links)]

"""Words of evidence: the words of a text that contributed most to its label and speak for it.

The network spreads what it knows of a text over all its tokens, so names, numbers and function words get a
share of it.  They are in texts of every mood and are never shown.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding

from models.inference.silent_words import RATINGS, is_silent
from stream.domain.budgets import cut
from stream.domain.documents import LONGEST_WORD, Span

LETTER = re.compile(r"[^\W\d_]|[\U0001f300-\U0001faff\u2600-\u27bf]")  # emoji count as letters
LINK = re.compile(r"https?://\S+")
HAN = re.compile(r"[\u3400-\u9fff]")
# What is shown as one word: a number with its sign, a run of letters, any other character.
UNIT = re.compile(
    r"\d+(?:[.,:]\d+)*(?:%|[A-Za-z]{1,4}(?![A-Za-z]))?|[^\W\u3400-\u9fff]+(?:['’][^\W\d_\u3400-\u9fff]+)*|\S"
)
PLAIN = re.compile(r"[\u3400-\u9fff]{1,2}|[^\W\u3400-\u9fff]+")
SENTENCE_END = '.!?:;\n"“”|'
# A text with this share of capitalised words is a title: there a capital says nothing.
TITLE_CASE = 0.6
# A word with less than this share of what speaks for the label does not speak for it.
LEAST_SHARE = 0.03
# Chinese characters that the tokenizer leaves alone are one word where they speak alike side by side.
LONGEST_MERGED = 3
# How SentencePiece marks the start of a word; alone, it is a token without text.
WORD_MARK = "\u2581"
# Endings of words that are no names, where a capital says nothing.
PLAIN_ENDINGS = ("s", "ed", "ing")
CLAUSE_NAME_ZH = re.compile(
    '(?:^|[\\s，。、；：！？,;:!?“”"（(【])([\u4e00-\u9fff]{2,6}?(?:股份|集团|银行|证券|科技|控股|药业|地产|信托|保险|资本|汽车))'
)

# The (start, end) of a word in the text.
Word = tuple[int, int]
# A token of a window, and the word it belongs to.
Piece = tuple[int, Word]


class Name(NamedTuple):
    """Where a text names an entity.  A `theme`, such as gold or a central bank, can make its topic."""

    start: int
    end: int
    theme: bool = False


class Words:
    """The words of one text as its tokens make them up."""

    def __init__(self, text: str, windows: Sequence[Encoding], names: Sequence[Name] = ()) -> None:
        self.text = text
        self.pieces = _pieces(text, windows)
        self._names = names
        self._places: tuple[list[Word], list[Word]] | None = None

    def sums(self, values: Sequence[np.ndarray]) -> dict[Word, float]:
        """The sum of `values`, one array [tokens] a window, over the tokens of each word, in their order.

        A word that two windows share is counted in both.  Single Chinese characters side by side whose values
        have one sign are one word.
        """
        sums: dict[Word, float] = {}
        for window_pieces, array in zip(self.pieces, values, strict=True):
            window_values = array.tolist()
            for token, word in window_pieces:
                sums[word] = sums.get(word, 0.0) + window_values[token]
        ordered = dict(sorted(sums.items()))
        if HAN.search(self.text) is None:
            return ordered
        return _merged(self.text, ordered, {*_inside(ordered, self._name_places("sentiment"))})

    def can_speak(self, task: str, words: Iterable[Word]) -> list[Word]:
        """Those of the words that can be evidence for a label of the task.

        Numbers, links, punctuation and function words cannot, nor names: a name carries no mood, and a topic
        only if it is that of a theme.
        """
        found, text = list(words), self.text
        names = {*_inside(found, self._name_places(task))}
        return [
            word
            for word in found
            if word not in names
            and LETTER.search(text, *word)
            and not text[word[0]].isdigit()
            and not is_silent(task, text[slice(*word)].lower().replace("’", "'"))
        ]

    def spans(self, task: str, values: Sequence[np.ndarray], count: int) -> list[Span]:
        """The `count` words that contributed most to the label, largest first.

        A weight is the share of the sum over all words that can speak and do so for the label.  The text of a
        long word is cut; its start and end are those of the whole.
        """
        sums = self.sums(values)
        positive = self.can_speak(task, [word for word, value in sums.items() if value > 0])
        total = sum(sums[word] for word in positive)
        ranked = sorted(positive, key=lambda word: (-sums[word], word))[:count]
        shares = ((word, sums[word] / total) for word in ranked)
        return [self.span(task, word, round(share, 4)) for word, share in shares if share >= LEAST_SHARE]

    def span(self, task: str, word: Word, weight: float) -> Span:
        """A word with its weight."""
        start, end = word
        # Copy no more than is shown: a text without blanks is one word.
        shown = cut(self.text[start : min(end, start + LONGEST_WORD + 1)], LONGEST_WORD)
        return Span(task, shown, start, end, weight)

    def _name_places(self, task: str) -> list[Word]:
        """Where the text has links and names; for topics, names of no theme."""
        if self._places is None:
            tokens: dict[Word, int] = {}
            for window in self.pieces:
                for word, count in _counts(window).items():
                    tokens[word] = max(count, tokens.get(word, 0))
            links = [match.span() for match in LINK.finditer(self.text)] if "http" in self.text else []
            rare, capital = _unknown_names(self.text, tokens)
            places = [*((start, end) for start, end, _ in self._names), *links, *rare, *capital]
            themes = {*_inside(rare, [(start, end) for start, end, theme in self._names if theme])}
            topical = [*((start, end) for start, end, theme in self._names if not theme), *links]
            self._places = places, [*topical, *(word for word in rare if word not in themes)]
        return self._places[task == "topic"]


def _pieces(text: str, windows: Sequence[Encoding]) -> list[list[Piece]]:
    """For each window, its tokens that belong to a word.

    In Chinese, where nothing separates words, each token counts as a word.
    """
    has_han = HAN.search(text) is not None
    units = [match.span() for match in UNIT.finditer(text)]
    ends = [end for _, end in units]
    result = []
    for window in windows:
        pieces: list[Piece] = []
        texts = window.tokens if has_han else ()
        last = 0
        for token, (word, (first, end)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
            start = first
            while start < end and text[start].isspace():
                start += 1
            if word is None or start == end or (texts and texts[token] == WORD_MARK):
                continue
            if has_han and HAN.search(text, start, end):
                span = (max(start, last), end) if last < end else pieces[-1][1]
            else:
                span = units[bisect_right(ends, start)]
            last = span[1]
            pieces.append((token, span))
        result.append(pieces)
    return result


def _merged(text: str, values: dict[Word, float], names: set[Word]) -> dict[Word, float]:
    """The values of words, where single Chinese characters of one sign side by side are one word."""
    merged: dict[Word, float] = {}
    last: Word | None = None
    for (start, end), value in values.items():
        is_single = end - start == 1 and HAN.match(text, start) is not None
        is_single = is_single and (start, end) not in names and not is_silent("sentiment", text[start])
        word, total = (start, end), value
        goes_on = is_single and last and last[1] == start and end - last[0] <= LONGEST_MERGED
        if goes_on and last and merged[last] * value > 0:
            word, total = (last[0], end), merged.pop(last) + value
        merged[word] = total
        last = word if is_single else None
    return merged


def _counts(window: Sequence[Piece]) -> dict[Word, int]:
    counts: dict[Word, int] = {}
    for _, word in window:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _inside(words: Iterable[Word], places: Sequence[Word]) -> list[Word]:
    """The words that overlap one of the places."""
    if not places:
        return []
    ordered = sorted(places)
    starts = [start for start, _ in ordered]
    furthest = list(accumulate((end for _, end in ordered), max))
    found = []
    for start, end in words:
        index = bisect_right(starts, end - 1)
        if index and furthest[index - 1] > start:
            found.append((start, end))
    return found


def _unknown_names(text: str, tokens: dict[Word, int]) -> tuple[list[Word], list[Word]]:
    """Words that are written like names: those that are hardly anything else, and those with a capital.

    `tokens` are the words with the number of their tokens.  The first are behind a sign such as $, or have a
    capital and no single token in the vocabulary, or go on with such a name.  At the start of a sentence and
    in titles a capital alone says nothing.
    """
    found = [match.span(1) for match in CLAUSE_NAME_ZH.finditer(text)]
    capital: list[Word] = []
    latin = [word for word in sorted(tokens) if text[word[0]].isalpha() and not HAN.match(text, word[0])]
    capitals = sum(text[start].isupper() for start, _ in latin)
    if not capitals:
        return found, capital
    is_title = capitals >= TITLE_CASE * len(latin)
    for start, end in latin:
        before = _before(text, start)
        if text[start - 1 : start] in ("$", "#", "@"):
            found.append((start, end))
        elif text[start].isupper() and text[start:end].lower() not in RATINGS:
            rest = text[start + 1 : end]
            is_rare = tokens[start, end] > 1 and not rest.endswith(PLAIN_ENDINGS)
            says_nothing = is_title or rest.isupper() or not before or before in SENTENCE_END
            goes_on = not says_nothing and bool(found) and found[-1][1] == start - 1
            if is_rare or goes_on:
                found.append((start, end))
            elif not says_nothing:
                capital.append((start, end))
    return found, capital


def _before(text: str, start: int) -> str:
    """The character before `start` that is no blank; empty at the start of the text."""
    while start and text[start - 1] == " ":
        start -= 1
    return text[start - 1 : start]


def plain_words(text: str) -> list[Word]:
    """The words of a text without a tokenizer: runs of letters and digits, or pairs of Chinese characters."""
    links = [match.span() for match in LINK.finditer(text)]
    plain = [match.span() for match in PLAIN.finditer(text)]
    return [(start, end) for start, end in plain if not any(a <= start < b for a, b in links)]

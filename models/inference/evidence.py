"""Words of evidence: the words of a text that contributed most to its label and speak for it.

The network spreads what it knows of a text over all its tokens, so names, numbers and function words get a
share of it.  They are in texts of every mood and are never shown.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from heapq import nsmallest
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding

from models.inference.silent_words import RATINGS, SILENT, SILENT_TOPIC
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
SIGNS = ("$", "#", "@")
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
        self._names = names
        self._has_han = HAN.search(text) is not None
        # Words that the vocabulary has no single token for.
        self._rare: set[Word] = set()
        self.pieces = [self._pieces(window) for window in windows]

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
        return _merged(self.text, sums, self._speaking[0]) if self._has_han else sums

    def can_speak(self, task: str, words: Iterable[Word]) -> list[Word]:
        """Those of the words that can be evidence for a label of the task.

        Numbers, links, punctuation and function words cannot, nor names: a name carries no mood, and a topic
        only if it is that of a theme.
        """
        speaking, known = self._speaking[task == "topic"], self._known
        return [word for word in words if word in speaking or word not in known]

    def spans(self, task: str, values: Sequence[np.ndarray], count: int) -> list[Span]:
        """The `count` words that contributed most to the label, largest first.

        A weight is the share of the sum over all words that can speak and do so for the label.  The text of a
        long word is cut; its start and end are those of the whole.
        """
        sums = self.sums(values)
        positive = [(-sums[word], word) for word in self.can_speak(task, sums) if sums[word] > 0]
        total = -sum(value for value, _ in positive)
        ranked = nsmallest(count, positive)
        shares = ((word, -value / total) for value, word in ranked)
        return [self.span(task, word, round(share, 4)) for word, share in shares if share >= LEAST_SHARE]

    def span(self, task: str, word: Word, weight: float) -> Span:
        """A word with its weight."""
        start, end = word
        # Copy no more than is shown: a text without blanks is one word.
        shown = cut(self.text[start : min(end, start + LONGEST_WORD + 1)], LONGEST_WORD)
        return Span(task, shown, start, end, weight)

    @cached_property
    def _units(self) -> tuple[list[int], list[Word]]:
        """The words of the text, numbers and signs, and where each ends."""
        units = [match.span() for match in UNIT.finditer(self.text)]
        return [end for _, end in units], units

    def _pieces(self, window: Encoding) -> list[Piece]:
        """The tokens of a window that belong to a word.

        In Chinese, where nothing separates words, each token counts as a word.
        """
        text, has_han, rare = self.text, self._has_han, self._rare
        ends, units = self._units
        tokens = window.tokens if has_han else ()
        pieces: list[Piece] = []
        last, span, unit = 0, (0, 0), -1
        for token, (word, (start, end)) in enumerate(zip(window.word_ids, window.offsets, strict=True)):
            if word is None or start == end or (tokens and tokens[token] == WORD_MARK):
                continue
            if text[start].isspace():
                start += len(text[start:end]) - len(text[start:end].lstrip())  # noqa: PLW2901
                if start == end:
                    continue
            if has_han and "\u3400" <= text[start] <= "\u9fff":
                if last < end:
                    span = (max(start, last), end)
            else:
                if unit < 0:
                    unit = bisect_right(ends, start)
                while ends[unit] <= start:
                    unit += 1
                if span == units[unit]:
                    rare.add(span)
                span = units[unit]
            last = span[1]
            pieces.append((token, span))
        return pieces

    @cached_property
    def _known(self) -> set[Word]:
        """The words of the tokens, in contrast to those that were merged."""
        return {word for window in self.pieces for _, word in window}

    @cached_property
    def _speaking(self) -> tuple[set[Word], set[Word]]:
        """The words that can speak for a sentiment, and those that can speak for a topic."""
        text = self.text
        words = sorted(self._known)
        sentiment, topic = set[Word](), set[Word]()
        for word in words:
            start, end = word
            first = text[start]
            if not first.isalpha() and (first.isdigit() or not LETTER.search(text, start, end)):
                continue
            lower = text[start:end].lower()
            if lower not in SILENT:
                sentiment.add(word)
                if lower not in SILENT_TOPIC:
                    topic.add(word)
        capital, rare = _unknown_names(text, words, self._rare)
        links = [match.span() for match in LINK.finditer(text)] if "http" in text else []
        themes = [(start, end) for start, end, is_theme in self._names if is_theme]
        others = [(start, end) for start, end, is_theme in self._names if not is_theme]
        sentiment.difference_update(_inside(words, [*links, *themes, *others]), capital, rare)
        of_themes = _inside(rare, themes)
        topic.difference_update(_inside(words, [*links, *others]), set(rare).difference(of_themes))
        return sentiment, topic


def _merged(text: str, values: dict[Word, float], speaking: set[Word]) -> dict[Word, float]:
    """The values of words, where single Chinese characters that speak alike side by side are one word."""
    merged: dict[Word, float] = {}
    last: Word | None = None
    for word, value in sorted(values.items()):
        start, end = word
        is_single = end - start == 1 and word in speaking and "\u3400" <= text[start] <= "\u9fff"
        if (
            is_single
            and last
            and last[1] == start
            and end - last[0] <= LONGEST_MERGED
            and merged[last] * value > 0
        ):
            last = (last[0], end)
            merged[last] = merged.pop((last[0], start)) + value
        else:
            merged[word] = value
            last = word if is_single else None
    return merged


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


def _unknown_names(text: str, words: Sequence[Word], rare: Collection[Word]) -> tuple[list[Word], list[Word]]:
    """Words that are written like names: those with a capital, and those that are hardly anything else.

    `words` are in order; `rare` are those that the vocabulary has no single token for.  The second kind is
    behind a sign such as $, or has a capital and is rare, or goes on with such a name.  At the start of a
    sentence and in titles a capital alone says nothing.
    """
    capital: list[Word] = []
    found = (
        _inside(words, [match.span(1) for match in CLAUSE_NAME_ZH.finditer(text)]) if HAN.search(text) else []
    )
    latin = [word for word in words if text[word[0]].isalpha() and not "\u3400" <= text[word[0]] <= "\u9fff"]
    upper = [word for word in latin if text[word[0]].isupper()]
    is_title = len(upper) >= TITLE_CASE * len(latin)
    candidates = upper if "$" not in text and "#" not in text and "@" not in text else latin
    for start, end in candidates:
        if text[start - 1 : start] in SIGNS:
            found.append((start, end))
        elif text[start].isupper() and text[start:end].lower() not in RATINGS:
            rest, before = text[start + 1 : end], _before(text, start)
            is_rare = (start, end) in rare and not rest.endswith(PLAIN_ENDINGS)
            says_nothing = is_title or rest.isupper() or not before or before in SENTENCE_END
            goes_on = not says_nothing and bool(found) and found[-1][1] == start - 1
            if is_rare or goes_on:
                found.append((start, end))
            elif not says_nothing:
                capital.append((start, end))
    return capital, found


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

"""Where a text is boilerplate: words that stand under many texts and say nothing of the news.

The text is read sentence by sentence.  A notice (a cookie banner, a call to subscribe, an e-mail address)
stands alone.  A section (forward-looking statements, a disclaimer, "About ACME") begins with a heading or a
formula and goes on as long as its sentences speak the language of the law: a list of risks has few formulas,
but many of their words.  Chinese puts several sentences between two full stops: a notice there is a clause.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from stream.domain.text.boilerplate_patterns import (
    ABOUT,
    FORMULAS,
    HEADING,
    HEADING_CLUES,
    HEADING_CLUES_ZH,
    LEGAL_WORD,
    NOTICES,
    NOTICES_ZH,
    POSSIBLE,
)

END_OF_SENTENCE = re.compile(r"[.!?][\"”’)\]]*(?=\s)\s*|[。！？]+[”’」）)]*\s*|\n\s*")
CLAUSE_START = re.compile(r"[，,。；;！!？?\s(（【\[>]")
CLAUSE_END = re.compile(r"[，,。；;！!？?\s)）】\]]+")
# A notice is short: a long sentence with its words tells something.
LONGEST_NOTICE = 300
LONGEST_HEADING = 90
# How far a clause with a notice reaches to both sides: not everyone sets commas.
CLAUSE_REACH = 16
# Different words of the law that a sentence inside a section has, and one just before its first formula.
SECTION_WORDS, LEADING_WORDS = 3, 5
# Between two formulas, a section may have so many sentences that tell of nothing possible, and one more for
# every four that it has already.
GAP = 2
# With so many headings and formulas a section is long: it goes on over paragraphs and to the end of the text.
LONG_SECTION = 4


class Sign(Enum):
    """What a sentence says of itself."""

    NONE = auto()
    NOTICE = auto()
    FORMULA = auto()
    HEADING = auto()
    TITLE = auto()  # a heading on a line of its own


class Sentence(NamedTuple):
    """A sentence from `start` up to `end`, and the part that is boilerplate by itself."""

    start: int
    end: int
    sign: Sign = Sign.NONE
    notice: tuple[int, int] = (0, 0)


class Found(NamedTuple):
    """What a text could match, by the words that it has."""

    formulas: Sequence[re.Pattern[str]]
    notices: Sequence[re.Pattern[str]]
    clauses: Sequence[re.Pattern[str]]


def _by_word(patterns: dict[str, str]) -> dict[str, re.Pattern[str]]:
    """The patterns by each of their words, with the punctuation that can touch it."""
    compiled = {words: re.compile(pattern, re.DOTALL) for words, pattern in patterns.items()}
    return {
        f"{before}{word}{after}": pattern
        for words, pattern in compiled.items()
        for word in words.split()
        for before in ("", "(", '"', "“", "[")
        for after in ("", ".", ",", ":", ";", "!", "?", ")", '"', "”", "]")
    }


_FORMULAS, _NOTICES = _by_word(FORMULAS), _by_word(NOTICES)
_CLUES = frozenset({*_FORMULAS, *_NOTICES, *_by_word({HEADING_CLUES: ""})})
_NOTICES_ZH = {clue: re.compile(pattern) for clue, pattern in NOTICES_ZH.items()}
_CLUES_ZH = re.compile("|".join(sorted({*NOTICES_ZH, *HEADING_CLUES_ZH})))
_ADDRESS = re.compile(r"\w@\w")


def spans(text: str) -> tuple[tuple[int, int], ...]:
    """The spans (start, end) of the boilerplate in a clean text, in order, with other text between them."""
    lower = _lower(text)
    words = lower.split()
    has_clue = not _CLUES.isdisjoint(words) or ("@" in lower and _ADDRESS.search(lower) is not None)
    if not has_clue and (text.isascii() or _CLUES_ZH.search(lower) is None):
        return ()
    found = _found(lower, words)
    parts = [_sentence(text, lower, start, end, found) for start, end in sentences(text)]
    if all(sentence.sign is Sign.NONE for sentence in parts):
        return ()
    return _merged(_marked(lower, parts))


def _found(lower: str, words: Sequence[str]) -> Found:
    own = {*words}
    if "@" in lower:
        own.add("@")
    return Found(
        list({_FORMULAS[word] for word in own & _FORMULAS.keys()}),
        list({_NOTICES[word] for word in own & _NOTICES.keys()}),
        [pattern for clue, pattern in _NOTICES_ZH.items() if clue in lower],
    )


def _lower(text: str) -> str:
    """The text in lower case, character for character."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(new if len(new := char.lower()) == 1 else char for char in text)


def sentences(text: str) -> Iterable[tuple[int, int]]:
    """The (start, end) of each sentence or line, with the blanks behind it, in order."""
    start = 0
    for match in END_OF_SENTENCE.finditer(text):
        yield start, match.end()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _sentence(text: str, lower: str, start: int, end: int, found: Found) -> Sentence:
    words, own = text[start:end], lower[start:end]
    heading = HEADING.match(words) or (ABOUT.match(words) if len(words) <= LONGEST_HEADING else None)
    if heading:
        is_title = words.endswith("\n") and not any(map(str.isalnum, words[heading.end() :]))
        return Sentence(start, end, Sign.TITLE if is_title else Sign.HEADING)
    if any(pattern.search(own) for pattern in found.formulas):
        return Sentence(start, end, Sign.FORMULA)
    if len(own) <= LONGEST_NOTICE and any(pattern.search(own.strip()) for pattern in found.notices):
        return Sentence(start, end, Sign.NOTICE, (start, end))
    places = [match.span() for pattern in found.clauses for match in pattern.finditer(own)]
    if places:
        first, last = _clause(own, min(places)[0], max(last for _, last in places))
        return Sentence(start, end, Sign.NOTICE, (start + first, start + last))
    return Sentence(start, end)


def _clause(sentence: str, start: int, end: int) -> tuple[int, int]:
    """The clauses that reach from `start` to `end`."""
    breaks = [match.end() for match in CLAUSE_START.finditer(sentence, max(0, start - CLAUSE_REACH), start)]
    if breaks:
        start = breaks[-1]
    elif start <= CLAUSE_REACH:
        start = 0
    if start and sentence[start - 1] in "（(【[":
        start -= 1
    stop = CLAUSE_END.search(sentence, end)
    if stop is None:
        return start, len(sentence) if len(sentence) - end <= CLAUSE_REACH else end
    return start, stop.end() if stop.start() - end <= CLAUSE_REACH else end


def _marked(lower: str, sentences: Sequence[Sentence]) -> Iterable[tuple[int, int]]:
    """The notices and sections, in order."""
    at = 0
    while at < len(sentences):
        sentence = sentences[at]
        if sentence.sign in (Sign.FORMULA, Sign.HEADING, Sign.TITLE):
            first = at
            while first and _leads(lower, sentences[first - 1]):
                first -= 1
            at = _section_end(lower, sentences, at)
            yield sentences[first].start, sentences[at - 1].end
        else:
            if sentence.sign is Sign.NOTICE:
                yield sentence.notice
            at += 1


def _section_end(lower: str, sentences: Sequence[Sentence], start: int) -> int:
    """The index after the last sentence of the section that begins at `start`."""
    has_title = sentences[start].sign is Sign.TITLE
    end, strong, others = start + 1, 1, 0
    for index in range(start + 1, len(sentences)):
        sentence = sentences[index]
        is_long = has_title or strong >= LONG_SECTION
        if sentence.sign is not Sign.NONE:
            strong += sentence.sign is not Sign.NOTICE
            end, others = index + 1, 0
        elif _ends_line(lower, sentences[index - 1]) and not is_long and not _joins(lower, sentences, index):
            return end
        elif index == end and (_words(lower, sentence) >= SECTION_WORDS or (has_title and end == start + 1)):
            end = index + 1
        else:
            others += POSSIBLE.search(lower, sentence.start, sentence.end) is None
            if others > GAP + (end - start) // 4:
                return end
    return len(sentences) if has_title or strong >= LONG_SECTION or not others else end


def _joins(lower: str, sentences: Sequence[Sentence], index: int) -> bool:
    """Whether a sentence that tells of something possible stands before another formula."""
    following = sentences[index + 1].sign if index + 1 < len(sentences) else Sign.NONE
    is_possible = POSSIBLE.search(lower, sentences[index].start, sentences[index].end) is not None
    return is_possible and following in (Sign.FORMULA, Sign.HEADING, Sign.TITLE)


def _leads(lower: str, sentence: Sentence) -> bool:
    """Whether a sentence before a section belongs to it."""
    return sentence.sign is Sign.NONE and _words(lower, sentence) >= LEADING_WORDS


def _ends_line(lower: str, sentence: Sentence) -> bool:
    return "\n" in lower[sentence.start : sentence.end]


def _words(lower: str, sentence: Sentence) -> int:
    """How many different words of the law a sentence has."""
    return len(set(LEGAL_WORD.findall(lower, sentence.start, sentence.end)))


def _merged(marked: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in marked:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)

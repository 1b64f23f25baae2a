"""The surroundings of a name in a text: its sentence, its line, the words beside it.

Everything looks at a bounded number of characters around the name, so that the time grows with the text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import NamedTuple

from models.entities.forms import HAN, ReadText

# Characters that are looked at on each side: of a sentence, and of a line for how it is capitalised.
REACH, LINE_REACH = 100, 160
LONGEST_WORD = 30
SENTENCE_END = re.compile(r"[!?。！？；;\n]|\.(?=\s)")
# Behind one of these a dot ends no sentence.
ABBREVIATIONS = ("Inc", "Corp", "Ltd", "Co", " vs", "Mr", "Ms", "Mrs", "Dr", "St", "U.S", "U.K")
SENTENCE_START = re.compile("(?:^|[.!?:;|\n\"'“‘«(\\[•*>~。！？：；（【-]) *$")
WORD = re.compile(r"[a-z0-9$%&+'.]*[a-z0-9%]|%")
LATIN_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*")
CAPITALISED_NEXT = re.compile(" [A-Z][a-z]")
# A capital letter outside cashtags and hashtags.
CAPITAL = re.compile("(?<![A-Za-z$#])[A-Z]")
POSSESSIVE = re.compile("'s? ?")


def words_in(found: Sequence[str], wanted: frozenset[str]) -> bool:
    """Whether one of the words is wanted."""
    return not wanted.isdisjoint(found)


class Shape(Enum):
    """What the capitals of a line say."""

    RUNNING = auto()  # a capital inside a sentence makes a name
    TITLE = auto()
    CAPITALS = auto()
    LOWER = auto()  # the writer uses none
    CHINESE = auto()


class Mention(NamedTuple):
    """Where the clean text names an entity."""

    start: int
    end: int
    entity: str


@dataclass(frozen=True)
class Context:
    """The surroundings of one name."""

    text: ReadText
    start: int
    end: int

    @cached_property
    def before(self) -> str:
        """The folded text in front of the name in its sentence."""
        text, first = self.text.text, max(0, self.start - REACH)
        for match in SENTENCE_END.finditer(text, first, self.start):
            if not _is_abbreviation(text, match.start()):
                first = match.end()
        return self.text.folded[first : self.start]

    @cached_property
    def after(self) -> str:
        """The folded text behind the name in its sentence."""
        text, last = self.text.text, min(len(self.text.text), self.end + REACH)
        for match in SENTENCE_END.finditer(text, self.end, last):
            if not _is_abbreviation(text, match.start()):
                last = match.start()
                break
        return self.text.folded[self.end : last]

    @cached_property
    def words_before(self) -> list[str]:
        return WORD.findall(self.before)

    @cached_property
    def words_after(self) -> list[str]:
        return WORD.findall(POSSESSIVE.sub("", self.after, count=1) if self.after[:1] == "'" else self.after)

    @cached_property
    def sentence_words(self) -> frozenset[str]:
        return frozenset((*self.words_before, *self.words_after))

    @cached_property
    def shape(self) -> Shape:
        """How the line is capitalised, without the name itself."""
        text = self.text.text
        first = max(text.rfind("\n", 0, self.start) + 1, self.start - LINE_REACH)
        end = text.find("\n", self.end)
        last = min(len(text) if end < 0 else end, self.end + LINE_REACH)
        window = f"{text[first : self.start]} {text[self.end : last]}"
        if HAN.search(window):
            return Shape.CHINESE
        found = LATIN_WORD.findall(window)
        long = [word for word in found if len(word) > 3]
        capitals = sum(word.isupper() for word in long)
        title = sum(word[0].isupper() for word in long)
        if long and capitals > 0.7 * len(long):
            return Shape.CAPITALS
        if title > 0.6 * len(long) or not long:
            return Shape.TITLE
        if not CAPITAL.search(window):
            return Shape.LOWER
        return Shape.RUNNING

    @property
    def is_chinese(self) -> bool:
        """Whether the name is Chinese."""
        return HAN.match(self.text.folded, self.start) is not None

    @property
    def is_initial(self) -> bool:
        """Whether the name begins a sentence or a quotation."""
        return SENTENCE_START.search(self.text.text[max(0, self.start - 4) : self.start]) is not None

    @property
    def is_lower(self) -> bool:
        """Whether the name begins with a small letter."""
        return self.text.text[self.start].islower()

    @property
    def next_is_capitalised(self) -> bool:
        """Whether the next word begins with a capital."""
        return CAPITALISED_NEXT.match(self.text.text, self.end) is not None

    @cached_property
    def previous_word(self) -> str:
        """The word right before the name, as written; empty if something else is between."""
        if self.text.text[self.start - 1 : self.start] != " ":
            return ""
        word = self.text.text[max(0, self.start - LONGEST_WORD) : self.start - 1].rpartition(" ")[2]
        return word if word[:1].isalpha() and (word[-1].isalpha() or word[-1] == ".") else ""

    @property
    def own(self) -> str:
        """The name, folded."""
        return self.text.folded[self.start : self.end]

    @property
    def has_sign(self) -> bool:
        """Whether a sign marks the name: a hashtag, a handle or a cashtag."""
        return self.text.text[self.start - 1 : self.start] in ("#", "@", "$")


def _is_abbreviation(text: str, dot: int) -> bool:
    """Whether a dot belongs to an abbreviation or an initial: Apple Inc. said, J. Ford."""
    if text[dot] != ".":
        return False
    return text[max(0, dot - 4) : dot].endswith(ABBREVIATIONS) or (
        text[dot - 1 : dot].isupper() and not text[max(0, dot - 2) : dot - 1].isalpha()
    )

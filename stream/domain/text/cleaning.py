"""The text to classify, from a text as it was sent.

Feeds send HTML, entities, wrongly decoded characters and invisible ones, and append legal text to the news.
`clean` returns the text that a reader would see, where each of its characters came from, and which parts of
it are boilerplate.  What is stored stays as it was sent: `CleanText.sent_span` leads from a span of the clean
text to the same words there.

    markup          HTML as feeds send it, also escaped twice
    boilerplate     legal statements, contacts, cookie banners, calls to subscribe
    ftfy            finds UTF-8 that was decoded by another encoding, and says which one
    OpenCC          converts traditional Chinese to simplified

The two libraries are loaded with the first text that needs them.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from stream.domain.text import boilerplate, encodings, markup
from stream.domain.text.edits import Draft
from stream.domain.text.encodings import LATIN_RUN, SUSPECT

# Cleaning one kind can reveal another (an escaped tag, say), so the steps are repeated until nothing changes.
# No feed escapes deeper than this; a text made to be cleaned for long stops here.
MOST_PASSES = 8
# No more of a text is read.  By default the model reads 32 windows, some 20,000 characters of English: this
# leaves room for ten times as much markup, and bounds how long one text can hold up those behind it.
MOST_CHARACTERS = 200_000
# A text of other characters only is clean, but for boilerplate: the search is all that such a text costs.
NOT_PLAIN = re.compile(r"[^\t\n\r -%'-;=-\[\]-~]")
CONTROLS = "\x00-\x08\x0e-\x1b\x7f"
# Zero-width characters, soft hyphens, marks of direction, a byte order mark.
ZERO_WIDTH = (
    "\xad\u034f\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc\U000e0001"
)
# A zero-width joiner stays where it joins emoji.
INVISIBLE = re.compile(
    f"\x1b\\[[\\d;]*[A-Za-z]|[{CONTROLS}{ZERO_WIDTH}]|(?<![\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d"
)
# What _plain_forms replaces.
UNUSUAL = (
    "\x0b\x0c\x1c-\x1f\x80-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff"
)
ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|[\ud800-\udfff]+")
UNCLEAN = re.compile(
    f"[&<\\\\{CONTROLS}{ZERO_WIDTH}\u200d{UNUSUAL}\ud800-\udfff]|{SUSPECT.pattern}|{LATIN_RUN}"
)


class CleanText(msgspec.Struct, frozen=True, gc=False):
    """A text as it was sent and as it reads.

    Character i of `text` came from `sent[starts[i]:ends[i]]`; without `starts` from `sent[i]`.  What `sent`
    has after MOST_CHARACTERS is not in `text`.  `boilerplate` are the spans (start, end) of `text` that are
    no news.
    """

    sent: str
    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None
    boilerplate: tuple[tuple[int, int], ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the text is longer than what was read of it."""
        return len(self.sent) > MOST_CHARACTERS

    @property
    def only_boilerplate(self) -> bool:
        """Whether nothing but boilerplate is left."""
        return bool(self.boilerplate) and not _has_words(self.text, self.boilerplate)

    @property
    def news(self) -> "CleanText":
        """The same text without its boilerplate; all of it if it is nothing else."""
        if not self.boilerplate or self.only_boilerplate:
            return self
        draft = Draft(self.text, self.starts, self.ends)
        draft.edit((start, end, "") for start, end in self.boilerplate)
        return CleanText(self.sent, draft.text, draft.starts, draft.ends)

    def sent_span(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from `start` up to `end` of `text` are in `sent`."""
        if self.starts is None or self.ends is None:
            return start, end
        if start >= end:
            start = self.starts[start] if start < len(self.starts) else len(self.sent)
            return start, start
        return self.starts[start], self.ends[end - 1]

    def clean_span(self, start: int, end: int) -> tuple[int, int]:
        """The part of `text` that came from the characters from `start` up to `end` of `sent`."""
        if self.starts is None or self.ends is None:
            return min(start, len(self.text)), min(end, len(self.text))
        first = bisect_right(self.ends, start)
        return first, max(first, bisect_left(self.starts, end))


def clean(text: str) -> CleanText:
    """The text that a reader sees, and its boilerplate.  Never raises; a clean text stays as it is."""
    read = text[:MOST_CHARACTERS]
    if NOT_PLAIN.search(read) is None:
        return CleanText(text, read, None, None, boilerplate.spans(read))
    draft = Draft(read)
    for _ in range(MOST_PASSES):
        if UNCLEAN.search(draft.text) is None and not encodings.may_be_gbk(draft.text):
            break
        before = draft.text
        for step in STEPS:
            step(draft)
        if draft.text == before:
            break
    _simplify(draft)
    return CleanText(text, draft.text, draft.starts, draft.ends, boilerplate.spans(draft.text))


def _has_words(text: str, without: Sequence[tuple[int, int]]) -> bool:
    at = 0
    for start, end in (*without, (len(text), len(text))):
        if any(map(str.isalnum, text[at:start])):
            return True
        at = end
    return False


def _unescape_code_units(draft: Draft) -> None:
    r"""Decode literal \u2019 (JSON that was escaped twice) and surrogates, which no encoding has alone."""
    draft.edit((*match.span(), _code_units(match[0])) for match in ESCAPES.finditer(draft.text))


def _code_units(escaped: str) -> str:
    units = [escaped] if escaped[0] != "\\" else [chr(int(unit, 16)) for unit in escaped.split("\\u")[1:]]
    return "".join(units).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _repair_encoding(draft: Draft) -> None:
    """Decode again what was decoded by a wrong encoding."""
    draft.edit(encodings.gb2312_as_latin(draft.text))
    draft.edit(encodings.utf8_as_other(draft.text))
    draft.edit(encodings.utf8_as_gbk(draft.text))


def _plain_forms(draft: Draft) -> None:
    """Full-width and mathematical letters, all kinds of blanks and line ends, characters of Windows-1252."""
    draft.replace(draft.text.translate(_plain_form_table()))


def _drop_invisible(draft: Draft) -> None:
    draft.edit((*match.span(), "") for match in INVISIBLE.finditer(draft.text))


def _drop_markup(draft: Draft) -> None:
    if "<" in draft.text:
        before = draft.text
        draft.edit(markup.tags(before))
        if draft.text != before:
            draft.edit(markup.blank_lines(draft.text))
    if "&" in draft.text:
        draft.edit(markup.entities(draft.text))


STEPS: tuple[Callable[[Draft], None], ...] = (
    _unescape_code_units,
    _repair_encoding,
    _plain_forms,
    _drop_invisible,
    _drop_markup,
)


def _simplify(draft: Draft) -> None:
    """Convert traditional Chinese to simplified, which is what the model was trained on."""
    if _uncommon_han().search(draft.text) is None:
        return
    convert = _opencc().convert
    simplified = convert(draft.text)
    if len(simplified) != len(draft.text):
        # A phrase got a shorter name: without phrases every character stays one character.
        simplified = "".join(new if len(new := convert(char)) == 1 else char for char in draft.text)
    if simplified != draft.text:
        draft.replace(simplified)


@cache
def _plain_form_table() -> dict[int, str]:
    table = dict.fromkeys(map(ord, "\xa0\u1680\u202f\u205f\u3000\x1c\x1d\x1e\x1f"), " ")
    table |= dict.fromkeys(range(0x2000, 0x200B), " ")
    table |= dict.fromkeys(map(ord, "\x0b\x0c\u2028\u2029"), "\n")
    for code in (*range(0xFF10, 0xFF5B), *range(0x1D400, 0x1D800)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain.isascii() and plain.isalnum():
            table[code] = plain
    # C1 controls are Windows-1252 that was taken for Latin-1, as HTML reads them too.
    for code in range(0x80, 0xA0):
        table.setdefault(code, bytes([code]).decode("cp1252", "replace").replace("\ufffd", " "))
    return table


@cache
def _uncommon_han() -> re.Pattern[str]:
    """A character outside GB 2312, which has simplified Chinese only."""
    rows = (bytes([row, cell]) for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF))
    common = "".join(code.decode("gb2312", "ignore") for code in rows)
    return re.compile(f"[^\x00-\u33ff\ua000-\U0010ffff{common}]")


@cache
def _opencc() -> Any:
    import opencc

    return opencc.OpenCC("t2s")

"""Normal forms: the spelling in which names and texts are compared.

`fold` replaces each character by one character, so that a place in a folded text is the same place in the
text: lower case, no accents, one kind of apostrophe, a blank for every kind of hyphen, half-width letters and
punctuation.  What would change the length of a text (runs of blanks, ligatures, combining accents) is edited
before, and the edits remember where each character came from.  What else differs in how a name is written
(`&` or `and`, with or without dots and apostrophes, the legal form) makes patterns of the name: `name_forms`.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, reduce
from typing import NamedTuple

from stream.domain.text.cleaning import CleanText, clean
from stream.domain.text.edits import Draft, Edit

# Characters of the Basic Multilingual Plane are folded; others (emoji) stay as they are.
PLANE = 0x10000
APOSTROPHES = "'`\u00b4\u02b9\u02bc\u2018\u2019\u201b\u2032\uff07"
HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d"
# Letters that Unicode does not take apart, and dots between the words of a name.
OTHERS = {"ø": "o", "Ø": "o", "đ": "d", "ł": "l", "Ł": "l", "ħ": "h", "ı": "i", "·": " ", "・": " "}
LIGATURES = {
    "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ß": "ss", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi",
    "ﬄ": "ffl",
}  # fmt: skip
UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
# What a text loses or gets more of: combining accents and ligatures.
UNEVEN = re.compile(f"[\u0300-\u036f{''.join(LIGATURES)}]")
# One blank is left of several, none beside the end of a line.
BLANKS = re.compile("[ \t\r]+(?=\n)|(?<=\n)[ \t]+|[ \t]{2,}")
HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
# Legal forms behind the name of a company, as texts write them; in lower case only those that are no words.
_FORMS = "|".join([
    "[Ii]nc|INC|[Ii]ncorporated|INCORPORATED|[Cc]orp|CORP|[Ll]td|LTD|plc|Plc|PLC|llc|LLC|LLP|LP|Limited|LIMITED",
    "Corporation|CORPORATION|Company|Co|NV|SA|AG|SE|ASA|AB|Oyj|OYJ|SpA|SPA|KGaA|GmbH|GMBH|Pte|PTE",
    r"Pty|PTY|Bhd|BHD|Berhad|BERHAD|Tbk|TBK|PJSC|JSC|[Pp]\.[Ll]\.[Cc]|L\.L\.C|L\.P|N\.V|S\.A|S\.p\.A|A/S|A\.G",
])  # fmt: skip
LEGAL = re.compile(rf"(?:(?:, ?| )?(?:& ?|and )?(?<![A-Za-z0-9])(?:{_FORMS})(?![A-Za-z0-9-])\.?)+")
LEGAL_OF_NAME = re.compile(LEGAL.pattern, re.IGNORECASE)
# How they all end, in lower case: most names have none.
LEGAL_ENDS = (
    "inc", "incorporated", "corp", "ltd", "plc", "llc", "llp", "lp", "limited", "corporation",
    "company", "co", "nv", "sa", "ag", "se", "ab", "oyj", "spa", "kgaa", "gmbh", "pte", "pty", "bhd",
    "berhad", "tbk", "jsc", "p.l.c", "l.l.c", "l.p", "n.v", "s.a", "s.p.a", "a/s", "a.g", "公司",
)  # fmt: skip
LEGAL_ZH = re.compile(r"(?:[(（]集团[)）]|集团)?(?:控股)?(?:股份有限公司|有限责任公司|股份公司|有限公司)")
LONG_FORMS = (
    ("incorporated", "inc"), ("corporation", "corp"), ("limited", "ltd"), ("company", "co"), ("and", ""),
)  # fmt: skip
# A name like this is written in one way.
SIMPLE = re.compile(r"[A-Za-z0-9]{4,}(?: [A-Za-z0-9]+)*")
# A name that begins with initials: `J.B. Hunt`, `J B Hunt`.
INITIALS = re.compile(r"((?:[a-z]\. ?|[a-z] ){1,3}[a-z]?\.?(?= )|[b-df-hj-np-tv-xz]{2,3}(?= ))")
LONGEST_SPACED = 3
SHORTEST_JOINED = 6


class NameForm(NamedTuple):
    """A folded spelling of a name.  One that `needs_legal` is followed by a legal form: `Target Corp`.

    `legal` is the one that the name has (`normal_legal`).
    """

    text: str
    needs_legal: bool = False
    legal: str = ""


@dataclass(frozen=True, slots=True)
class ReadText:
    """A clean text without boilerplate, and the same text folded: character i of both is the same place."""

    clean: CleanText
    folded: str

    @property
    def text(self) -> str:
        return self.clean.text


def read(cleaned: CleanText) -> ReadText:
    """What is looked at of a text: nothing if all of it is boilerplate."""
    if cleaned.only_boilerplate:
        return ReadText(CleanText(cleaned.sent, ""), "")
    news = cleaned.news
    edits = _edits(news.text)
    if edits:
        draft = Draft(news.text, news.starts, news.ends)
        draft.edit(edits)
        news = CleanText(news.sent, draft.text, draft.starts, draft.ends)
    return ReadText(news, fold(news.text))


def _edits(text: str) -> list[Edit]:
    """What changes the length of a text before it is folded."""
    edits: list[Edit] = []
    if not text.isascii():
        edits += ((*match.span(), LIGATURES.get(match[0], "")) for match in UNEVEN.finditer(text))
    if "\n" in text or "  " in text or "\t" in text:
        blanks = ((*match.span(), _blank(text, *match.span())) for match in BLANKS.finditer(text))
        edits = sorted((*edits, *blanks))
    return edits


def _blank(text: str, start: int, end: int) -> str:
    """What is left of a run of blanks."""
    return "" if text[end : end + 1] == "\n" or text[start - 1 : start] == "\n" else " "


def fold(text: str) -> str:
    """The normal form of a text, character for character."""
    return text.translate(_ascii_table() if text.isascii() else _table())


def name_forms(name: str) -> Iterator[NameForm]:
    """All folded spellings in which texts write a name, the usual one first; several may be equal."""
    name = _plain_name(name)
    legal = _legal_start(name)
    has_legal = 0 < legal < len(name)
    base = name[:legal].rstrip(" ,&") if has_legal else name
    # An address is a name without its legal form, too: Amazon.com.
    needs_legal = has_legal and not base.lower().endswith(".com")
    own_legal = normal_legal(name[legal:]) if has_legal else ""
    for spelling in _spellings(base):
        if spelling:
            yield NameForm(spelling, needs_legal, own_legal)


def normal_legal(legal: str) -> str:
    """A legal form in one spelling, to tell apart companies of one name: Merck KGaA and Merck & Co."""
    letters = re.sub("[^a-z集团控股份有限责任公司]", "", fold(legal))
    return reduce(lambda text, word: text.replace(*word), LONG_FORMS, letters)


def _plain_name(name: str) -> str:
    """A name in simplified Chinese, with single blanks and without ligatures."""
    if not name.isascii():
        try:
            name.encode("gb2312")
        except UnicodeEncodeError:
            name = clean(name).text
    edits = _edits(name)
    if not edits:
        return name.strip()
    draft = Draft(name)
    draft.edit(edits)
    return draft.text.strip()


def _legal_start(name: str) -> int:
    """Where the legal form at the end of a name begins; its length if it has none."""
    if name.lower().rstrip(". ").endswith(LEGAL_ENDS):
        for match in (LEGAL_ZH if name[-1] == "司" else LEGAL_OF_NAME).finditer(name):
            if match.end() == len(name):
                return match.start()
    return len(name)


def _spellings(name: str) -> Iterator[str]:
    folded = fold(name)
    yield folded
    if SIMPLE.fullmatch(name) and " and " not in folded:
        return
    if HAN.search(folded):
        yield from _spaced(folded)
        return
    for spelling in {folded, *_joined(name, folded)}:
        for written in {spelling, *_with_initials(spelling), *_without_dots(spelling)}:
            if "  " in written:
                yield re.sub(" {2,}", " ", written)
            for ampersand in {written, *_ampersands(written)}:
                yield ampersand
                if "'" in ampersand:
                    yield ampersand.replace("'", "")
                if "!" in ampersand:
                    yield ampersand.replace("!", "")
    if not name.isascii() and (umlauts := name.translate(UMLAUTS)) != name:
        yield fold(umlauts)


def _spaced(folded: str) -> Iterator[str]:
    """Short Chinese names are written with blanks in tables, and a mark of bad results can lack its star."""
    if folded.startswith("*st"):
        yield folded[1:]
        yield f"*st {folded[3:]}"
        return
    core = folded.rstrip("abh")
    if 1 < len(core) <= LONGEST_SPACED:
        yield " ".join(core) + folded[len(core) :]


def _joined(name: str, folded: str) -> Iterator[str]:
    """`walmart` for Wal-Mart."""
    if (
        any(hyphen in name for hyphen in HYPHENS)
        and len(folded) >= SHORTEST_JOINED
        and folded.count(" ") == 1
    ):
        yield folded.replace(" ", "")


def _with_initials(folded: str) -> Iterator[str]:
    """`jb hunt`, `j.b. hunt`, `j. b. hunt` and `j b hunt` for each of them."""
    match = INITIALS.match(folded)
    letters = re.sub("[. ]", "", match[0]) if match else ""
    if match and 1 < len(letters) < 4:
        rest = folded[match.end() :].lstrip()
        for initials in (letters, ".".join(letters) + ".", ". ".join(letters) + ".", " ".join(letters)):
            yield f"{initials} {rest}"


def _without_dots(folded: str) -> Iterator[str]:
    if "." in folded:
        yield folded.replace(". ", " ").rstrip(".")
        yield re.sub(r"\b([a-z])\.(?=[a-z]\b)", r"\1", folded).replace(". ", " ").rstrip(".")


def _ampersands(folded: str) -> Iterator[str]:
    parts = re.split(r" ?& ?| and ", folded)
    if len(parts) > 1 and all(parts):
        yield from (" & ".join(parts), "&".join(parts), " and ".join(parts))


@cache
def _table() -> str:
    return "".join(map(_folded, map(chr, range(PLANE))))


@cache
def _ascii_table() -> dict[int, str]:
    return dict(enumerate(_table()[:128]))


def _folded(char: str) -> str:
    """The normal form of one character: one character."""
    if char in APOSTROPHES:
        return "'"
    if char in HYPHENS or char.isspace():
        return " "
    if char in OTHERS:
        return OTHERS[char]
    plain = unicodedata.normalize("NFKC", char)
    lower = (plain if len(plain) == 1 else char).lower()
    letters = [part for part in unicodedata.normalize("NFD", lower) if not unicodedata.combining(part)]
    return letters[0] if len(letters) == 1 else char

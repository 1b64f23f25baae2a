"""Names of a text that look like companies or tickers and belong to no entity.

What a house sees so is what its own file of entities could add.  Few of these names are wrong rather than
all are found: a cashtag, a symbol or a code with its exchange, a name with its legal form, a name beside
words of finance, a Chinese name with the ending of a company.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from models.entities import evidence_words as words
from models.entities.context import Context, Shape
from models.entities.forms import LEGAL, ReadText, fold, read
from models.entities.linker import Linker, addresses
from models.entities.tickers import CASHTAG
from stream.domain.documents import TextInput
from stream.domain.text.cleaning import clean

# Different names that are counted at once.  Where there are more, the rarest are forgotten.
MOST_NAMES = 200_000
# Names of one text: a list of all tickers is not more.
MOST_IN_TEXT = 200
LONGEST_NAME, SHORTEST_NAME = 60, 2
_WORD = r"[A-Z][A-Za-z0-9&'’-]{0,30}"
CAPITALISED = re.compile(rf"(?<![A-Za-z0-9&'’@#$.-]){_WORD}(?: (?:(?:of|and|&|de|the) )?{_WORD}){{0,4}}")
NAME_ZH = re.compile(
    "[\u4e00-\u9fffA-Za-z]{2,12}?(?:股份有限公司|有限责任公司|有限公司|股份|集团|银行|证券|科技|控股|药业|生物|电子|"
    "医药|能源|置业|地产|信托|保险|基金|资本|汽车|半导体|新材|智能)(?![\u4e00-\u9fff]{0,1}(?:行业|板块|概念|产业|公司))"
)
# A Chinese name begins behind one of these.
BEFORE_NAME_ZH = re.compile(
    "[^\u4e00-\u9fffA-Za-z0-9]|的|和|与|及|或|在|对|向|被|由|为|是|了|将|从|把|于|等|收购|投资|持有|称|据|日|月|年|其|旗下|公告|"
    "控股股东|子公司|全资|通过|包括|分别|成立|入股|增持|减持"
)
BRACKETED_CODE = re.compile("([\u4e00-\u9fffA-Za-z*]{2,10})[(（]([03468][0-9]{5}|0[0-9]{4})[)）]")
# Words that begin sentences and headlines, and are no part of a name.
NO_NAME = (
    words.DETERMINERS | words.PLAIN_VERBS | words.ACRONYMS | words.FINANCE | words.TITLES | words.FIRST_WORDS
)


class Sign(StrEnum):
    """Why something looks like a name, by its word in the output of the command."""

    CASHTAG = "cashtag"
    SYMBOL = "symbol"
    CODE = "code"
    NAME = "name"


class UnknownName(NamedTuple):
    """A name without an entity, as the text writes it."""

    text: str
    sign: Sign


@dataclass
class NameCount:
    """In how many documents a name was found, and the key of the first one."""

    name: UnknownName
    example: str
    documents: int = 1


@dataclass
class UnknownNames:
    """Counts the names without an entity over many documents, in bounded memory."""

    linker: Linker
    most: int = MOST_NAMES
    _counts: dict[tuple[str, Sign], NameCount] = field(default_factory=dict)

    def add(self, key: str, item: TextInput) -> None:
        """Count the names of one document."""
        for name in find(self.linker, item):
            folded = (fold(name.text), name.sign)
            count = self._counts.get(folded)
            if count is None:
                self._counts[folded] = NameCount(name, key)
            else:
                count.documents += 1
        if len(self._counts) > self.most:
            self._forget()

    def most_frequent(self, limit: int) -> list[NameCount]:
        """The names of most documents, with the most frequent first."""
        return sorted(self._counts.values(), key=lambda count: (-count.documents, count.name))[:limit]

    def _forget(self) -> None:
        """Forget the rarer half."""
        kept = Counter({folded: count.documents for folded, count in self._counts.items()})
        self._counts = {folded: self._counts[folded] for folded, _ in kept.most_common(self.most // 2)}


def find(linker: Linker, item: TextInput) -> list[UnknownName]:
    """The names of a text without an entity, each once."""
    cleaned = clean(item.text)
    text = read(cleaned)
    taken = bytearray(len(text.text))
    for start, end in addresses(text.text):
        taken[start:end] = b"\1" * (end - start)
    for _, spans in linker.link(item, cleaned):
        for place in spans:
            start, end = text.clean.clean_span(*place)
            taken[start:end] = b"\1" * (end - start)
    found: dict[UnknownName, None] = {}
    for name in (*_symbols(linker, item.symbols), *_tickers(text, taken), *_names(text, taken)):
        if len(found) < MOST_IN_TEXT:
            found.setdefault(name)
    return list(found)


def _symbols(linker: Linker, symbols: Iterable[str]) -> Iterator[UnknownName]:
    _, book = linker.load()
    for symbol in symbols:
        if len(symbol) <= LONGEST_NAME and symbol.strip() and book.symbol(symbol) is None:
            yield UnknownName(symbol.strip(), Sign.SYMBOL)


def _tickers(text: ReadText, taken: bytearray) -> Iterator[UnknownName]:
    for match in CASHTAG.finditer(text.text):
        if taken.find(1, *match.span()) < 0:
            yield UnknownName(match[0].upper(), Sign.CASHTAG)
    for match in BRACKETED_CODE.finditer(text.text):
        if taken.find(1, *match.span(2)) < 0:
            yield UnknownName(match[2], Sign.CODE)


def _names(text: ReadText, taken: bytearray) -> Iterator[UnknownName]:
    if not text.text.isascii():
        yield from _chinese_names(text, taken)
    for match in CAPITALISED.finditer(text.text):
        legal = LEGAL.match(text.text, match.end()) or LEGAL.search(match[0])
        start, end = match.span()
        if taken.find(1, start, end) >= 0:
            continue
        name = _without_first_words(match[0])
        if legal or _is_company(Context(text, end - len(name), end)):
            core = LEGAL.sub("", name).strip(" ,&")
            if SHORTEST_NAME <= len(core) <= LONGEST_NAME and fold(core) not in NO_NAME:
                yield UnknownName(core, Sign.NAME)


def _without_first_words(name: str) -> str:
    """The name without the words that only begin its sentence."""
    while " " in name and fold(name.partition(" ")[0]) in NO_NAME:
        name = name.partition(" ")[2]
    return name


def _is_company(context: Context) -> bool:
    """Whether words of companies stand beside a capitalised name in running text."""
    if context.shape not in (Shape.RUNNING, Shape.CHINESE):
        return False
    after, before = context.words_after[:1], context.words_before[-2:]
    if after and after[0] in words.CORE_NOUNS and context.after[:1] in (" ", "'"):
        return True
    return len(before) == 2 and before[1] in ("of", "in") and before[0] in ("shares", "stake", "ceo", "stock")


def _chinese_names(text: ReadText, taken: bytearray) -> Iterator[UnknownName]:
    at = 0
    for match in NAME_ZH.finditer(text.text):
        start = match.start()
        for boundary in BEFORE_NAME_ZH.finditer(text.text, max(at, start - 1), match.end() - 2):
            start = max(start, boundary.end())
        at = match.end()
        is_begun = start == 0 or BEFORE_NAME_ZH.search(text.text, max(0, start - 4), start) is not None
        name = text.text[start : match.end()]
        if is_begun and len(name) > 3 and taken.find(1, start, match.end()) < 0:
            yield UnknownName(name, Sign.NAME)

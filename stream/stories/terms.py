"""What a text tells, as terms: whom, where and when it is about, its figures and its other content words.

Two texts can tell the same event only if they share terms, and texts that look alike tell different events if
their names, places, periods or figures differ: "profit up 12 %" of two companies.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from stream.domain.stories import TextTerms
from stream.stories import lookup
from stream.stories.signature import HAN

# Of a long text the title and the beginning tell what it is about.
MOST_CHARACTERS = 600
# Terms of each kind that are kept.
MOST_TERMS = 16
MOST_WORDS = 40
# An entity of less relevance is mentioned by the way.
LEAST_RELEVANCE = 20
# A text of which so many words begin with a capital is written in title case: capitals tell no names there.
TITLE_CASE = 0.7
NUMBER = re.compile(
    r"(?<![A-Za-z0-9.,])(?P<digits>\d+(?:[.,]\d+)*)\s*"
    r"(?P<unit>%|(?:percent|pct|per\ cent|percentage\ points?|bps?|basis\ points?|k|thousand|m|mn|mln|million"
    r"|bn|b|billion|tn|trln|trillion)\b|个?百分点|个?基点|万亿|千亿|百亿|亿|千万|百万|万|倍)?",
    re.IGNORECASE | re.VERBOSE,
)
GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
# Powers of ten.
UNITS = {
    "k": 3, "thousand": 3, "m": 6, "mn": 6, "mln": 6, "million": 6, "bn": 9, "b": 9, "billion": 9, "tn": 12,
    "trln": 12, "trillion": 12, "万": 4, "百万": 6, "千万": 7, "亿": 8, "百亿": 10, "千亿": 11, "万亿": 12,
}  # fmt: skip
SHARES = {"%", "percent", "pct", "per cent", "percentage point", "percentage points", "个百分点", "百分点"}
BASIS_POINTS = {"bp", "bps", "basis point", "basis points", "个基点", "基点"}
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
PERIOD = re.compile(
    r"\b(?P<month>" + "|".join(month.capitalize() for month in MONTHS) + r")\b"
    r"|\b(?:Q(?P<q1>[1-4])|(?P<q2>[1-4])Q|(?P<quarter>first|second|third|fourth)[\ -]quarter)(?:\ ?FY\d*)?\b"
    r"|\b(?:H(?P<h1>[12])|(?P<h2>[12])H|(?P<half>first|second)[\ -]half)\b"
    r"|(?<!\d)(?P<year>(?:19|20)\d\d)(?!\d|[.,]\d)"
    r"|(?<![\d.])(?P<zh_month>1[0-2]|[1-9])月(?!\d)"
    r"|第?(?P<zh_quarter>[一二三四1-4])季度?(?![前])|(?P<zh_half>上半年|下半年|前三季度)",
    re.IGNORECASE,
)
ORDINALS = {
    "first": "1",
    "second": "2",
    "third": "3",
    "fourth": "4",
    "一": "1",
    "二": "2",
    "三": "3",
    "四": "4",
}
WORD = re.compile(rf"[^\W\d_{HAN}]+(?:'[^\W\d_{HAN}]+)*")
# A product or a model: iPhone16, M4, SU7, 737-800.
CODE = re.compile(r"(?<![\w.])(?=\w*[A-Za-z])(?=\w*\d)[A-Za-z0-9]{2,12}(?![\w.])", re.ASCII)
SENTENCE_END = re.compile(r"""[.!?:;–—-]\W*$|^\W*$""")
HAN_RUN = re.compile(rf"[{HAN}]+")
# In front of a colon stands the one that a Chinese flash is about.
SUBJECT = re.compile(rf"^[\s*【\[]*(?:ST|\*ST)?([{HAN}A-Za-z0-9]{{2,12}})[】\]]?[：:]")
# Chinese characters that join words rather than name things: no pair of characters spans one.
JOINING = re.compile(
    "[的了在是和与及或将为等被对从向把让于以其之并而也又都就还已再更最很太不没个这那此该各每些着过到由据称表示来源记者"
    "月日年时分秒]"
)
STOPWORDS = frozenset((
    "a", "about", "after", "again", "against", "all", "also", "amid", "among", "an", "and", "any",
    "are", "as", "at", "back", "be", "because", "been", "before", "being", "between", "but", "by",
    "can", "could", "day", "did", "do", "does", "down", "during", "each", "even", "for", "from",
    "further", "get", "had", "has", "have", "he", "her", "here", "his", "how", "i", "if", "in", "into",
    "is", "it", "its", "itself", "just", "last", "latest", "like", "make", "makes", "making", "may",
    "me", "might", "more", "most", "much", "must", "my", "near", "new", "next", "no", "nor", "not",
    "now", "of", "off", "on", "once", "one", "only", "or", "other", "our", "out", "over", "own", "per",
    "plan", "plans", "report", "reports", "say", "says", "said", "same", "see", "sees", "set", "she",
    "should", "since", "so", "some", "still", "such", "take", "takes", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "though", "through", "to", "today",
    "tomorrow", "too", "two", "under", "until", "up", "us", "very", "via", "was", "watch", "we", "week",
    "weeks", "were", "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with",
    "would", "year", "years", "yesterday", "yet", "you", "your",
))  # fmt: skip
# Capitals that name a measure, a role or an instrument.
NO_NAMES = frozenset((
    "ai", "adr", "agm", "api", "bid", "ceo", "cfo", "coo", "cpi", "ebit", "ebitda", "eps", "esg", "etf",
    "ev", "evs", "fx", "fy", "gaap", "gdp", "gmt", "hy", "ico", "ipo", "kpi", "lng", "m&a", "mom", "mn",
    "nav", "ok", "pce", "pe", "pm", "pmi", "ppi", "qe", "qt", "qoq", "rd", "roe", "spac", "st", "tv",
    "usd", "vat", "vc", "vs", "yoy", "ytd", "rmb", "cny", "eur", "gbp", "jpy", "hkd", "q1", "q2", "q3",
    "q4", "h1", "h2",
))  # fmt: skip
ENDINGS = ("ings", "ing", "ers", "ies", "ied", "es", "ed", "er", "'s", "s")


def text_terms(text: str, entities: Iterable[tuple[str, int]] = ()) -> TextTerms:
    """The terms of a text (`signature.core`) with these entities (id, relevance)."""
    text = text[:MOST_CHARACTERS]
    about = (name for name, relevance in entities if relevance >= LEAST_RELEVANCE)
    plain, has_han = PERIOD.sub(" ", text), HAN_RUN.search(text) is not None
    found = list(lookup.find(text, lookup.places(), has_han=has_han))
    # A city stands for its country too: "Ankara raises rates" is about Turkey.
    countries = (place.partition("-")[0] for place in found)
    return TextTerms(
        entities=_hashes(about, MOST_TERMS),
        numbers=_hashes(_numbers(plain), 2 * MOST_TERMS),
        periods=_hashes(_periods(text), MOST_TERMS),
        names=_hashes(_names(text, has_han=has_han), MOST_TERMS),
        countries=_hashes(countries, MOST_TERMS),
        cities=_hashes((place for place in found if "-" in place), MOST_TERMS),
        words=_hashes(_words(NUMBER.sub(" ", plain)), MOST_WORDS),
    )


def _numbers(text: str) -> Iterator[str]:
    """Figures in one form, and rounded to two digits: "1.2bn", "1,200 million" and "12亿" are one."""
    for match in NUMBER.finditer(text):
        digits, unit = match["digits"], (match["unit"] or "").casefold().strip()
        if GROUPED.fullmatch(digits):
            digits = digits.replace(",", "")
        whole, _, rest = digits.partition(".")
        rest = rest.replace(".", "")
        if unit in SHARES or unit in BASIS_POINTS:
            yield _share(whole, rest, unit in BASIS_POINTS)
            continue
        significant = (whole + rest).replace(",", "").lstrip("0")
        power = UNITS.get(unit, 0) - len(rest)
        named = "" if unit in UNITS else unit[:2]
        yield _figure(significant, power, named)
        if len(significant) > 2:
            rounded = (int(significant[:3]) + 5) // 10
            yield _figure(str(rounded), power + len(significant) - 2, named)


def _share(whole: str, rest: str, is_basis_points: bool) -> str:
    """25 basis points are 0.25 %."""
    if is_basis_points:
        whole, rest = whole.zfill(3)[:-2], whole.zfill(3)[-2:] + rest
    return f"{whole.lstrip('0') or '0'}.{rest.rstrip('0')}%"


def _figure(digits: str, power: int, unit: str) -> str:
    shown = digits.rstrip("0")
    return f"{shown}e{power + len(digits) - len(shown)}{unit}" if shown else f"0{unit}"


def _periods(text: str) -> Iterator[str]:
    """Months, quarters, halves and years."""
    for match in PERIOD.finditer(text):
        found = {name: value for name, value in match.groupdict().items() if value}
        (name, value), value_lower = next(iter(found.items())), next(iter(found.values())).casefold()
        if name == "month":
            if value.islower():
                continue  # "may" and "march" are words
            yield f"m{MONTHS.index(value_lower) + 1}"
        elif name == "zh_month":
            yield f"m{value}"
        elif name == "year":
            yield value
        elif name == "zh_half":
            yield {"上半年": "h1", "下半年": "h2"}.get(value, "q1-3")
        else:
            yield f"{'h' if 'h' in name[:1] else 'q'}{ORDINALS.get(value_lower, value)}"


def _names(text: str, *, has_han: bool) -> Iterator[str]:
    """Words that are written as names are, products, and whom a Chinese flash is about."""
    if has_han:
        yield from lookup.find(text, lookup.chinese_names(), has_han=True)
    if has_han and (subject := SUBJECT.match(text)):
        yield subject[1].casefold()
    for match in CODE.finditer(text):
        if match[0].casefold() not in NO_NAMES and not NUMBER.fullmatch(match[0]):
            yield match[0].casefold()
    words = list(WORD.finditer(text))
    long = [match[0] for match in words if len(match[0]) > 3]
    is_title_case = len(long) > 3 and sum(word[0].isupper() for word in long) >= TITLE_CASE * len(long)
    for match in words:
        word = match[0].removesuffix("'s").removesuffix("'")
        folded = word.casefold()
        if not word[:1].isupper() or len(word) < 2 or folded in NO_NAMES or folded in STOPWORDS:
            continue
        if folded in common_words() or _stem(folded) in common_words():
            continue
        if folded not in _place_words() and (is_title_case or word.isupper() or len(word) > 2):
            yield folded


@cache
def _place_words() -> frozenset[str]:
    """The words of English names of places: they are places, and no other names."""
    return frozenset(
        word.casefold() for own in lookup.places().english.values() for words, _ in own for word in words
    )


@cache
def common_words() -> frozenset[str]:
    """English words that are no names."""
    path = Path(__file__).with_name("common_words.txt")
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def _words(text: str) -> Iterator[str]:
    for match in WORD.finditer(text):
        word = match[0].casefold()
        if len(word) > 1 and word not in STOPWORDS:
            yield _stem(word)
    for run in HAN_RUN.findall(text):
        for part in JOINING.split(run):
            yield from (part[i : i + 2] for i in range(len(part) - 1))


def _stem(word: str) -> str:
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _hashes(terms: Iterable[str], most: int) -> tuple[int, ...]:
    """The hashes of the first different terms, sorted."""
    first = list(dict.fromkeys(terms))[:most]
    return tuple(sorted({zlib.crc32(term.encode("utf-8", "surrogatepass")) for term in first}))

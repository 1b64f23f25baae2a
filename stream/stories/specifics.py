"""What tells one event from another that looks like it: the figures, periods and names in a text."""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stream.stories import lookup
from stream.stories.signature import HAN

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
# In front of a colon stands the one that a Chinese flash is about.
SUBJECT = re.compile(rf"^[\s*【\[]*(?:ST|\*ST)?([{HAN}A-Za-z0-9]{{2,12}})[】\]]?[：:]")
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


class Sort(StrEnum):
    """What a specific is."""

    NUMBER = "n"
    PERIOD = "p"
    NAME = "x"
    PLACE = "l"


class Specific(NamedTuple):
    """A figure, period, name or place in a text, in one form: characters from `start` up to `end`."""

    start: int
    end: int
    sort: Sort
    value: str


def specifics(text: str, *, has_han: bool) -> list[Specific]:
    """The specifics of a text, in order; those of one sort do not overlap."""
    found = [*_periods(text), *_names(text, has_han=has_han)]
    taken = [False] * len(text)
    for each in found:
        if each.sort is Sort.PERIOD:
            taken[each.start : each.end] = [True] * (each.end - each.start)
    found += [each for each in _numbers(text) if not taken[each.start]]
    found += [
        Specific(*place[:2], Sort.PLACE, place.id)
        for place in lookup.find(text, lookup.places(), has_han=has_han)
    ]
    return sorted(found)


def _numbers(text: str) -> Iterator[Specific]:
    """Figures in one form: "1.2bn", "1,200 million" and "12亿" are one."""
    for match in NUMBER.finditer(text):
        digits, unit = match["digits"], (match["unit"] or "").casefold().strip()
        if GROUPED.fullmatch(digits):
            digits = digits.replace(",", "")
        whole, _, rest = digits.partition(".")
        rest = rest.replace(".", "")
        if unit in SHARES or unit in BASIS_POINTS:
            value = _share(whole, rest, is_basis_points=unit in BASIS_POINTS)
        else:
            significant = (whole + rest).replace(",", "").lstrip("0")
            named = "" if unit in UNITS else unit[:2]
            value = _figure(significant, UNITS.get(unit, 0) - len(rest), named)
        yield Specific(*match.span(), Sort.NUMBER, value)


def rounded(value: str) -> str | None:
    """A figure rounded to two digits, as texts do that are not exact; None if it has no more."""
    digits, _, power = value.partition("e")
    if not power or len(digits) < 3:
        return None
    exponent = re.match(r"-?\d+", power)
    if exponent is None:
        return None
    unit = power[exponent.end() :]
    return _figure(str((int(digits[:3]) + 5) // 10), int(exponent[0]) + len(digits) - 2, unit)


def _share(whole: str, rest: str, *, is_basis_points: bool) -> str:
    """25 basis points are 0.25 %."""
    if is_basis_points:
        whole, rest = whole.zfill(3)[:-2], whole.zfill(3)[-2:] + rest
    return f"{whole.lstrip('0') or '0'}.{rest.rstrip('0')}%"


def _figure(digits: str, power: int, unit: str) -> str:
    shown = digits.rstrip("0")
    return f"{shown}e{power + len(digits) - len(shown)}{unit}" if shown else f"0{unit}"


def _periods(text: str) -> Iterator[Specific]:
    """Months, quarters, halves and years."""
    for match in PERIOD.finditer(text):
        name, value = next((name, value) for name, value in match.groupdict().items() if value)
        folded = value.casefold()
        if name == "month":
            if value.islower():
                continue  # "may" and "march" are words
            period = f"m{MONTHS.index(folded) + 1}"
        elif name == "zh_month":
            period = f"m{value}"
        elif name == "year":
            period = value
        elif name == "zh_half":
            period = {"上半年": "h1", "下半年": "h2"}.get(value, "q1-3")
        else:
            period = f"{'h' if name.startswith('h') else 'q'}{ORDINALS.get(folded, value)}"
        yield Specific(*match.span(), Sort.PERIOD, period)


def _names(text: str, *, has_han: bool) -> Iterator[Specific]:
    """Words that are written as names are, products, and whom a Chinese flash is about."""
    if has_han:
        for found in lookup.find(text, lookup.chinese_names(), has_han=True):
            yield Specific(found.start, found.end, Sort.NAME, found.id)
        if subject := SUBJECT.match(text):
            yield Specific(*subject.span(1), Sort.NAME, subject[1].casefold())
    for match in CODE.finditer(text):
        if match[0].casefold() not in NO_NAMES and not NUMBER.fullmatch(match[0]):
            yield Specific(*match.span(), Sort.NAME, match[0].casefold())
    words = list(WORD.finditer(text))
    long = [match[0] for match in words if len(match[0]) > 3]
    is_title_case = len(long) > 3 and sum(word[0].isupper() for word in long) >= TITLE_CASE * len(long)
    for match in words:
        word = match[0].removesuffix("'s").removesuffix("'S")
        is_written_so = word[:1].isupper() and len(word) > (1 if is_title_case or word.isupper() else 2)
        if is_written_so and _is_name(word.casefold()):
            yield Specific(*match.span(), Sort.NAME, word.casefold())


def _is_name(word: str) -> bool:
    """Whether a word that is written with a capital is a name, and not of a place."""
    if word in NO_NAMES or word in STOPWORDS or word in _place_words():
        return False
    return word not in common_words() and stem(word) not in common_words()


@cache
def _place_words() -> frozenset[str]:
    """The words of English names of places."""
    english = lookup.places().english.values()
    return frozenset(word.casefold() for own in english for name in own for word in name.words)


@cache
def common_words() -> frozenset[str]:
    """English words that are no names."""
    path = Path(__file__).with_name("common_words.txt")
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def stem(word: str) -> str:
    """An English word without its ending."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word

"""What a text tells, as terms: its entities, its figures and its other content words.

Two texts can tell the same event only if they share terms, and texts that look alike tell different events if
their entities or figures differ: "profit up 12 %" of two companies.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable

from stream.domain.stories import TextTerms
from stream.stories.signature import HAN, LINK

# Of a long text the title and the beginning tell what it is about.
MOST_CHARACTERS = 600
MOST_ENTITIES, MOST_NUMBERS, MOST_WORDS = 12, 16, 40
# An entity of less relevance is mentioned by the way.
LEAST_RELEVANCE = 20
NUMBER = re.compile(
    r"(?<![A-Za-z0-9.,])(?P<digits>\d+(?:[.,]\d+)*)\s*"
    r"(?P<unit>%|(?:percent|pct|per\ cent|percentage\ points?|bps?|basis\ points?|k|thousand|m|mn|mln|million"
    r"|bn|b|billion|tn|trln|trillion)\b|个?百分点|个?基点|万亿|千亿|百亿|亿|千万|百万|万|倍)?",
    re.IGNORECASE | re.VERBOSE,
)
# Powers of ten; what is no amount keeps a name.
UNITS = {
    "k": 3, "thousand": 3, "m": 6, "mn": 6, "mln": 6, "million": 6, "bn": 9, "b": 9, "billion": 9, "tn": 12,
    "trln": 12, "trillion": 12, "万": 4, "百万": 6, "千万": 7, "亿": 8, "百亿": 10, "千亿": 11, "万亿": 12,
}  # fmt: skip
SHARES = {"%", "percent", "pct", "per cent", "percentage point", "percentage points", "个百分点", "百分点"}
WORD = re.compile(rf"[^\W\d_{HAN}]+(?:['’][^\W\d_{HAN}]+)*")
HAN_RUN = re.compile(rf"[{HAN}]+")
# Chinese characters that join words rather than name things: no pair of characters spans one.
JOINING = re.compile(
    "[的了在是和与及或将为等被对从向把让于以其之并而也又都就还已再更最很太不没个这那此该各每些着过到由据称表示来源记者月日年时分秒]"
)
STOPWORDS = frozenset((
    "a", "about", "after", "again", "against", "all", "also", "amid", "among", "an", "and", "any", "are",
    "as", "at", "back", "be", "because", "been", "before", "being", "between", "but", "by", "can", "could",
    "day", "did", "do", "does", "down", "during", "each", "even", "first", "for", "from", "further", "get",
    "had", "has", "have", "he", "her", "here", "his", "how", "i", "if", "in", "into", "is", "it", "its",
    "itself", "just", "last", "latest", "like", "make", "makes", "making", "may", "me", "might", "more",
    "most", "much", "must", "my", "near", "new", "next", "no", "nor", "not", "now", "of", "off", "on",
    "once", "one", "only", "or", "other", "our", "out", "over", "own", "per", "plan", "plans", "report",
    "reports", "say", "says", "said", "same", "see", "sees", "set", "she", "should", "since", "so", "some",
    "still", "such", "take", "takes", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "this", "those", "though", "through", "to", "today", "tomorrow", "too", "two", "under", "until",
    "up", "us", "very", "via", "was", "watch", "we", "week", "weeks", "were", "what", "when", "where",
    "which", "while", "who", "whom", "why", "will", "with", "would", "year", "years", "yesterday", "yet",
    "you", "your",
))  # fmt: skip
ENDINGS = ("ings", "ing", "ers", "ies", "ied", "es", "ed", "er", "'s", "’s", "s")


def text_terms(text: str, entities: Iterable[tuple[str, int]] = ()) -> TextTerms:
    """The terms of a clean text (`stream.domain.cleaning`) with these entities (id, relevance)."""
    text = LINK.sub(" ", unicodedata.normalize("NFKC", text[:MOST_CHARACTERS]))
    about = [name for name, relevance in entities if relevance >= LEAST_RELEVANCE][:MOST_ENTITIES]
    return TextTerms(
        _hashes(about, MOST_ENTITIES),
        _hashes(_numbers(text), MOST_NUMBERS),
        _hashes(_words(NUMBER.sub(" ", text)), MOST_WORDS),
    )


def _numbers(text: str) -> Iterable[str]:
    """Figures in one form: "1.2bn", "1,200 million" and "12亿" are one; a year alone is none."""
    for match in NUMBER.finditer(text):
        digits, unit = match["digits"], (match["unit"] or "").casefold().strip()
        digits = digits.replace(",", "") if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits) else digits
        whole, _, rest = digits.partition(".")
        if not unit and not rest and len(whole) == 4 and whole[:2] in ("19", "20"):
            continue
        if unit in SHARES:
            yield f"{whole.lstrip('0') or '0'}.{rest.rstrip('0')}%"
            continue
        power = UNITS.get(unit, 0)
        shown = (whole + rest).lstrip("0").rstrip("0") or "0"
        zeros = len((whole + rest).lstrip("0")) - len((whole + rest).lstrip("0").rstrip("0"))
        named = "" if power or not unit else unit[:2]
        yield f"{shown}e{power - len(rest) + zeros}{named}"


def _words(text: str) -> Iterable[str]:
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

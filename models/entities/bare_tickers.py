"""Tickers in capital letters without a sign: AAPL, GM.

Most such words are no tickers, and many that are one mean something else (CEO, GDP, ALL).  One counts if its
entity is named elsewhere, or if it is no common acronym and finance stands right beside it.
"""

import re
from collections.abc import Iterator, Sequence

from models.entities import evidence_words as words
from models.entities.context import Context, Mention, Shape
from models.entities.evidence import ENOUGH
from models.entities.forms import ReadText
from models.entities.tickers import TickerBook

CAPITALS = re.compile(r"(?<![A-Za-z0-9$.&'’/_-])[A-Z]{2,5}(?![A-Za-z0-9'’&/_.-]*[A-Za-z0-9])")
# In a text with more of them, capitals say nothing.
MOST = 200
SHORTEST = 3


def find(
    text: ReadText, book: TickerBook, mentions: Sequence[Mention], symbols: Sequence[str]
) -> Iterator[Mention]:
    """The tickers that stand alone and have evidence, but for those inside another mention."""
    found = list(CAPITALS.finditer(text.text))
    if not found or len(found) > MOST:
        return
    named = {mention.entity for mention in mentions} | {*symbols}
    taken = bytearray(len(text.text))
    for mention in mentions:
        taken[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
    known = [
        (match, entity)
        for match in found
        if taken.find(1, *match.span()) < 0 and (entity := book.bare(match[0])) is not None
    ]
    for match, entity in known:
        if entity in named or _has_evidence(text, match):
            yield Mention(*match.span(), entity)


def _has_evidence(text: ReadText, match: re.Match[str]) -> bool:
    if len(match[0]) < SHORTEST or match[0].lower() in words.ACRONYMS:
        return False
    context = Context(text, *match.span())
    if context.shape is Shape.CAPITALS:
        return False
    after, before = context.words_after[:1], context.words_before[-2:]
    return sum(_signs(after, before)) >= ENOUGH


def _signs(after: Sequence[str], before: Sequence[str]) -> Iterator[int]:
    if after and (after[0] in words.COMPANY_NOUNS or after[0] in words.COMPANY_VERBS):
        yield 2
    if before and before[-1] in words.TICKER_LEADS:
        yield 2
    if len(before) == 2 and before[-1] in words.LINKING_WORDS and before[0] in words.COMPANY_LEADS_OF:
        yield 2

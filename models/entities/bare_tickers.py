"""Tickers in capital letters without a sign: AAPL, GM.

Most such words are no tickers, and many that are one mean something else (CEO, GDP, ALL).  One counts if its
entity is named elsewhere, if it stands in brackets behind a name, or if it is no common acronym and finance,
or another ticker of a list, stands right beside it.
"""

import re
from collections.abc import Iterator, Sequence

from models.entities import evidence_words as words
from models.entities.context import Context, Mention, Shape, words_in
from models.entities.forms import LEGAL, ReadText
from models.entities.tickers import TickerBook

CAPITALS = re.compile(r"(?<![A-Za-z0-9$.&'’/_-])[A-Z]{2,5}(?![A-Za-z0-9'’&/_.-]*[A-Za-z0-9])")
# In a text with more of them, capitals say nothing.
MOST = 200
SHORTEST = 3
# The name in front of a bracket.
LONGEST_NAME = 60
# What separates the tickers of a list.
SEPARATOR = re.compile(r"\s?(?:[,/&+|;、]|,?\s(?:and|or))\s?")
NAME_WORD = re.compile(r"[A-Za-z][\w&'’.-]{0,30}")


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
    free = [match for match in found if taken.find(1, *match.span()) < 0]
    is_crypto = bool(free) and book.is_crypto(text.folded, mentions, ())
    # In a text on coins, capitals are coins.
    entities = {match: book.coins.get(match[0]) if is_crypto else book.bare(match[0]) for match in free}
    counted = {
        match
        for match, entity in entities.items()
        if entity and (entity in named or _has_evidence(text, match))
    }
    known = counted | {match for match in found if match not in entities}
    counted |= {match for match in _beside(text, found, known) if _may_be_ticker(text, match)}
    for match in free:
        if match in counted and (entity := entities[match]):
            yield Mention(*match.span(), entity)


def _beside(
    text: ReadText, found: Sequence[re.Match[str]], known: set[re.Match[str]]
) -> Iterator[re.Match[str]]:
    """The members of lists in which one is `known`."""
    group: list[re.Match[str]] = []
    for match, following in zip(found, [*found[1:], None], strict=True):
        group.append(match)
        if following is None or not SEPARATOR.fullmatch(text.text, match.end(), following.start()):
            if not known.isdisjoint(group):
                yield from group
            group = []


def _has_evidence(text: ReadText, match: re.Match[str]) -> bool:
    context = Context(text, *match.span())
    if _is_in_brackets(context):
        return _is_behind_name(context)
    if not _may_be_ticker(text, match):
        return False
    after, before = context.words_after[:1], context.words_before[-2:]
    return (
        words_in(after, words.COMPANY_NOUNS | words.COMPANY_VERBS)
        or words_in(before[-1:], words.TICKER_LEADS)
        or (words_in(before[-1:], words.LINKING_WORDS) and words_in(before[:1], words.COMPANY_LEADS_OF))
    )


def _may_be_ticker(text: ReadText, match: re.Match[str]) -> bool:
    context = Context(text, *match.span())
    return (
        len(context.own) >= SHORTEST
        and context.own not in words.ACRONYMS
        and context.shape is not Shape.CAPITALS
    )


def _is_in_brackets(context: Context) -> bool:
    text = context.text.text
    return text[context.start - 1 : context.start] == "(" and text[context.end : context.end + 1] == ")"


def _is_behind_name(context: Context) -> bool:
    """Whether a name is before the brackets, and no words of which the capitals are the initials."""
    before = context.text.text[max(0, context.start - LONGEST_NAME) : context.start - 1].rstrip()
    if any(legal.end() == len(before) for legal in LEGAL.finditer(before)):
        return True
    found = NAME_WORD.findall(before)
    if not found or not found[-1][0].isupper() or context.own in words.ACRONYMS:
        return False
    initials = "".join(word[0].lower() for word in found)
    return not initials.endswith(context.own) and words_in(list(context.sentence_words), words.FINANCE)

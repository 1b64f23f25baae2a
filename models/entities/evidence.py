"""Whether a name that is a word too stands for its entity: what is beside it, and in its sentence.

Each sign counts some points; a name with ENOUGH of them is a link.  Points of a company in English: its legal
form, a noun or verb that goes with companies ("Visa shares", "Target raises"), a noun in front ("shares of
Gap"), a capital inside running text, finance in the same sentence, other companies beside it.  In a headline
in Title Case and in capital letters, capitals say nothing.  Against it: lower case, a first name in front, a
longer name around it.  Other kinds have words of their own.

Everything looks at a bounded number of characters around the name, so that the time grows with the text.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import NamedTuple

from models.entities import evidence_words as words
from models.entities.entity import EntityKind
from models.entities.forms import HAN, ReadText, fold
from models.entities.lexicon import Claim, Match, Need

ENOUGH = 2
# Characters that are looked at on each side: of a sentence, and of a line for how it is capitalised.
REACH, LINE_REACH = 100, 160
REACH_ZH = 40
LONGEST_WORD = 30
LONGEST_PERSON = 3
SENTENCE_END = re.compile(r"[!?。！？；;\n]|\.(?=\s)")
# Behind one of these a dot ends no sentence.
ABBREVIATIONS = ("Inc", "Corp", "Ltd", "Co", " vs", "Mr", "Ms", "Mrs", "Dr", "St", "U.S", "U.K")
SENTENCE_START = re.compile("(?:^|[.!?:;|\n\"'“‘«(\\[•*>~。！？：；（【-]) *$")
WORD = re.compile(r"[a-z0-9$%&+'.]*[a-z0-9%]|%")
LATIN_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*")
CAPITALISED_NEXT = re.compile(" [A-Z][a-z]")
# A word of a name in small letters, but for those that names have so.
LOWER_WORD = re.compile(" (?!and|of|the|in|for|de|du|la|le|et|by|on|to|van|von|und|der|com|y|e)[a-z]{2,}")
# A capital letter outside cashtags and hashtags.
CAPITAL = re.compile("(?<![A-Za-z$#])[A-Z]")
# Between the members of a list.
BETWEEN = re.compile(r" ?(?:,|/|&|、|，|;|\||and|or|vs\.?|与|和|及|以及| )(?: and| &| or)? ?")
LONGEST_BETWEEN = 8
CONTRACTION = re.compile("'(?:t|re|ve|ll|d|m)(?![a-z])")
TRADED_ON = re.compile("(?:^| )(?:on|at|to|from)(?: the)? $")
LISTED_ON = re.compile("(?:list|trad|debut|ipo|float|start|begin|began|shares)[a-z]*(?: [a-z]+)? (?:on|at|to|from)(?: the)? $")
POSSESSIVE = re.compile("'s? ?")
# The rest of a longer name of a company or an institution.
LONGER_NAME = re.compile(
    r"(?: (?:[A-Z][A-Za-z'’-]+|&|of|and)){0,3} (?:Inc|Corp|Ltd|LLC|plc|PLC|LP|Trust|Fund|REIT|Limited|"
    r"Foundation|University|Hospital|Institute|College|School|Museum|Stadium|Arena|Center|Centre|Airport|"
    r"County|City|Street|Avenue|Island|River|Lake|Beach|Park|Church)\b"
)
AMOUNT = re.compile(
    r"(?:[0-9]|million|billion|trillion|bn|mn|hundred|thousand|crore|lakh|[$])s? ?"
    r"(?:of )?(?:u\.?s\.?|american|canadian|australian|hong kong|singapore|taiwan)? ?$"
)
AMOUNT_ZH = re.compile("(?:[0-9一二三四五六七八九十百千万亿多余几数兆角元块]|每|/) ?$")
AFTER_AMOUNT_ZH = re.compile(
    "(?: ?[0-9]|计价|债|贷款|存款|资产|基金|现金|/(?:盎司|桶|吨|股|磅|克|公斤|千克))"
)


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


def _is_abbreviation(text: str, dot: int) -> bool:
    """Whether a dot belongs to an abbreviation or an initial: Apple Inc. said, J. Ford."""
    if text[dot] != ".":
        return False
    return text[max(0, dot - 4) : dot].endswith(ABBREVIATIONS) or (
        text[dot - 1 : dot].isupper() and not text[max(0, dot - 2) : dot - 1].isalpha()
    )


def is_excluded(context: Context, match: Match, claim: Claim) -> bool:
    """Whether the name does not stand for the entity here, with whatever evidence."""
    if context.is_chinese:
        if claim.kind is EntityKind.COMPANY:
            return _is_person_zh(context)
        return _is_amount(context) if claim.kind is EntityKind.CURRENCY else _is_foreign(context, claim)
    if match.has_legal:
        return False
    if _is_contraction(context) or _is_place(context, claim):
        return True
    if claim.kind is EntityKind.CURRENCY and _is_amount(context):
        return True
    if claim.kind in (EntityKind.COMMODITY, EntityKind.INDEX) and _is_other_thing(context, claim):
        return True
    if " " in context.text.text[context.start : context.end]:
        return False
    return _is_person(context) or (claim.kind is EntityKind.COMPANY and _is_longer_name(context))


def is_doubtful(context: Context, match: Match, claim: Claim) -> bool:
    """Whether a name that is no word by itself needs evidence here.

    Names of currencies mostly count money.  In lower case the words of a long name are just words: best buy.
    """
    if claim.kind is EntityKind.CURRENCY:
        return True
    written = context.text.text[match.start : match.core_end]
    is_phrase = claim.has_capitals and " " in written and written.islower()
    return (
        is_phrase and claim.kind is EntityKind.COMPANY and context.shape not in (Shape.LOWER, Shape.CHINESE)
    )


def may_repeat(context: Context, claim: Claim) -> bool:
    """Whether the name may stand for an entity that the text names elsewhere."""
    is_word = claim.has_capitals and context.is_lower and context.shape is not Shape.LOWER
    return not is_word or _has_sign(context)


def _is_other_thing(context: Context, claim: Claim) -> bool:
    """Whether it is another oil than crude oil, or the rating agency S&P."""
    if claim.kind is EntityKind.INDEX:
        own = context.text.folded[context.start : context.end]
        return own == "s&p" and words.RATING.match(context.after) is not None
    return words_in(context.words_before[-1:], words.OTHER_OILS)


def _is_contraction(context: Context) -> bool:
    """Whether the name is the beginning of a word such as won't."""
    end = context.end
    return context.text.folded[end : end + 1] == "'" and CONTRACTION.match(context.text.folded, end) is not None


def _is_place(context: Context, claim: Claim) -> bool:
    """Whether the name of an exchange says where shares are traded: on the NSE."""
    folded = context.text.folded
    if folded[context.start : context.end] not in words.EXCHANGE_NAMES:
        return False
    pattern = LISTED_ON if claim.kind is EntityKind.INDEX else TRADED_ON
    return pattern.search(folded[max(0, context.start - 30) : context.start]) is not None


def _is_person(context: Context) -> bool:
    """Whether a first name, a title or an initial stands before the name."""
    previous = context.previous_word
    if not previous[:1].isupper():
        return False
    folded = fold(previous)
    return (
        folded in words.TITLES or folded in words.FIRST_NAMES or (len(previous) == 2 and previous[1] == ".")
    )


def _is_person_zh(context: Context) -> bool:
    """Whether a title stands before a name that is as short as that of a person."""
    before = context.text.folded[max(0, context.start - 6) : context.start]
    return context.end - context.start <= LONGEST_PERSON and before.endswith(words.TITLES_ZH)


def _is_longer_name(context: Context) -> bool:
    """Whether the name begins a longer one, as in Ford Foundation."""
    return (
        context.next_is_capitalised
        and LONGER_NAME.match(context.text.text, context.end, context.end + REACH) is not None
    )


def _is_amount(context: Context) -> bool:
    """Whether a currency's name counts money: 5 million dollars, 100万美元."""
    before = context.text.folded[max(0, context.start - 30) : context.start]
    after = context.text.folded[context.end : context.end + 8]
    if context.is_chinese:
        return AMOUNT_ZH.search(before) is not None or AFTER_AMOUNT_ZH.match(after) is not None
    return AMOUNT.search(before) is not None


def _is_foreign(context: Context, claim: Claim) -> bool:
    """Whether 央行 or 证监会 is that of another country."""
    if claim.kind not in (EntityKind.CENTRAL_BANK, EntityKind.REGULATOR):
        return False
    before = context.text.folded[max(0, context.start - 12) : context.start].rstrip(" 、的")
    return before.endswith(words.FOREIGN)


def points(context: Context, match: Match, claim: Claim, mentions: Sequence[Mention]) -> int:
    """The points for a name as the name of an entity; `mentions` are certain, by their place."""
    if context.is_chinese:
        return _chinese_points(context, match, claim, mentions)
    if claim.kind is not EntityKind.COMPANY:
        return _other_points(context, claim)
    english = _company_points(context, match, claim, mentions)
    if english >= ENOUGH or context.shape is not Shape.CHINESE:
        return english
    return _chinese_points(context, match, claim, mentions)


def _company_points(context: Context, match: Match, claim: Claim, mentions: Sequence[Mention]) -> int:
    """The points for an English name of a company."""
    if match.has_legal:
        return ENOUGH
    shape = context.shape
    if claim.has_capitals and context.is_lower and shape is not Shape.LOWER and not _has_sign(context):
        is_word = claim.need is not Need.NOTHING
        return 0 if is_word else max(_beside(context, is_hard=False), 2 * _is_in_list(context, mentions))
    listed = 2 if _is_in_list(context, mentions) else 0
    own = context.text.folded[context.start : context.end]
    is_common = own in words.ACRONYMS if claim.is_acronym else own in words.NEVER_ALONE
    if is_common:
        return listed if not context.is_lower else 0
    if _is_in_compound(context):
        return 0
    if claim.is_acronym:
        is_hard = shape is Shape.CAPITALS or len(own) < 3
    else:
        is_hard = " " not in own and own not in words.BRANDS
    beside = _beside(context, is_hard)
    total = beside + listed
    if _is_acronym(context, claim) or _is_name_by_capital(context):
        total += 1
    if _has_sign(context):
        total += 1
    finance = len(words.FINANCE & context.sentence_words) + ("$" in context.before + context.after)
    total += min(finance, 1 if is_hard else 2)
    if not is_hard and _company_in_sentence(context, mentions):
        total += 1
    if shape is not Shape.RUNNING and words_in(context.words_before[-1:], words.DETERMINERS):
        total -= 2
    if (claim.is_acronym or (is_hard and shape is Shape.RUNNING)) and _continues_name(context):
        total -= 2
    if is_hard and not beside and not listed and (shape is not Shape.RUNNING or claim.is_acronym):
        return 0
    return total


def _is_in_compound(context: Context) -> bool:
    """Whether a hyphen makes the name a part of another word: post-Brexit, but not Apple-backed."""
    text = context.text.text
    before, after = text[max(0, context.start - 2) : context.start], text[context.end : context.end + 2]
    if before[-1:] == "-" and before[:1].isalnum():
        return True
    return after[:1] == "-" and after[1:].isalpha() and not words_in(context.words_after[:1], words.COMPOUNDS)


def _continues_name(context: Context) -> bool:
    """Whether another capital stands before the name, as in New York City."""
    previous = context.previous_word
    return previous[:1].isupper() and fold(previous) not in words.COMPANY_LEADS | words.DETERMINERS


def words_in(found: Sequence[str], wanted: frozenset[str]) -> bool:
    return not wanted.isdisjoint(found)


def _beside(context: Context, is_hard: bool) -> int:
    """Points for the words that touch the name."""
    after, before = context.words_after[:2], context.words_before[-3:]
    # Inside a headline most words around a word are no evidence: "Key Gap Support Says".
    is_weak = is_hard and context.shape is not Shape.RUNNING and not context.is_initial
    if is_weak:
        return int(_touches(context) and words_in(after[:1], words.CORE_NOUNS))
    total = 0
    if after and _touches(context):
        if after[0] in words.COMPANY_NOUNS or after[0] in words.COMPANY_VERBS:
            total += 2
        elif after[0] in words.PLAIN_VERBS or words_in(after[1:2], words.COMPANY_NOUNS):
            total += 1
    if before:
        if before[-1] in words.LINKING_WORDS and words_in(before[-3:-1], words.COMPANY_LEADS_OF):
            total += 2
        elif before[-1] in words.COMPANY_LEADS:
            total += 1 if context.shape is Shape.RUNNING and context.is_lower else 2
    return total


def _touches(context: Context) -> bool:
    """Whether a blank or a possessive separates the name from the next word."""
    return context.after[:1] in (" ", "'")


def _has_sign(context: Context) -> bool:
    return context.text.text[context.start - 1 : context.start] in ("#", "@", "$")


def _is_acronym(context: Context, claim: Claim) -> bool:
    """Whether the name is an acronym in capitals that is no common one, where other words are not in capitals."""
    written = context.text.folded[context.start : context.end]
    return claim.is_acronym and context.shape is not Shape.CAPITALS and written not in words.ACRONYMS


def _is_name_by_capital(context: Context) -> bool:
    """Whether the capital of the name makes it one: inside running text, and not beside other capitals."""
    if context.is_lower or context.shape not in (Shape.RUNNING, Shape.CHINESE):
        return False
    if context.shape is Shape.CHINESE:
        return True
    if context.is_initial:
        return False
    if _continues_name(context):
        return False
    return not context.next_is_capitalised or words_in(context.words_after[:1], words.COMPANY_NOUNS)


def _is_in_list(context: Context, mentions: Sequence[Mention]) -> bool:
    """Whether only a comma or "and" separates the name from a certain mention."""
    at = bisect_left(mentions, (context.start,))
    text = context.text.folded
    for neighbour in mentions[max(0, at - 1) : at + 1]:
        first, last = sorted(((neighbour.start, neighbour.end), (context.start, context.end)))
        between = text[first[1] : last[0]]
        if len(between) <= LONGEST_BETWEEN and BETWEEN.fullmatch(between) and between.strip():
            return True
    return False


def _company_in_sentence(context: Context, mentions: Sequence[Mention]) -> bool:
    at = bisect_left(mentions, (context.start,))
    return any(
        context.start - len(context.before) <= mention.start <= context.end + len(context.after)
        for mention in mentions[max(0, at - 1) : at + 1]
    )


OTHER_WORDS: Mapping[EntityKind, frozenset[str]] = {
    EntityKind.CRYPTO: words.CRYPTO_WORDS,
    EntityKind.COMMODITY: words.COMMODITY_WORDS,
    EntityKind.CURRENCY: words.CURRENCY_WORDS,
    EntityKind.INDEX: words.INDEX_WORDS,
    EntityKind.CENTRAL_BANK: words.POLICY_WORDS,
    EntityKind.REGULATOR: words.POLICY_WORDS,
}
OTHER_WORDS_ZH: Mapping[EntityKind, tuple[str, ...]] = {
    EntityKind.CRYPTO: words.CRYPTO_ZH,
    EntityKind.COMMODITY: words.COMMODITY_ZH,
    EntityKind.CURRENCY: words.CURRENCY_ZH,
    EntityKind.INDEX: words.INDEX_ZH,
    EntityKind.CENTRAL_BANK: words.POLICY_ZH,
    EntityKind.REGULATOR: words.POLICY_ZH,
}
LOWER_KINDS = (EntityKind.COMMODITY, EntityKind.CURRENCY)


def _other_points(context: Context, claim: Claim) -> int:
    """The points for an English name of what is no company."""
    if context.is_lower and claim.kind not in LOWER_KINDS and context.shape is not Shape.LOWER:
        return 0
    if words.NOT_OTHER.match(context.text.folded, context.end, context.end + 20):
        return 0
    own = context.text.folded[context.start : context.end]
    if claim.kind is EntityKind.CRYPTO:
        if _is_in_compound(context):
            return 0
        if own in words.NEVER_ALONE:
            return ENOUGH if words_in(context.words_after[:1], words.COIN_NOUNS) and not context.is_lower else 0
    found = words.STRICT.get(own, OTHER_WORDS[claim.kind]) & (context.sentence_words - {own})
    is_capital = claim.kind in (EntityKind.CENTRAL_BANK, EntityKind.REGULATOR) and _is_name_by_capital(
        context
    )
    return ENOUGH if found or is_capital else 0


def _chinese_points(context: Context, match: Match, claim: Claim, mentions: Sequence[Mention]) -> int:
    text, start, end = context.text.folded, context.start, context.end
    before, after = text[max(0, start - REACH_ZH) : start], text[end : end + REACH_ZH]
    if claim.kind is EntityKind.COMMODITY and end - start == 1:
        return ENOUGH if words.AFTER_METAL.match(after) and words.BEFORE_METAL.search(before) else 0
    if claim.kind is not EntityKind.COMPANY:
        return ENOUGH if _has_any(f"{before}\0{after}", OTHER_WORDS_ZH[claim.kind]) else 0
    if words.NOT_AFTER_ZH.match(after) or _has_any(before + after, words.AGAINST_ZH.get(text[start:end], ())):
        return 0
    if _is_in_list(context, mentions) or _is_heading(context, before, after):
        return ENOUGH
    if text[start:end] in words.HARD_ZH:
        return ENOUGH if after.startswith(words.HARD_AFTER_ZH) else 0
    if match.has_legal:
        return ENOUGH
    total = 2 if after.startswith(words.AFTER_ZH) else 0
    total += 2 if before.endswith(words.BEFORE_ZH) else 0
    near = f"{SENTENCE_END.split(before)[-1]}\0{SENTENCE_END.split(after)[0]}"
    total += sum(word in near for word in words.FINANCE_ZH)
    return total + _company_in_sentence(context, mentions)


def _has_any(text: str, wanted: Sequence[str]) -> bool:
    return any(word in text for word in wanted)


def _is_heading(context: Context, before: str, after: str) -> bool:
    """Whether the name stands alone before a colon, as above an announcement: `安徽建工：中标…`."""
    return after[:1] in (":", "：") and (not before or before[-1] in "\n。】》 ")

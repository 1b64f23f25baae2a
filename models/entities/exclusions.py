"""Names that do not stand for their entity here: amounts of money, people, longer names, places of trading.

No evidence helps them, unlike names that are merely words (`models.entities.evidence`).
"""

import re

from models.entities import evidence_words as words
from models.entities.context import REACH, Context, Shape, words_in
from models.entities.entity import EntityKind
from models.entities.forms import fold
from models.entities.lexicon import Claim, Match, Need

LONGEST_PERSON = 3
REACH_ZH = 30
# What stands before and behind the source of a text.
SOURCE_MARKS, CLOSING = frozenset("（：:"), frozenset("）")
CONTRACTION = re.compile("'(?:t|re|ve|ll|d|m)(?![a-z])")
TRADED_ON = re.compile("(?:^| )(?:on|at|to|from)(?: the)? $")
LISTED_ON = re.compile(
    "(?:list|trad|debut|ipo|float|start|begin|began|shares)[a-z]*(?: [a-z]+)? (?:on|at|to|from)(?: the)? $"
)
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
    "(?: ?[0-9]|计(?!划)|债|票据|现钞|区|贷款|存款|资产|基金|现金|/(?:盎司|桶|吨|股|磅|克|公斤|千克))"
)
# A name with one of these is a rate, and no amount of money.
RATE = re.compile("/|汇率|中间价|兑|人民币对|[a-z]{3}(?:usd|cny|cnh|jpy|eur)$|exchange rate|yuan fixing")
# A word of a name in small letters, but for those that names have so.
LOWER_WORD = re.compile(" (?!and|of|the|in|for|de|du|la|le|et|by|on|to|van|von|und|der|com|y|e)[a-z]{2,}")


def is_excluded(context: Context, match: Match, claim: Claim) -> bool:
    """Whether the name does not stand for the entity here, with whatever evidence."""
    if _is_source(context):
        return True
    if context.is_chinese:
        return _is_excluded_zh(context, claim)
    return not match.has_legal and _is_excluded_en(context, claim)


def _is_excluded_en(context: Context, claim: Claim) -> bool:
    if _is_contraction(context) or _is_place(context, claim) or _is_other_thing(context, claim):
        return True
    if " " in context.own:
        return False
    return _is_person(context) or (claim.kind is EntityKind.COMPANY and _is_longer_name(context))


def is_doubtful(context: Context, match: Match, claim: Claim) -> bool:
    """Whether a name that is no word by itself needs evidence here.

    Names of currencies mostly count money.  In lower case a name is just words, unless the writer uses no
    capitals: best buy.
    """
    if claim.kind is not EntityKind.COMPANY:
        is_coin = claim.kind is EntityKind.CRYPTO and claim.is_acronym and not context.is_chinese
        return is_coin or (claim.kind is EntityKind.CURRENCY and RATE.search(context.own) is None)
    if context.is_chinese:
        return context.own in words.HARD_ZH
    written = context.text.text[match.start : match.core_end]
    if context.own in (words.ACRONYMS if claim.is_acronym else words.NEVER_ALONE):
        return True
    if not claim.has_capitals or not (written.islower() or LOWER_WORD.search(written)):
        return False
    return context.shape not in (Shape.LOWER, Shape.CHINESE)


def may_repeat(context: Context, claim: Claim) -> bool:
    """Whether the name may stand for an entity that the text names elsewhere.

    Who writes $AMZN may write amazon, but apple only as in "apple will".
    """
    if not claim.has_capitals or not context.is_lower or context.shape is Shape.LOWER or context.has_sign:
        return True
    if " " in context.own:
        return False
    if claim.need is Need.NOTHING:
        return True
    is_subject = words_in(context.words_after[:1], words.SUBJECT_OF)
    return (
        context.own in words.BRANDS
        and is_subject
        and not words_in(context.words_before[-1:], words.DETERMINERS)
    )


def _is_excluded_zh(context: Context, claim: Claim) -> bool:
    if claim.kind is EntityKind.COMPANY:
        return _is_person_zh(context)
    if claim.kind is EntityKind.COMMODITY:
        return _is_sector(context)
    return _is_amount(context) if claim.kind is EntityKind.CURRENCY else _is_foreign(context, claim)


def _is_source(context: Context) -> bool:
    """Whether the name ends the text as the source of the news: `（央行）`, `- Nikkei`."""
    text = context.text.text
    if (
        text[context.start - 1 : context.start] in SOURCE_MARKS
        and text[context.end : context.end + 1] in CLOSING
    ):
        rest = text[context.end + 1 : context.end + 4]
        return not rest.strip() or rest[0] == "\n"
    if context.own not in words.MEDIA:
        return False
    return text[context.start - 2 : context.start] in ("- ", "– ", "— ", "| ") and not context.after.strip(
        " ."
    )


def _is_sector(context: Context) -> bool:
    """Whether the name of a commodity is one of its companies' shares: 煤炭、钢铁等板块."""
    after = context.text.folded[context.end : context.end + REACH_ZH]
    sector = words.SECTOR.match(after)
    return sector is not None and words.CONTRACT.search(sector[0]) is None


def _is_other_thing(context: Context, claim: Claim) -> bool:
    """Whether it is an amount of money, another oil than crude oil, or the rating agency S&P."""
    if claim.kind is EntityKind.CURRENCY:
        return _is_amount(context)
    if claim.kind is EntityKind.INDEX:
        return context.own == "s&p" and words.RATING.match(context.after) is not None
    return claim.kind is EntityKind.COMMODITY and words_in(context.words_before[-1:], words.OTHER_OILS)


def _is_contraction(context: Context) -> bool:
    """Whether the name is the beginning of a word such as won't."""
    end = context.end
    return (
        context.text.folded[end : end + 1] == "'" and CONTRACTION.match(context.text.folded, end) is not None
    )


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
    """Whether a title stands beside a name that is as short as that of a person."""
    before = context.text.folded[max(0, context.start - 6) : context.start]
    after = context.text.folded[context.end : context.end + 3]
    is_short = context.end - context.start <= LONGEST_PERSON
    return is_short and (before.endswith(words.TITLES_ZH) or after.startswith(words.TITLES_AFTER_ZH))


def _is_longer_name(context: Context) -> bool:
    """Whether the name begins a longer one, as in Ford Foundation and Lindsay Lohan."""
    if context.own in words.FIRST_NAMES and context.next_is_capitalised:
        return not words_in(context.words_after[:1], words.COMPANY_NOUNS | words.COMPANY_VERBS)
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

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

from models.entities import evidence_words as words
from models.entities.context import SENTENCE_END, Context, Mention, Shape, words_in
from models.entities.entity import EntityKind
from models.entities.forms import fold
from models.entities.lexicon import Claim, Match, Need

ENOUGH = 2
REACH_ZH = 40
SHORTEST_ACRONYM = 3
# Between the members of a list.
BETWEEN = re.compile(r" ?(?:,|/|&|、|，|;|\||and|or|vs\.?|与|和|及|以及| )(?: and| &| or)? ?")
LONGEST_BETWEEN = 8
BEHIND_TICKER = re.compile(r"\$[a-z][a-z.]{0,6} ?(?: |:) ?$")


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
    listed = 2 if _is_in_list(context, mentions) else 0
    if claim.has_capitals and context.is_lower and context.shape is not Shape.LOWER and not context.has_sign:
        return 0 if claim.need is not Need.NOTHING else max(_beside(context, is_hard=False), listed)
    own = context.own
    if own in (words.ACRONYMS if claim.is_acronym else words.NEVER_ALONE):
        return listed if not context.is_lower else 0
    if _is_in_compound(context) or _is_name_of_ticker(context):
        return 0
    is_hard = _is_hard(context, claim)
    beside = _beside(context, is_hard)
    if is_hard and not beside + listed and (context.shape is not Shape.RUNNING or claim.is_acronym):
        return 0
    capital = _is_acronym(context, claim) or _is_name_by_capital(context)
    return beside + listed + capital + context.has_sign + _around(context, claim, mentions, is_hard)


def _is_hard(context: Context, claim: Claim) -> bool:
    """Whether finance in its sentence makes no company of the name: a word, and no well-known brand."""
    if claim.is_acronym:
        return context.shape is Shape.CAPITALS or len(context.own) < SHORTEST_ACRONYM
    return " " not in context.own and context.own not in words.BRANDS


def _around(context: Context, claim: Claim, mentions: Sequence[Mention], is_hard: bool) -> int:
    """Points for finance and companies in the sentence; fewer where the name is a part of something else."""
    finance = len(words.FINANCE & context.sentence_words) + ("$" in context.before + context.after)
    total = min(finance, 1 if is_hard else 2)
    if not is_hard and context.after.startswith("'s ") and not context.is_lower:
        total += 1
    if not is_hard and _company_in_sentence(context, mentions):
        total += 1
    if context.shape is not Shape.RUNNING and words_in(context.words_before[-1:], words.DETERMINERS):
        total -= 2
    is_part = claim.is_acronym or (is_hard and context.shape is Shape.RUNNING)
    return total - 2 if is_part and _continues_name(context) else total


def _is_name_of_ticker(context: Context) -> bool:
    """Whether the name begins that of another ticker: `$MMAT - Meta Materials`."""
    if not context.next_is_capitalised or BEHIND_TICKER.search(context.before) is None:
        return False
    return not words_in(
        context.words_after[:1], words.COMPANY_NOUNS | words.COMPANY_VERBS | words.PLAIN_VERBS
    )


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


def _beside(context: Context, is_hard: bool) -> int:
    """Points for the words that touch the name."""
    after, before = context.words_after[:2], context.words_before[-3:]
    # Inside a headline most words around a word are no evidence: "Key Gap Support Says".
    is_weak = is_hard and context.shape is not Shape.RUNNING and not context.is_initial
    if is_weak:
        is_lead = _touches_before(context) and (
            words_in(before[-1:], words.CORE_LEADS) or before[-2:] in (["shares", "of"], ["stock", "of"])
        )
        return 2 * is_lead + (_touches(context) and words_in(after[:1], words.CORE_NOUNS))
    total = 0
    if after and _touches(context):
        is_plan = after[0] == "to" and words_in(after[1:], words.INFINITIVES)
        if is_plan or after[0] in words.COMPANY_NOUNS or after[0] in words.COMPANY_VERBS:
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


def _touches_before(context: Context) -> bool:
    return context.text.folded[context.start - 1 : context.start] == " "


def _is_acronym(context: Context, claim: Claim) -> bool:
    """Whether the name is an acronym in capitals that is no common one, and the line is not in capitals."""
    written = context.own
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
    if claim.kind is EntityKind.CRYPTO and (_is_in_compound(context) or context.own in words.NEVER_ALONE):
        is_coin = words_in(context.words_after[:1], words.COIN_NOUNS)
        return ENOUGH if is_coin and not context.is_lower and not _is_in_compound(context) else 0
    wanted = words.STRICT.get(context.own, OTHER_WORDS[claim.kind])
    if wanted & (context.sentence_words - {context.own}):
        return ENOUGH
    is_authority = claim.kind in (EntityKind.CENTRAL_BANK, EntityKind.REGULATOR)
    return ENOUGH if is_authority and _is_name_by_capital(context) else 0


def _chinese_points(context: Context, match: Match, claim: Claim, mentions: Sequence[Mention]) -> int:
    text, start, end = context.text.folded, context.start, context.end
    before, after = text[max(0, start - REACH_ZH) : start], text[end : end + REACH_ZH]
    if claim.kind is EntityKind.COMMODITY and end - start == 1:
        return ENOUGH if words.AFTER_METAL.match(after) and words.BEFORE_METAL.search(before) else 0
    if claim.kind is not EntityKind.COMPANY:
        return ENOUGH if _has_any(f"{before}\0{after}", OTHER_WORDS_ZH[claim.kind]) else 0
    if words.NOT_AFTER_ZH.match(after) or _has_any(before + after, words.AGAINST_ZH.get(context.own, ())):
        return 0
    if _is_in_list(context, mentions) or _is_heading(after, before):
        return ENOUGH
    if context.own in words.HARD_ZH:
        return ENOUGH if after.startswith(words.HARD_AFTER_ZH) else 0
    return _soft_points_zh(after, before) + 2 * match.has_legal + _company_in_sentence(context, mentions)


def _soft_points_zh(after: str, before: str) -> int:
    """Points for the words beside a Chinese name of a company, and for finance in its sentence."""
    near = f"{SENTENCE_END.split(before)[-1]}\0{SENTENCE_END.split(after)[0]}"
    beside = after.startswith(words.AFTER_ZH) + before.endswith(words.BEFORE_ZH)
    is_listed = after.startswith("、") or before.endswith("、")
    return 2 * beside + is_listed + sum(word in near for word in words.FINANCE_ZH)


def _has_any(text: str, wanted: Sequence[str]) -> bool:
    return any(word in text for word in wanted)


def _is_heading(after: str, before: str) -> bool:
    """Whether the name stands alone before a colon, as above an announcement: `安徽建工：中标…`."""
    return after[:1] in (":", "：") and (not before or before[-1] in "\n。】》 ")

"""Which entities a text names, and where.

text                clean, without boilerplate, folded            forms.read
  │
tickers             $AAPL, (NASDAQ: X), 600519.SH                 tickers.find
names               on word boundaries                            Lexicon.find
symbols             those that the message carries                TickerBook.symbol
  │
the longest of overlapping names; nothing inside an address
  │
certain mentions    tickers, and names that are no words
doubtful ones       names that are words, and bare capitals: with evidence near by    evidence.points
  │
links               spans in the text as it was sent
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

from models.entities import bare_tickers, evidence, exclusions, tickers
from models.entities.context import Context, Mention
from models.entities.entity import EntityKind
from models.entities.evidence import ENOUGH
from models.entities.forms import ReadText, normal_legal, read
from models.entities.gazetteer import FIRST_EXCHANGES, LAST_EXCHANGE, Gazetteer
from models.entities.lexicon import Claim, Lexicon, Match, Need
from models.entities.tickers import TickerBook, TickerMention
from stream.domain.documents import TextInput
from stream.domain.text.cleaning import CleanText, clean

# Parts of a text in which no name is looked for.  Each begins where no word goes on, and is bounded in front.
ADDRESS = re.compile(
    r"(?:(?:https?|ftp)://|(?<![\w.])www\.)[!-~]+"
    r"|(?<![A-Za-z0-9-])[A-Za-z0-9-]{1,63}\.[a-z]{2,6}/[!-~]*"
    r"|(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}\.[A-Za-z0-9.-]+"
)
# Who passed a text on is not what it is about.
PASSED_ON = re.compile(r"\b(?:RT|via|by|from|cc)\s{0,3}:?\s{0,3}@\w{1,50}", re.IGNORECASE)

# Buttons that pass a text on, and where its publisher is found: at their names no company is meant.
BUTTONS = re.compile(
    r"(?:(?<![Pp]er\s)\b(?:Share|SHARE|Tweet|Post|Pin|Print|E-?mail|Follow|FOLLOW)(?:\s(?:this|it|article|story)){0,2}"
    r"\s(?:on|via)|\b(?:[Ff]ollow|[Jj]oin|[Ff]ind|[Ll]ike)\sus\s(?:on|at|via))"
    r"\s[A-Z][A-Za-z]{1,20}(?:\s?(?:[|/,·•]|,?\s(?:and|or)\b)\s?[A-Z][A-Za-z]{1,20}){0,8}"
    r"|(?:分享到|转发到|关注我们的?)[:： ]?"
    r"(?:(?:新浪微博|微博|微信|朋友圈|QQ空间|QQ|抖音|推特|豆瓣|知乎|领英|脸书)[、,|/ ]?){1,8}"
)
# Doubtful names of a text for which evidence is looked for: the first ones.  Others count only where the
# entity is named before, so that a giant text of nothing but names takes no second.
MOST_WEIGHED = 500


class Link(NamedTuple):
    """An entity and where the text names it: half-open ranges of code points of the text as it was sent.

    They are in order and do not overlap.  There are none if only the message's `symbols` name the entity.
    """

    entity: str
    spans: tuple[tuple[int, int], ...]


class Doubt(NamedTuple):
    """A name that may stand for one of several entities, or for none."""

    match: Match
    context: Context
    claims: tuple[Claim, ...]


class Linker:
    """Links texts to the entities of a gazetteer.  Any thread may call `link`.

    What it needs is built once, by the first call of `load` or `link`.
    """

    def __init__(self, gazetteer: Gazetteer) -> None:
        self.gazetteer = gazetteer
        self._lock = Lock()
        self._loaded: tuple[Lexicon, TickerBook] | None = None

    def load(self) -> tuple[Lexicon, TickerBook]:
        """Build the automaton of all names and the index of all tickers, if that was not done before."""
        with self._lock:
            if self._loaded is None:
                self._loaded = Lexicon(self.gazetteer), TickerBook(self.gazetteer)
            return self._loaded

    def link(self, item: TextInput, cleaned: CleanText | None = None) -> tuple[Link, ...]:
        """The entities of a text, by their first place; those that only `symbols` name come last.

        `cleaned` is the clean form of the text, if the caller has it.  Equal texts get equal links.
        """
        lexicon, book = self._loaded or self.load()
        text = read(cleaned or clean(item.text))
        marked = tickers.find(text.text, book)
        matches = _longest(text, lexicon.find(text), marked, item.title_length)
        mentions, doubts = _sort(text, matches)
        if marked or item.symbols:
            is_crypto = book.is_crypto(text.folded, mentions, marked)
            mentions += _ticker_mentions(marked, is_crypto)
            symbols = tuple(dict.fromkeys(book.symbols(item.symbols, is_crypto)))
        else:
            symbols = ()
        mentions = _settled(text, doubts, sorted(mentions), {*symbols})
        mentions += bare_tickers.find(text, book, mentions, symbols)
        if self.gazetteer.forbidden:
            mentions = [mention for mention in mentions if not self._is_forbidden(text, mention)]
        return _links(text, mentions, symbols)

    def _is_forbidden(self, text: ReadText, mention: Mention) -> bool:
        return self.gazetteer.forbids(text.folded[mention.start : mention.end], mention.entity)


def _ticker_mentions(marked: Iterable[TickerMention], is_crypto: bool) -> Iterator[Mention]:
    for ticker in marked:
        if entity := ticker.means(is_crypto):
            yield Mention(ticker.start, ticker.end, entity)


def _longest(
    text: ReadText, matches: Sequence[Match], marked: Sequence[TickerMention], title_length: int
) -> list[Match]:
    """The names that count, of those that overlap the longest, by their place.

    Of two that are equally long the later counts: 中国平安银行 is a bank.
    """
    regions = [(ticker.outer_start, ticker.outer_end) for ticker in marked]
    regions += addresses(text.text)
    if title_length and title_length < len(text.clean.sent):
        end_of_title = text.clean.clean_span(title_length, title_length + 1)[0]
        matches = [match for match in matches if not match.start < end_of_title < match.end]
    if not regions and all(first.end <= second.start for first, second in pairwise(matches)):
        return [match for match in matches if match.claims]
    taken = bytearray(len(text.text))
    for start, end in regions:
        taken[start:end] = b"\1" * (end - start)
    kept = []
    for match in sorted(matches, key=_first):
        if taken.find(1, match.start, match.end) < 0:
            taken[match.start : match.end] = b"\1" * (match.end - match.start)
            if match.claims:
                kept.append(match)
    return sorted(kept)


def _first(match: Match) -> tuple[int, int, bool, int]:
    """Longer names first; of equal ones, names before phrases that are none, and the later one first."""
    return match.start - match.end, match.start - match.core_end, not match.claims, -match.start


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """The parts of a text in which no name is looked for: addresses, and who passed the text on."""
    if "@" in text or "/" in text or "www." in text:
        for match in ADDRESS.finditer(text):
            yield match.span()
        if "@" in text:
            for match in PASSED_ON.finditer(text):
                yield match.span()
    for match in BUTTONS.finditer(text):
        yield match.span()


def _sort(text: ReadText, matches: Iterable[Match]) -> tuple[list[Mention], list[Doubt]]:
    """The mentions that need no evidence, and the names that do."""
    certain, doubts = [], []
    for match in matches:
        context = Context(text, match.start, match.end)
        claims = [claim for claim in match.claims if not exclusions.is_excluded(context, match, claim)]
        if match.has_legal:
            claims = _with_legal(text, match, claims)
        best = [claim for claim in claims if claim.need is Need.NOTHING] or (
            claims if match.has_legal else []
        )
        if len(best) == 1 and not exclusions.is_doubtful(context, match, best[0]):
            certain.append(Mention(match.start, match.end, best[0].entity))
        elif claims:
            doubts.append(Doubt(match, context, tuple(claims)))
    return certain, doubts


def _with_legal(text: ReadText, match: Match, claims: list[Claim]) -> list[Claim]:
    """The companies that have the legal form behind the name; all if none has."""
    legal = normal_legal(text.text[match.core_end : match.end])
    companies = [claim for claim in claims if claim.kind is EntityKind.COMPANY] or claims
    exact = [claim for claim in companies if legal in claim.legals]
    return [claim._replace(need=Need.NOTHING) for claim in exact] or companies


def _settled(
    text: ReadText, doubts: Sequence[Doubt], certain: list[Mention], symbols: set[str]
) -> list[Mention]:
    """The certain mentions, and of the doubtful ones those with evidence, by their place.

    What the first pass finds is evidence in the second: in a list of companies, or for the same name.
    """
    for _ in range(2):
        if not doubts:
            break
        named = {mention.entity for mention in certain} | symbols
        answers = [
            (doubt, _entity(doubt, certain, named, is_weighed=number < MOST_WEIGHED))
            for number, doubt in enumerate(doubts)
        ]
        found = [Mention(doubt.match.start, doubt.match.end, entity) for doubt, entity in answers if entity]
        if not found:
            break
        certain = sorted(certain + found)
        doubts = [doubt for doubt, entity in answers if entity is None]
    return certain


def _entity(doubt: Doubt, certain: Sequence[Mention], named: set[str], *, is_weighed: bool) -> str | None:
    """The entity that a doubtful name stands for: named elsewhere in the text, or with most evidence."""
    context, claims = doubt.context, doubt.claims
    again = [claim for claim in claims if claim.entity in named and exclusions.may_repeat(context, claim)]
    if len(again) == 1:
        return again[0].entity
    if not is_weighed:
        return None
    ranked = sorted(
        (-evidence.points(context, doubt.match, claim, certain), _rank(claim.entity), claim.entity)
        for claim in again or claims
    )
    is_clear = len(ranked) == 1 or ranked[0][:2] < ranked[1][:2]
    return ranked[0][2] if is_clear and -ranked[0][0] >= ENOUGH else None


def _rank(entity: str) -> int:
    """Of companies with one name the one that is listed in the United States comes first."""
    exchange = entity.partition(":")[0]
    return 0 if exchange in FIRST_EXCHANGES else 2 if exchange == LAST_EXCHANGE else 1


def _links(text: ReadText, mentions: Iterable[Mention], symbols: Sequence[str]) -> tuple[Link, ...]:
    """The mentions by entity, at their places in the text as it was sent."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for start, end, entity in sorted(mentions):
        spans.setdefault(entity, []).append(text.clean.sent_span(start, end))
    for entity in symbols:
        spans.setdefault(entity, [])
    return tuple(Link(entity, tuple(places)) for entity, places in spans.items())

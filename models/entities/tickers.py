"""Tickers in texts and in the `symbols` of messages: $AAPL, (NASDAQ: X), AAPL.O, 600519.SH, SH600519, BRK/B.

`find` returns the tickers of a text that need no evidence, since a sign or an exchange stands beside them.
Every search begins at a character that few texts have, and looks at a bounded number of characters there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from models.entities.context import Mention
from models.entities.entity import EntityKind
from models.entities.exchanges import CHINESE, EXCHANGES, SUFFIXES, UNITED_STATES, bloomberg
from models.entities.gazetteer import Gazetteer, normal_ticker

CASHTAG = re.compile(
    r"(?<![A-Za-z0-9$])\$(?:([A-Z]{1,6}|[a-z]{1,6})(?:([._/-])([A-Za-z]{1,2}))?(?![A-Za-z0-9])"
    r"|([0-9]{4,6})\.([A-Z]{1,2})(?![A-Za-z0-9]))"
)
# What follows the colon behind an exchange, and the exchange before it.
AFTER_COLON = re.compile(
    r"[:：] ?\$?([A-Z0-9][A-Z0-9]{0,9}(?:[.\-/][A-Z]{1,2})?|(?<=代码.)[a-z]{1,5})(?![A-Za-z0-9])"
)
BEFORE_COLON = re.compile(
    rf"(?<![A-Za-z])({'|'.join(sorted(EXCHANGES, key=len, reverse=True))})(?:(?:证券|股票|上市)?代码)?$"
)
CODE_LABEL = re.compile("(?:代码|代號|代号|stock code|ticker|symbol)$")
LONGEST_EXCHANGE = 24
NEXT_IN_LIST = re.compile(r" ?(?:[,;/&、，]|and|or) ?\$?([A-Z]{1,5}(?:[.\-/][A-Z])?)(?=[ ,;/)&、，）])")
AFTER_DOT = re.compile(rf"\.({'|'.join(sorted(SUFFIXES, key=len, reverse=True))})(?![A-Za-z0-9])")
BEFORE_DOT = re.compile(r"(?<![A-Za-z0-9.$&'’-])[A-Z0-9]{1,10}(?:-[A-Z])?$")
LONGEST_CODE = 13
NUMBER = re.compile(r"(?<![0-9.,])([0-9]{4,6})(?![0-9])")
BEFORE_NUMBER = re.compile(r"(?<![A-Za-z0-9])(SH|SZ|BJ|HK|sh|sz|bj|hk)[.:]?$")
# `(700 HK)`, `(AAPL US Equity)`.
BLOOMBERG = re.compile(r"[(（]([A-Z0-9]{1,6}(?:/[A-Z])?) ([A-Z]{2})(?: Equity)?[)）]")
OPENING, CLOSING = "(（[【<《〈", ")）]】>》〉"
HAN = re.compile("[\u3400-\u9fff]")
DIGITS_OF_CHINA, DIGITS_OF_HONG_KONG = 6, 5
CRYPTO = re.compile(
    r"\b(?:crypto\w{0,16}|altcoins?|stablecoins?|blockchain|defi|nfts?|tokens?|hodl)\b|加密|代币|区块链|虚拟货币|数字货币"
)
# What stands around the ticker in a symbol.
SYMBOL_NOISE = re.compile(r"[$#\s]+")
QUOTE_CURRENCIES = ("USDT", "USDC", "BUSD", "USD", "EUR", "KRW", "PERP")
REUTERS_INDEX = {".SPX": "^GSPC", ".INX": "^GSPC", ".DJI": "^DJI", ".IXIC": "^IXIC", ".HSI": "^HSI"}


class TickerMention(NamedTuple):
    """A ticker from `start` to `end`; from `outer_start` to `outer_end` with its exchange.

    `entity` is None if nobody knows the ticker.  `coin` is the coin that has the same symbol as the listing,
    if there is one.
    """

    start: int
    end: int
    entity: str | None
    outer_start: int
    outer_end: int
    coin: str | None = None

    def means(self, is_crypto: bool) -> str | None:
        """The entity in a text that is about coins, or not."""
        return self.coin if self.coin and is_crypto else self.entity


class TickerBook:
    """Which entity a ticker means.  Immutable."""

    def __init__(self, gazetteer: Gazetteer) -> None:
        self._by_ticker = gazetteer.by_ticker
        self._ids = gazetteer.entities
        self._resolve = gazetteer.resolve
        self.coins: Mapping[str, str] = {
            entity.id.partition(":")[2]: entity.id
            for entity in gazetteer.entities.values()
            if entity.kind is EntityKind.CRYPTO
        }
        self._coin_ids = frozenset(self.coins.values())

    def symbols(self, symbols: Iterable[str], is_crypto: bool) -> Iterator[str]:
        """The ids that the symbols of a message mean."""
        for symbol in symbols:
            found = self.symbol(symbol)
            coin = self.coins.get(symbol.strip(" $#").upper()) if is_crypto else None
            if coin or found:
                yield coin or found or ""

    def is_crypto(self, folded: str, mentions: Iterable[Mention], marked: Iterable[TickerMention]) -> bool:
        """Whether a text is about coins: it names one, or speaks of them."""
        coins = self._coin_ids
        if any(mention.entity in coins for mention in mentions):
            return True
        if any(ticker.entity in coins for ticker in marked):
            return True
        return CRYPTO.search(folded) is not None

    def bare(self, ticker: str) -> str | None:
        """The id that a ticker without an exchange means."""
        ticker = normal_ticker(ticker)
        return self._by_ticker.get(ticker) or self.coins.get(ticker)

    def listed(self, mics: tuple[str, ...], ticker: str) -> str | None:
        """The id that a ticker means on the first of these exchanges that has it."""
        for mic in mics:
            found = self._by_ticker.get(normal_ticker(f"{mic}:{ticker}"))
            if found:
                return found
        return None

    def chinese(self, code: str) -> str | None:
        """The id of a code of six digits (mainland) or five (Hong Kong)."""
        if len(code) == DIGITS_OF_CHINA:
            return self.listed(CHINESE, code)
        return self.listed(("XHKG",), code) if len(code) == DIGITS_OF_HONG_KONG else None

    def symbol(self, symbol: str) -> str | None:
        """The id that a symbol of a message means; None if it is not known."""
        if found := self._resolve(symbol):
            return found
        bare = SYMBOL_NOISE.sub(" ", symbol).strip().upper()
        return (
            self._resolve(bare)
            or self._with_exchange(bare)
            or self._chinese_symbol(bare)
            or self._by_ticker.get(REUTERS_INDEX.get(bare, ""))
            or self._by_ticker.get(normal_ticker(bare.replace(" ", "-")))
            or self.coins.get(bare)
            or self._pair(bare)
        )

    def _with_exchange(self, symbol: str) -> str | None:
        left, colon, right = symbol.partition(":")
        if colon:
            for exchange, ticker in ((left, right), (right, left)):
                mics = EXCHANGES.get(exchange.lower(), ()) or (exchange,)
                if found := self.listed(mics, ticker.strip()):
                    return found
            return self._pair(right) if left in ("X", "CRYPTO", "BINANCE", "COINBASE") else None
        ticker, dot, suffix = symbol.rpartition(".")
        if dot and suffix in SUFFIXES and (found := self.listed(SUFFIXES[suffix], ticker)):
            return found
        words = symbol.removesuffix(" EQUITY").split()
        if len(words) == 2 and (mics := bloomberg(words[1])):
            return self.listed(mics, words[0])
        return None

    def _chinese_symbol(self, symbol: str) -> str | None:
        if symbol.isdigit():
            return self.chinese(symbol)
        prefix, code = symbol[:2], symbol[2:].lstrip(".")
        return self.listed(SUFFIXES[prefix], code) if code.isdigit() and prefix in SUFFIXES else None

    def _pair(self, symbol: str) -> str | None:
        """The coin of `BTC-USD`, `BTC/USDT`, `BTCUSD` and `BTC.X`."""
        if symbol.endswith(".X"):
            return self.coins.get(symbol[:-2])
        for quote in QUOTE_CURRENCIES:
            if symbol.endswith(quote) and len(symbol) > len(quote):
                return self.coins.get(symbol[: -len(quote)].rstrip("-/_"))
        return None


def find(text: str, book: TickerBook) -> list[TickerMention]:
    """All tickers of a clean text that are marked as such, in no order; they may be found twice."""
    found: list[TickerMention] = []
    if "$" in text:
        found += _cashtags(text, book)
    if ":" in text or "：" in text:
        found += _with_exchange(text, book)
    if "." in text:
        found += _with_suffix(text, book)
    if NUMBER.search(text) is not None:
        found += _numbers(text, book)
    if "(" in text or "（" in text:
        found += _bloomberg(text, book)
    return found


def _cashtags(text: str, book: TickerBook) -> Iterator[TickerMention]:
    for match in CASHTAG.finditer(text):
        entity, coin, end = _cashtag(match, book)
        # A cashtag that nobody has is no name: $CBI is no regulator.
        if entity or (match[1] or "").isupper():
            yield TickerMention(match.start(), end, entity, match.start(), end, coin)


def _cashtag(match: re.Match[str], book: TickerBook) -> tuple[str | None, str | None, int]:
    """The entity of a cashtag, the coin of the same symbol, and where the cashtag ends."""
    ticker, sign, share_class, code, suffix = match.groups()
    if code:
        return book.listed(SUFFIXES.get(suffix, ()), code), None, match.end()
    if share_class and (entity := book.bare(f"{ticker}-{share_class}")):
        return entity, None, match.end()
    if sign == "." and share_class in ("x", "X"):
        return book.coins.get(ticker.upper()), None, match.end()
    # `$ES_F` is a future.
    entity = None if sign == "_" else book.bare(ticker)
    return entity, book.coins.get(ticker.upper()), match.end(1)


def _with_exchange(text: str, book: TickerBook) -> Iterator[TickerMention]:
    for match in AFTER_COLON.finditer(text):
        ticker = match[1]
        before = text[max(0, match.start() - LONGEST_EXCHANGE) : match.start()].rstrip().lower()
        exchange = BEFORE_COLON.search(before)
        if exchange:
            mics = EXCHANGES[exchange[1]]
            start = match.start() - len(exchange[0])
        elif CODE_LABEL.search(before):
            mics, start = (*CHINESE, "XHKG") if ticker.isdigit() else UNITED_STATES, match.start()
        else:
            continue
        entity = book.listed(mics, ticker)
        if entity is None and not exchange:
            continue
        yield TickerMention(match.start(1), match.end(1), entity, start, match.end())
        at = match.end()
        while (more := NEXT_IN_LIST.match(text, at)) and (entity := book.listed(mics, more[1])):
            yield TickerMention(more.start(1), more.end(1), entity, at, more.end())
            at = more.end()


def _with_suffix(text: str, book: TickerBook) -> Iterator[TickerMention]:
    for match in AFTER_DOT.finditer(text):
        first = max(0, match.start() - LONGEST_CODE)
        code = BEFORE_DOT.search(text[first : match.start()])
        if code is None or (first and not code.start()):
            continue
        start = first + code.start()
        is_marked = len(match[1]) > 1 or code[0].isdigit() or text[start - 1 : start] in (*OPENING, " ")
        entity = book.listed(SUFFIXES[match[1]], code[0])
        if entity and is_marked and (len(code[0]) > 1 or text[start - 1 : start] in tuple(OPENING)):
            yield TickerMention(start, match.end(), entity, start, match.end())


def _numbers(text: str, book: TickerBook) -> Iterator[TickerMention]:
    for match in NUMBER.finditer(text):
        start, end = match.span()
        prefix = BEFORE_NUMBER.search(text[max(0, start - 4) : start])
        if prefix:
            entity = book.listed(SUFFIXES[prefix[1].upper()], match[1])
            start -= len(prefix[0])
        else:
            entity = book.chinese(match[1]) if _in_brackets(text, start, end) else None
        if entity:
            yield TickerMention(start, end, entity, start, end)


def _in_brackets(text: str, start: int, end: int) -> bool:
    """Whether a number stands in brackets behind a Chinese name."""
    before = text[max(0, start - 3) : start].rstrip()
    if not before or before[-1] not in OPENING or text[end : end + 1] not in (*CLOSING, " ", ",", "，"):
        return False
    return HAN.search(before) is not None or before[0] in "AaBb"


def _bloomberg(text: str, book: TickerBook) -> Iterator[TickerMention]:
    for match in BLOOMBERG.finditer(text):
        entity = book.listed(bloomberg(match[2]), match[1])
        if entity:
            yield TickerMention(match.start(1), match.end(1), entity, match.start(1), match.end() - 1)

"""The optional fields of a message: cut, or left out, where they are beyond a limit or of the wrong type.

Only what makes a document a document (id, time, text) can refuse it.  A desk would rather have a story
without its list of tickers than no story.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import structs

from stream.domain.budgets import cut
from stream.domain.documents import Document
from stream.settings import StreamSettings

# The longest tag of a language (RFC 5646, section 4.4.1), and the column's width.
LONGEST_LANGUAGE = 35
# Fields that no reader knows may be nested; what is deeper than this in them is left out.
MAX_DEPTH = 64
# Nothing in it repeats, so a search never goes back.
ESCAPE_QUOTE_OR_BRACKET = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
NULL = b"null"
T = TypeVar("T")


class Metadata(NamedTuple):
    """The optional fields that could be read, and the names of those that could not."""

    author: str | None
    url: str | None
    symbols: tuple[str, ...]
    lang: str | None
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetadataLimits:
    """The longest author, URL and symbol that are kept, in characters, and the most symbols."""

    author: int = 256
    url: int = 2048
    symbols: int = 100
    symbol: int = 64

    @classmethod
    def from_settings(cls, settings: StreamSettings) -> "MetadataLimits":
        return cls(
            author=settings.author_characters,
            url=settings.url_characters,
            symbols=settings.symbol_count,
            symbol=settings.symbol_characters,
        )

    def accepts(self, document: Document) -> bool:
        """Whether every optional field is within its limits.  `apply` takes far longer."""
        author, url, symbols, lang = document.author, document.url, document.symbols, document.lang
        return (
            (author is None or len(author) <= self.author)
            and (url is None or len(url) <= self.url)
            and (lang is None or len(lang) <= LONGEST_LANGUAGE)
            and (not symbols or (len(symbols) <= self.symbols and max(map(len, symbols)) <= self.symbol))
        )

    def apply(self, document: Document) -> Document:
        """Cut the author.  Leave out a URL, symbol or language: its beginning would name something else.

        The names of the fields that are now different are added to `shortened`.
        """
        author = document.author
        kept = {
            "author": author and cut(author, self.author).replace("\0", ""),
            "url": _whole(document.url, self.url),
            "symbols": self._symbols(document.symbols),
            "lang": _whole(document.lang, LONGEST_LANGUAGE),
        }
        different = {name for name, value in kept.items() if value != getattr(document, name)}
        return structs.replace(document, **kept, shortened=tuple(sorted({*document.shortened, *different})))

    def _symbols(self, symbols: Sequence[str]) -> tuple[str, ...]:
        return tuple(symbol for symbol in symbols if _whole(symbol, self.symbol) is not None)[: self.symbols]


def _whole(text: str | None, characters: int) -> str | None:
    """The text, unless it is too long or has a NUL, which no database text can hold."""
    return None if text is None or len(text) > characters or "\0" in text else text


def read_unchecked(
    *, author: msgspec.Raw, url: msgspec.Raw, symbols: msgspec.Raw, lang: msgspec.Raw
) -> Metadata:
    """The optional fields in JSON values of any type: what is no text, or no list of texts, is left out."""
    sent = {"author": author, "url": url, "lang": lang}
    kept = {name: _decoded(raw, str) for name, raw in sent.items()}
    left_out = [name for name, raw in sent.items() if kept[name] is None and bytes(raw) != NULL]
    elements = _decoded(symbols, list[msgspec.Raw])
    kept_symbols = tuple(text for each in elements or () if (text := _decoded(each, str)) is not None)
    if bytes(symbols) != NULL and (elements is None or len(kept_symbols) < len(elements)):
        left_out.append("symbols")
    return Metadata(kept["author"], kept["url"], kept_symbols, kept["lang"], tuple(left_out))


def _decoded(raw: msgspec.Raw, type_: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, RecursionError):
        return None


def without_deep_values(value: bytes) -> bytes:
    """JSON with null in place of what is nested deeper than MAX_DEPTH.  It reads the value once."""
    return b"".join(_shallow_parts(value))


def _shallow_parts(value: bytes) -> Iterator[bytes]:
    depth = copied = 0
    in_string = False
    for token in ESCAPE_QUOTE_OR_BRACKET.finditer(value):
        match token[0]:
            case b'"':
                in_string = not in_string
            case b"[" | b"{" if not in_string:
                depth += 1
                if depth == MAX_DEPTH + 1:
                    yield value[copied : token.start()] + b"null"
            case b"]" | b"}" if not in_string:
                if depth == MAX_DEPTH + 1:
                    copied = token.end()
                depth -= 1
    if depth <= MAX_DEPTH:
        yield value[copied:]

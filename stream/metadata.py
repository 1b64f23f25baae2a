"""The optional fields of a message: cut, or left out, where they are beyond a limit or of the wrong type.

Only what makes a document a document (id, time, text) can refuse it.  A desk would rather have a story
without its list of tickers than no story.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import structs

from stream.domain.budgets import cut
from stream.domain.documents import Document, Precision
from stream.domain.fields import UnreadSymbols, read_author, read_symbols
from stream.publication import ZonedTime
from stream.settings import StreamSettings

# The longest tag of a language (RFC 5646, section 4.4.1), and the column's width.
LONGEST_LANGUAGE = 35
# Fields that no reader knows may be nested; what is deeper than this in them is left out.
MAX_DEPTH = 64
# Nothing in it repeats, so a search never goes back.
ESCAPE_QUOTE_OR_BRACKET = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
NULL = b"null"


class OptionalFields(NamedTuple):
    """The optional fields of a message as far as they could be read."""

    author: str | None
    url: str | None
    symbols: tuple[str, ...]
    lang: str | None
    published_precision: Precision | None
    updated_at: datetime | None


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


def read_unchecked(sent: Mapping[str, msgspec.Raw]) -> tuple[OptionalFields, tuple[str, ...]]:
    """The optional fields in JSON values of any type, and the names of those that are not read whole."""
    symbols, has_all_symbols = _read_symbols(sent["symbols"])
    fields = OptionalFields(
        author=_read_author(sent["author"]),
        url=_decoded(sent["url"], str),
        symbols=symbols,
        lang=_decoded(sent["lang"], str),
        published_precision=_decoded(sent["published_precision"], Precision),
        updated_at=_decoded(sent["updated_at"], ZonedTime),
    )
    left_out = [
        name for name, value in fields._asdict().items() if value is None and bytes(sent[name]) != NULL
    ]
    return fields, (*left_out, *(() if has_all_symbols else ("symbols",)))


def _read_author(raw: msgspec.Raw) -> str | None:
    value = _decoded(raw, Any)
    try:
        return None if value is None else read_author(value)
    except ValueError:
        return None


def _read_symbols(raw: msgspec.Raw) -> tuple[tuple[str, ...], bool]:
    """The symbols that could be read, and whether these are all.  A bad one does not affect the others."""
    elements = _decoded(raw, list[msgspec.Raw])
    # What cannot be decoded at all is no symbol.
    value = [_decoded(each, Any, raw) for each in elements] if elements else _decoded(raw, Any, raw)
    try:
        return read_symbols(value), True
    except UnreadSymbols as error:
        return error.symbols, False


def _decoded(raw: msgspec.Raw, type_: Any, default: Any = None) -> Any:
    """The value if it is of this type, else the default."""
    try:
        return msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, RecursionError):
        return default


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

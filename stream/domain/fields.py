"""What vendors put into the fields of a document, as the message contract has it.

One reading for files and for Kafka, so that a row that `monitor feed` sends is one that the monitor takes.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

# What tables hold in place of nothing.
WORDS_FOR_NOTHING = frozenset({"nan", "NaN", "NAN", "None", "null", "NULL", "NaT", "<NA>"})
NOTHING_AS_TEXT = WORDS_FOR_NOTHING | {""}
# Above it, neighbouring integers are the same float.
LARGEST_EXACT = 2**53
# A number that a table has shortened to a float.
SHORTENED_NUMBER = re.compile(r"-?\d(\.\d+)?[eE]\+\d+")
SYMBOL_SEPARATOR = re.compile(r"[,;|]")
# The keys under which vendors name an instrument in an object, the most exact first, and a person or a feed.
SYMBOL_KEYS = ("symbol", "ticker", "code", "name")
NAME_KEYS = ("name", "title")
AUTHOR_SEPARATOR = ", "
# Stands for what could not be decoded.
REPLACEMENT = "\ufffd"


def is_missing(value: object) -> bool:
    """Whether a value stands for nothing: null, NaN, or a blank text."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def is_missing_in_table(value: object) -> bool:
    """The same in a file, where libraries also write a word for nothing."""
    return is_missing(value) or (
        isinstance(value, str) and (not value.strip() or value.strip() in WORDS_FOR_NOTHING)
    )


def read_id(value: object) -> str:
    """An id as text.  Raises ValueError for one that other rows may share: a float that lost its digits."""
    if isinstance(value, str) and not SHORTENED_NUMBER.fullmatch(value):
        if REPLACEMENT in value:
            raise ValueError(
                f"id {shown(value)}: U+FFFD stands for what could not be decoded (half a surrogate pair, "
                "another encoding), so that several documents may share it"
            )
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_EXACT:
        return str(int(value))
    reason = "an id is a text or a whole number"
    if isinstance(value, str | float):
        reason = "a float that has lost digits, so that several rows share it: write ids as text"
    raise ValueError(f"id {shown(value)}: {reason}")


def check_id(value: str) -> None:
    """Raises ValueError for a text that is no id: it stands for nothing, or other documents may share it."""
    # Most ids need no closer look, which takes as long as the rest of a message.
    if value.strip() in NOTHING_AS_TEXT:
        raise ValueError(f"id {shown(value)}: it stands for nothing, so that several documents share it")
    if "+" in value or not value.isascii():
        read_id(value)


def read_text(value: object, field: str) -> str:
    """The text of a field that has one.  Raises ValueError."""
    if isinstance(value, str):
        return value
    raise ValueError(f"{field} must be a text, not {shown(value)}")


def read_source(value: object) -> str:
    """A source as text: itself, or the name in an object.  Raises ValueError."""
    text = _named(value, NAME_KEYS)
    return text if text is not None else read_text(value, "source")


def read_author(value: object) -> str:
    """An author as text: itself, the name in an object, or several of these.  Raises ValueError."""
    names = [_named(each, NAME_KEYS) for each in (value if isinstance(value, list) else [value])]
    if None in names:
        raise ValueError(f"author must be a text or a list of them, not {shown(value)}")
    return AUTHOR_SEPARATOR.join(filter(None, names))


def read_symbols(value: object) -> tuple[str, ...]:
    """The symbols in a text such as `AB,CD`, in a list or in objects.

    Raises UnreadSymbols, which has those that could be read.
    """
    if isinstance(value, str):
        elements: list[Any] = [
            _unquoted(part) for part in SYMBOL_SEPARATOR.split(value.strip().strip("[]()"))
        ]
    else:
        elements = value if isinstance(value, list) else [value]
    names = [_symbol(element) for element in elements if not is_missing(element)]
    symbols = tuple(dict.fromkeys(filter(None, names)))
    if None in names:
        raise UnreadSymbols(value, symbols)
    return symbols


class UnreadSymbols(ValueError):
    """Some of the symbols are neither texts nor objects that name one; `symbols` are the others."""

    def __init__(self, value: object, symbols: tuple[str, ...]) -> None:
        super().__init__(
            f"symbols {shown(value)}: each must be a text, or an object with symbol, ticker or name"
        )
        self.symbols = symbols


def _symbol(value: object) -> str | None:
    """Exchanges in Asia have numbers for symbols."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _named(value, SYMBOL_KEYS)


def _unquoted(symbol: str) -> str:
    """A symbol of a list that a table holds as text, such as `['AB', 'CD']`."""
    return symbol.strip().strip("'\"").strip()


def _named(value: object, keys: tuple[str, ...]) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return next(_texts(value, keys), None)
    return None


def _texts(value: Mapping[str, object], keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        text = value.get(key)
        if isinstance(text, str) and text:
            yield text


def shown(value: object) -> str:
    """A value as JSON shows it, and at most so much of it, for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= 60 else f"{text[:60]}…"

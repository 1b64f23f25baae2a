"""Byte budgets: what is too large is sent in a smaller form, with a mark where something is missing.

Sizes are those of the JSON form in UTF-8, since that is what a receiver measures: a control character takes
six bytes.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

# The end of a text that was cut.
MARK = "\u2026"
T = TypeVar("T")


def json_bytes(value: Any) -> int:
    """The size of a value as JSON."""
    return len(msgspec.json.encode(value))


def cut(text: str, characters: int) -> str:
    """The text if it has at most so many characters, else its beginning and a mark."""
    return text if len(text) <= characters else text[: characters - len(MARK)] + MARK


def prefix_within(text: str, max_bytes: int) -> str:
    """The longest beginning of the text whose characters take at most `max_bytes` in JSON."""
    if json_bytes(text) - 2 <= max_bytes:
        return text
    fits, too_long = 0, min(len(text), max(max_bytes, 0) + 1)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if json_bytes(text[:middle]) - 2 <= max_bytes:
            fits = middle
        else:
            too_long = middle
    return text[:fits]


def cut_to_bytes(text: str, max_bytes: int) -> str:
    """The text if it takes at most `max_bytes` in JSON, else its beginning and a mark, which do."""
    if json_bytes(text) - 2 <= max_bytes:
        return text
    return prefix_within(text, max_bytes - len(MARK.encode())) + MARK


def first_within(max_bytes: int, forms: Iterable[T], size: Callable[[T], int] = json_bytes) -> T:
    """The first of the forms, from the largest to the smallest, that is not above the budget; else the last.

    There must be at least one form.
    """
    for form in forms:
        if size(form) <= max_bytes:
            break
    return form

"""What every list of the API answers, and takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from litestar.params import QueryParameter

from monitor.web.api import cursors

T = TypeVar("T")
DEFAULT_LIMIT = 50
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="most items of an answer")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=500, description="`next` of the answer before, to go on after it")
]

# PostgreSQL stores no NUL.
Name = Annotated[str | None, QueryParameter(max_length=200, pattern="^[^\0]*$")]


@dataclass(frozen=True)
class Listing(Generic[T]):
    """A part of a list; `next` is the cursor of the part after it, None at the end."""

    items: Sequence[T]
    next: str | None


def listing(found: Sequence[T], limit: int, position: Callable[[T], object]) -> Listing[T]:
    """The answer made of up to `limit` + 1 items, of which the last only tells that there are more.

    `position` gives what the cursor must hold to go on after an item.
    """
    items = found[:limit]
    return Listing(items, cursors.encode(position(items[-1])) if len(found) > limit else None)

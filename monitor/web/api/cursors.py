"""Where the next part of a list begins, as an opaque text."""

import base64
import binascii
from typing import TypeVar

import msgspec

from monitor.web.errors import BadRequest

T = TypeVar("T")


def encode(position: object) -> str:
    """The cursor of a position, such as a time and an id: a tuple of what JSON holds, and times."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode(cursor: str, type_: type[T]) -> T:
    """The position that a cursor holds, of the type that was encoded.  Raises BadRequest."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=type_)
    except (UnicodeEncodeError, binascii.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest("cursor: use the value of `next` of the answer before, unchanged") from error

"""The message contract: bytes from Kafka to a `Document`, or a `Rejected` with its reason."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from stream.domain.documents import Document, Kind
from stream.domain.errors import Rejected
from stream.settings import StreamSettings

# Why a message became a dead letter: the values of the label `reason`.
REASONS = (
    "empty",  # no value, or an empty one
    "too_large",  # longer than stream.max_message_bytes, or of more than stream.message_documents
    "not_utf8",  # bytes that are no UTF-8
    "not_json",  # text that is no JSON
    "not_an_object",  # JSON, but no object
    "missing_field",  # a required field is absent
    "invalid_field",  # a field has the wrong type, is empty or too long
    "invalid_time",  # published_at is no RFC 3339 time with an offset
    "far_future",  # published_at is further ahead than stream.future_seconds
    "no_text",  # neither title nor text has anything in it
    "nul",  # a string with a NUL character, which no database text can hold
    "inference",  # the classifier gave no finite answer for it
    "storage",  # the database refused its values
)

# The lengths are those of the columns; identity must fit an index entry of PostgreSQL (2,704 bytes).
RequiredId = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Source = Annotated[str, msgspec.Meta(max_length=128)]
ShortText = Annotated[str, msgspec.Meta(max_length=256)]
UNKNOWN_SOURCE = "unknown"
# What tells where an element of an array ends; a string's own brackets do not.
MARKS = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{},]', re.DOTALL)


class Message(msgspec.Struct, frozen=True):
    """One JSON object on `news` or `comments`; unknown fields are ignored."""

    id: RequiredId
    published_at: Annotated[datetime, msgspec.Meta(tz=True)]
    title: str | None = None
    text: str | None = None
    source: Source | None = None
    author: ShortText | None = None
    url: str | None = None
    symbols: Annotated[list[ShortText], msgspec.Meta(max_length=100)] | None = None
    lang: Annotated[str, msgspec.Meta(max_length=35)] | None = None


@dataclass(frozen=True, slots=True)
class Codec:
    """Decodes messages under the limits of the settings.

    `future` is how far ahead of now a stamp may lie; `max_bytes` the longest message; `documents` how many
    one may hold, as a JSON array of them where that is more than one.
    """

    future: timedelta
    max_bytes: int
    documents: int = 1

    @classmethod
    def of(cls, settings: StreamSettings) -> "Codec":
        future = timedelta(seconds=settings.future_seconds)
        return cls(future, settings.max_message_bytes, settings.message_documents)

    def split(self, value: bytes | None) -> list[bytes] | None:
        """The values of an array's documents; None: the message is a document itself.  Raises Rejected."""
        if self.documents == 1 or not value or len(value) > self.max_bytes or not _is_array(value):
            return None
        try:
            parts = [bytes(part) for part in msgspec.json.decode(value, type=list[msgspec.Raw])]
        except (msgspec.DecodeError, RecursionError) as error:
            parts = _cut(value)
            if not parts:
                raise Rejected("not_json" if _is_utf8(value) else "not_utf8", str(error)) from error
        if not parts:
            raise Rejected("empty", "the message is an array without documents")
        if len(parts) > self.documents:
            raise Rejected("too_large", f"{len(parts)} documents; at most {self.documents} are read")
        return parts

    def decode(self, value: bytes | None, kind: Kind, now: datetime) -> Document:
        """One message's value as a document; raises Rejected."""
        if not value:
            raise Rejected("empty", "the message has no value")
        if len(value) > self.max_bytes:
            raise Rejected("too_large", f"{len(value)} bytes; at most {self.max_bytes} are read")
        message = _parse(value)
        # In JSON that character can only be written as an escape, so most messages need no second look.
        if b"\\u0000" in value and "\0" in "".join(_strings(message)):
            raise Rejected("nul", "a field holds a NUL character")
        title, text = (message.title or "").strip(), (message.text or "").strip()
        if not title and not text:
            raise Rejected("no_text", "title and text are both absent or blank")
        return Document(
            id=message.id,
            kind=kind,
            source=message.source or UNKNOWN_SOURCE,
            published_at=self._stamp(message.published_at, now),
            title=title,
            text=text,
            author=message.author,
            url=message.url,
            symbols=tuple(message.symbols or ()),
            lang=message.lang,
        )

    def _stamp(self, published_at: datetime, now: datetime) -> datetime:
        try:
            stamp = published_at.astimezone(UTC)
        except OverflowError as error:
            raise Rejected("invalid_time", f"published_at {published_at} is out of range") from error
        if stamp > now + self.future:
            raise Rejected("far_future", f"published_at {stamp.isoformat()} is ahead of the clock")
        return stamp


def count(value: bytes | None) -> int:
    """About how many documents a message holds, without decoding it: as many as their required field."""
    return max(1, value.count(b'"published_at"')) if value and _is_array(value) else 1


def _is_array(value: bytes) -> bool:
    return value.lstrip(b" \t\r\n").startswith(b"[")


def _cut(value: bytes) -> list[bytes]:
    """The elements of an array of which one is no JSON, by its brackets and strings; none where they do not
    close."""
    depth = start = 0
    parts = []
    for mark in MARKS.finditer(value):
        if mark[0] in (b"[", b"{"):
            depth += 1
            start = mark.end() if depth == 1 else start
        elif mark[0] == b"," and depth == 1:
            parts.append(value[start : mark.start()].strip())
            start = mark.end()
        elif mark[0] in (b"]", b"}"):
            depth -= 1
            if not depth:
                is_all = not value[mark.end() :].strip()
                return [*parts, value[start : mark.start()].strip()] if is_all else []
    return []


def _parse(value: bytes) -> Message:
    try:
        return msgspec.json.decode(value, type=Message)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except UnicodeDecodeError as error:
        raise Rejected("not_utf8", str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        reason = "not_json" if _is_utf8(value) else "not_utf8"
        raise Rejected(reason, str(error)) from error


def _explain(error: str) -> Rejected:
    """The reason behind msgspec's own sentence, which names the field."""
    if "missing required field" in error:
        return Rejected("missing_field", error)
    if error.endswith("$.published_at`"):
        return Rejected("invalid_time", error)
    if "`$" not in error:
        return Rejected("not_an_object", error)
    return Rejected("invalid_field", error)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _strings(message: Message) -> list[str]:
    fields = (message.id, message.title, message.text, message.source, message.author,
              message.url, message.lang)  # fmt: skip
    return [*filter(None, fields), *(message.symbols or ())]

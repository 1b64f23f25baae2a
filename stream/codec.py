"""The message contract: decodes bytes from Kafka into a `Document`, or raises `Rejected` with a reason."""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import msgspec
from msgspec import structs

from stream.domain.documents import (
    HEARTBEAT_SOURCE,
    LONGEST_ID,
    LONGEST_SOURCE,
    UNKNOWN_SOURCE,
    Document,
    Kind,
    document_key,
    shorten_name,
)
from stream.domain.errors import DeadLetterReason, Rejected
from stream.heartbeats import FORGED, Heartbeats
from stream.metadata import NULL, MetadataLimits, read_unchecked, without_deep_values
from stream.settings import StreamSettings

RequiredId = Annotated[str, msgspec.Meta(min_length=1)]
NOTHING = msgspec.Raw(NULL)
# Stands for the rest of an array that does not end; no element is equal to it.
UNCLOSED = b"["
# What shows where an element of an array ends.  Nothing in it repeats, so a search never goes back.
ESCAPE_QUOTE_OR_PUNCTUATION = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)


class MessageFields(msgspec.Struct, frozen=True):
    """One JSON object on `news` or `comments`; unknown fields are ignored."""

    id: RequiredId
    published_at: Annotated[datetime, msgspec.Meta(tz=True)]
    title: str | None = None
    text: str | None = None
    source: str | None = None
    author: str | None = None
    url: str | None = None
    symbols: list[str] | None = None
    lang: str | None = None


class UncheckedFields(msgspec.Struct, frozen=True):
    """The same, with optional fields that may hold anything."""

    id: RequiredId
    published_at: Annotated[datetime, msgspec.Meta(tz=True)]
    title: str | None = None
    text: str | None = None
    source: str | None = None
    author: msgspec.Raw = NOTHING
    url: msgspec.Raw = NOTHING
    symbols: msgspec.Raw = NOTHING
    lang: msgspec.Raw = NOTHING


@dataclass(frozen=True, slots=True)
class Codec:
    """Decodes messages within the limits of the settings.

    `max_ahead` is how far in the future a `published_at` may be, `max_bytes` the size of the largest message.
    With `max_documents` above 1 a message may also be a JSON array of that many documents.  A kind in
    `allowed_sources` is read from sources that match the pattern only.  Without `heartbeats` every message
    with their source is rejected.  Optional fields are cut to `metadata`.
    """

    max_ahead: timedelta
    max_bytes: int
    max_documents: int = 1
    allowed_sources: Mapping[Kind, re.Pattern[str]] = field(default_factory=dict)
    heartbeats: Heartbeats | None = None
    metadata: MetadataLimits = field(default_factory=MetadataLimits)

    @classmethod
    def from_settings(cls, settings: StreamSettings, heartbeats: Heartbeats | None = None) -> "Codec":
        """The codec with the limits of these settings."""
        patterns = {
            Kind.NEWS: settings.allowed_news_sources,
            Kind.COMMENT: settings.allowed_comment_sources,
        }
        return cls(
            max_ahead=timedelta(seconds=settings.future_seconds),
            max_bytes=settings.max_message_bytes,
            max_documents=settings.message_documents,
            allowed_sources={
                kind: re.compile("|".join(map(fnmatch.translate, globs)))
                for kind, globs in patterns.items()
                if globs
            },
            heartbeats=heartbeats,
            metadata=MetadataLimits.from_settings(settings),
        )

    def split(self, value: bytes | None) -> list[bytes] | None:
        """The elements of a message that is an array; None if the message is a document itself.

        Raises Rejected if the array cannot be split, is empty or has too many elements.
        """
        if self.max_documents == 1 or not value or len(value) > self.max_bytes or not _is_array(value):
            return None
        elements: Sequence[msgspec.Raw | bytes]
        try:
            elements = msgspec.json.decode(value, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            elements = list(islice(_cut_invalid_array(value), self.max_documents + 1))
            if not elements or elements[-1] is UNCLOSED:
                raise Rejected(_why_not_json(value), str(error)) from error
        if not elements:
            raise Rejected(DeadLetterReason.EMPTY, "the message is an array without documents")
        if len(elements) > self.max_documents:
            detail = f"more than {self.max_documents} documents; at most that many are read"
            raise Rejected(DeadLetterReason.TOO_LARGE, detail)
        return [bytes(element) for element in elements]

    def decode(self, value: bytes | None, kind: Kind, now: datetime) -> Document:
        """The document in a message's value.  Raises Rejected."""
        if not value:
            raise Rejected(DeadLetterReason.EMPTY, "the message has no value")
        if len(value) > self.max_bytes:
            detail = f"{len(value)} bytes; at most {self.max_bytes} are read"
            raise Rejected(DeadLetterReason.TOO_LARGE, detail)
        message, left_out = _parse(value)
        sent_source = message.source or UNKNOWN_SOURCE
        source, id_ = shorten_name(sent_source, LONGEST_SOURCE), shorten_name(message.id, LONGEST_ID)
        try:
            # JSON can only hold a NUL as an escape, so most messages need no second look.
            may_have_nul = b"\\u0000" in value
            if may_have_nul and "\0" in "".join(_strings(message)):
                raise Rejected(DeadLetterReason.NUL, "a field holds a NUL character")
            if source == HEARTBEAT_SOURCE:
                return self._heartbeat(id_, kind, self._published_at(message.published_at, now))
            self._check_source(sent_source, kind)
            title, text = (message.title or "").strip(), (message.text or "").strip()
            if not title and not text:
                raise Rejected(DeadLetterReason.NO_TEXT, "title and text are both absent or blank")
            document = Document(
                id=id_,
                kind=kind,
                source=source,
                published_at=self._published_at(message.published_at, now),
                title=title,
                text=text,
                author=message.author,
                url=message.url,
                symbols=tuple(message.symbols or ()),
                lang=message.lang,
                shortened=left_out,
            )
            if may_have_nul or not self.metadata.accepts(document):
                document = self.metadata.apply(document)
            if id_ is message.id and source is sent_source:
                return document
            names = _shortened(id=(message.id, id_), source=(sent_source, source))
            return structs.replace(document, shortened=names + document.shortened)
        except Rejected as error:
            raise Rejected(error.reason, error.detail, document_key(kind, source, id_)) from error

    def _heartbeat(self, id_: str, kind: Kind, published_at: datetime) -> Document:
        if self.heartbeats is None:
            raise Rejected(DeadLetterReason.FORGED_HEARTBEAT, FORGED)
        return self.heartbeats.read(id_, kind, published_at)

    def _check_source(self, source: str, kind: Kind) -> None:
        """Raises Rejected if documents of this kind may not come from the source."""
        pattern = self.allowed_sources.get(kind)
        if pattern is not None and not pattern.match(source):
            detail = f"source {source[:LONGEST_SOURCE]!r} is not in stream.allowed_{kind.value}_sources"
            raise Rejected(DeadLetterReason.SOURCE_NOT_ALLOWED, detail)

    def _published_at(self, published_at: datetime, now: datetime) -> datetime:
        try:
            utc = published_at.astimezone(UTC)
        except OverflowError as error:
            detail = f"published_at {published_at} is out of range"
            raise Rejected(DeadLetterReason.INVALID_TIME, detail) from error
        if utc > now + self.max_ahead:
            detail = f"published_at {utc.isoformat()} is ahead of the clock"
            raise Rejected(DeadLetterReason.FAR_FUTURE, detail)
        return utc


def _shortened(**fields: tuple[str, str]) -> tuple[str, ...]:
    """The names of the fields whose text is not the one that was sent."""
    return tuple(name for name, (sent, kept) in fields.items() if kept is not sent)


def count(value: bytes | None) -> int:
    """About how many documents a message holds, by how often it names the required field."""
    return max(1, value.count(b'"published_at"')) if value and _is_array(value) else 1


def _is_array(value: bytes) -> bool:
    return value.lstrip(b" \t\r\n").startswith(b"[")


def _cut_invalid_array(value: bytes) -> Iterator[bytes]:
    """The elements of an array in which one element is not JSON, found by brackets and strings alone.

    The last one is UNCLOSED if a string or a bracket is not closed, or if something follows the array.  It
    reads the value once, from front to back.
    """
    depth = start = 0
    in_string = False
    for token in ESCAPE_QUOTE_OR_PUNCTUATION.finditer(value):
        match token[0]:
            case b'"':
                in_string = not in_string
            case b"[" | b"{" if not in_string:
                depth += 1
                start = token.end() if depth == 1 else start
            case b"," if not in_string and depth == 1:
                yield value[start : token.start()].strip()
                start = token.end()
            case b"]" | b"}" if not in_string:
                depth -= 1
                if not depth:
                    yield value[start : token.start()].strip()
                    if value[token.end() :].strip():
                        yield UNCLOSED
                    return
    yield UNCLOSED


def _parse(value: bytes) -> tuple[MessageFields, tuple[str, ...]]:
    """The fields of a message, and the names of those that are left out: they are no text, or too deep."""
    try:
        try:
            return msgspec.json.decode(value, type=MessageFields), ()
        except (msgspec.ValidationError, RecursionError):
            return _parse_unchecked(value)
    except msgspec.ValidationError as error:
        raise Rejected(_why_invalid(str(error)), str(error)) from error
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise Rejected(_why_not_json(value), str(error)) from error


def _parse_unchecked(value: bytes) -> tuple[MessageFields, tuple[str, ...]]:
    nested: tuple[str, ...] = ()
    try:
        sent = msgspec.json.decode(value, type=UncheckedFields)
    except RecursionError:
        sent = msgspec.json.decode(without_deep_values(value), type=UncheckedFields)
        nested = ("nested",)
    metadata = read_unchecked(author=sent.author, url=sent.url, symbols=sent.symbols, lang=sent.lang)
    fields = MessageFields(
        id=sent.id,
        published_at=sent.published_at,
        title=sent.title,
        text=sent.text,
        source=sent.source,
        author=metadata.author,
        url=metadata.url,
        symbols=list(metadata.symbols),
        lang=metadata.lang,
    )
    return fields, metadata.left_out + nested


def _why_invalid(error_text: str) -> DeadLetterReason:
    """The reason behind msgspec's message, which names the field."""
    if "missing required field" in error_text:
        return DeadLetterReason.MISSING_FIELD
    if error_text.endswith("$.published_at`"):
        return DeadLetterReason.INVALID_TIME
    if "`$" not in error_text:
        return DeadLetterReason.NOT_AN_OBJECT
    return DeadLetterReason.INVALID_FIELD


def _why_not_json(value: bytes) -> DeadLetterReason:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return DeadLetterReason.NOT_UTF8
    return DeadLetterReason.NOT_JSON


def _strings(message: MessageFields) -> list[str]:
    """Every string that makes the message a document."""
    return [*filter(None, [message.id, message.title, message.text, message.source])]

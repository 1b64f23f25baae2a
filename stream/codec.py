"""The message contract: decodes bytes from Kafka into a `Document`, or raises `Rejected` with a reason."""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any

import msgspec
from msgspec import structs

from stream.domain.documents import (
    HEARTBEAT_SOURCE,
    LONGEST_ID,
    LONGEST_SOURCE,
    UNKNOWN_SOURCE,
    Document,
    Kind,
    Precision,
    document_key,
    shorten_name,
)
from stream.domain.errors import DeadLetterReason, Rejected
from stream.domain.fields import REPLACEMENT, check_id, read_id, read_source
from stream.framing import is_array, name_format, unframe
from stream.heartbeats import FORGED, Heartbeats
from stream.json_repair import repair
from stream.metadata import NULL, MetadataLimits, OptionalFields, read_unchecked, without_deep_values
from stream.publication import UNKNOWN_TIMESTAMP, PublicationReader, ZonedTime, read_time
from stream.settings import StreamSettings

RequiredId = Annotated[str, msgspec.Meta(min_length=1)]
NOTHING = msgspec.Raw(NULL)
# Stands for the rest of an array that does not end; no element is equal to it.
UNCLOSED = b"["
# Stands for characters that no text can hold (NUL, half a surrogate pair) among the names of fields.
CHARACTERS = "characters"
ARRAY = (
    "the message is a JSON array: to read each of its elements as a document, set stream.message_documents "
    "to the most that a message holds; it is 1"
)
HALF_A_PAIR = (
    "the source holds half a surrogate pair, or what stands for it: it may be that of other documents"
)
# What shows where an element of an array ends.  Nothing in it repeats, so a search never goes back.
ESCAPE_QUOTE_OR_PUNCTUATION = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)


class MessageFields(msgspec.Struct, frozen=True):
    """One JSON object on `news` or `comments`; unknown fields are ignored."""

    id: RequiredId
    published_at: ZonedTime | None = None
    title: str | None = None
    text: str | None = None
    source: str | None = None
    author: str | None = None
    url: str | None = None
    symbols: list[str] | None = None
    lang: str | None = None
    published_precision: Precision | None = None
    updated_at: ZonedTime | None = None


class UncheckedFields(msgspec.Struct, frozen=True):
    """The same, with optional fields that may hold anything."""

    id: RequiredId | int | float
    published_at: msgspec.Raw = NOTHING
    title: str | None = None
    text: str | None = None
    source: str | dict[str, Any] | None = None
    author: msgspec.Raw = NOTHING
    url: msgspec.Raw = NOTHING
    symbols: msgspec.Raw = NOTHING
    lang: msgspec.Raw = NOTHING
    published_precision: msgspec.Raw = NOTHING
    updated_at: msgspec.Raw = NOTHING


DECODE = msgspec.json.Decoder(MessageFields).decode


@dataclass(frozen=True, slots=True)
class Codec:
    """Decodes messages within the limits of the settings.

    `max_ahead` is how far in the future a `published_at` may be, `max_bytes` the size of the largest message.
    With `max_documents` above 1 a message may also be a JSON array of that many documents.  A kind in
    `allowed_sources` is read from sources that match the pattern only.  Without `heartbeats` every message
    with their source is rejected.  Optional fields are cut to `metadata`.  A time at midnight sharp that is
    more than `midnight_delay` before the message arrived is a date alone.
    """

    max_ahead: timedelta
    max_bytes: int
    max_documents: int = 1
    allowed_sources: Mapping[Kind, re.Pattern[str]] = field(default_factory=dict)
    heartbeats: Heartbeats | None = None
    metadata: MetadataLimits = field(default_factory=MetadataLimits)
    midnight_delay: timedelta = timedelta(minutes=30)
    _times: PublicationReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_times", PublicationReader(self.max_ahead, self.midnight_delay))

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
            midnight_delay=timedelta(seconds=settings.midnight_seconds),
        )

    def split(self, value: bytes | None) -> list[bytes] | None:
        """The elements of a message that is an array; None if the message is a document itself.

        Raises Rejected if the array cannot be split, is empty or has too many elements.
        """
        if self.max_documents == 1 or not value or len(value) > self.max_bytes or not is_array(value):
            return None
        value = unframe(value)
        elements: Sequence[msgspec.Raw | bytes]
        try:
            elements = msgspec.json.decode(value, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            elements = list(islice(_cut_invalid_array(value), self.max_documents + 1))
            if not elements or elements[-1] is UNCLOSED:
                raise _not_json(value, error) from error
        if not elements:
            raise Rejected(DeadLetterReason.EMPTY, "the message is an array without documents")
        if len(elements) > self.max_documents:
            detail = f"more than {self.max_documents} documents; at most that many are read"
            raise Rejected(DeadLetterReason.TOO_LARGE, detail)
        return [bytes(element) for element in elements]

    def decode(
        self, value: bytes | None, kind: Kind, now: datetime, timestamp: int = UNKNOWN_TIMESTAMP
    ) -> Document:
        """The document in a message's value.  Raises Rejected.

        `timestamp` is that of the Kafka message, in milliseconds since 1970.
        """
        if not value:
            raise Rejected(DeadLetterReason.EMPTY, "the message has no value")
        if len(value) > self.max_bytes:
            detail = f"{len(value)} bytes; at most {self.max_bytes} are read"
            raise Rejected(DeadLetterReason.TOO_LARGE, detail)
        different: tuple[str, ...] = ()
        try:
            message, body = DECODE(value), value
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if self.max_documents == 1 and is_array(value):
                raise Rejected(DeadLetterReason.NOT_AN_OBJECT, ARRAY) from None
            message, different, body = _parse_odd(value)
        # JSON can only hold a NUL as an escape, so most messages need no second look.
        may_have_nul = b"\\u0000" in body
        if may_have_nul:
            message, different = _without_nul(message, different)
        sent_source = message.source or UNKNOWN_SOURCE
        source, id_ = shorten_name(sent_source, LONGEST_SOURCE), shorten_name(message.id, LONGEST_ID)
        try:
            if may_have_nul and "\0" in id_:
                raise Rejected(DeadLetterReason.NUL, "the id holds a NUL character")
            _check_id(message.id)
            if source == HEARTBEAT_SOURCE:
                return self._heartbeat(id_, kind, message, now, timestamp)
            self._check_source(sent_source, kind)
            title, text = (message.title or "").strip(), (message.text or "").strip()
            if not title and not text:
                raise Rejected(DeadLetterReason.NO_TEXT, "title and text are both absent or blank")
            published_at, precision = self._times.read(
                message.published_at, message.published_precision, now, timestamp
            )
            updated_at = message.updated_at
            if updated_at is not None:
                updated_at, different = self._updated_at(updated_at, different, now)
            # By position, in the order of the fields: with this many, keywords take much longer.
            document = Document(
                id_,
                kind,
                source,
                published_at,
                title,
                text,
                message.author,
                message.url,
                tuple(message.symbols or ()),
                message.lang,
                different,
                precision,
                updated_at,
            )
            if may_have_nul or not self.metadata.accepts(document):
                document = self.metadata.apply(document)
            if id_ is message.id and source is sent_source:
                return document
            names = _shortened(id=(message.id, id_), source=(sent_source, source))
            return structs.replace(document, shortened=names + document.shortened)
        except Rejected as error:
            raise Rejected(error.reason, error.detail, document_key(kind, source, id_)) from error

    def _heartbeat(
        self, id_: str, kind: Kind, message: MessageFields, now: datetime, timestamp: int
    ) -> Document:
        if self.heartbeats is None:
            raise Rejected(DeadLetterReason.FORGED_HEARTBEAT, FORGED)
        at, _ = self._times.read(message.published_at, message.published_precision, now, timestamp)
        return self.heartbeats.read(id_, kind, at)

    def _updated_at(
        self, updated_at: datetime, different: tuple[str, ...], now: datetime
    ) -> tuple[datetime | None, tuple[str, ...]]:
        """The time in UTC; None if it is in the future, since nothing that is sent later would be newer."""
        with suppress(OverflowError):
            utc = updated_at.astimezone(UTC)
            if utc <= now + self.max_ahead:
                return utc, different
        return None, (*different, "updated_at")

    def _check_source(self, source: str, kind: Kind) -> None:
        """Raises Rejected if documents of this kind may not come from the source."""
        pattern = self.allowed_sources.get(kind)
        if pattern is not None and not pattern.match(source):
            detail = f"source {source[:LONGEST_SOURCE]!r} is not in stream.allowed_{kind.value}_sources"
            raise Rejected(DeadLetterReason.SOURCE_NOT_ALLOWED, detail)


def _check_id(value: str) -> None:
    """Raises Rejected if other documents may have the same id."""
    try:
        check_id(value)
    except ValueError as error:
        raise Rejected(DeadLetterReason.INVALID_FIELD, str(error)) from error


def _shortened(**fields: tuple[str, str]) -> tuple[str, ...]:
    """The names of the fields whose text is not the one that was sent."""
    return tuple(name for name, (sent, kept) in fields.items() if kept is not sent)


def count(value: bytes | None) -> int:
    """About how many documents a message holds, by how often it names the field that each must have."""
    return max(1, value.count(b'"id"')) if value and is_array(value) else 1


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


def _parse_odd(value: bytes) -> tuple[MessageFields, tuple[str, ...], bytes]:
    """The fields of a message that cannot be decoded at once, the names of those that are not what was sent,
    and the JSON that was read.  Raises Rejected.
    """
    body = unframe(value)
    try:
        try:
            return *_decode(body), body
        except msgspec.ValidationError:
            raise
        except (UnicodeDecodeError, msgspec.DecodeError):
            repaired = repair(body)
            if repaired == body:
                raise
            body = repaired
            message, different = _decode(body)
            if message.source and REPLACEMENT in message.source:
                raise Rejected(DeadLetterReason.INVALID_FIELD, HALF_A_PAIR) from None
            return message, (*different, CHARACTERS), body
    except msgspec.ValidationError as error:
        raise Rejected(_why_invalid(str(error)), _explain_invalid(str(error), body)) from error
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise _not_json(value, error) from error


def _decode(value: bytes) -> tuple[MessageFields, tuple[str, ...]]:
    """The fields of a message, and the names of those that are left out: they are no text, or too deep."""
    try:
        return msgspec.json.decode(value, type=MessageFields), ()
    except (msgspec.ValidationError, RecursionError):
        return _decode_unchecked(value)


def _decode_unchecked(value: bytes) -> tuple[MessageFields, tuple[str, ...]]:
    nested: tuple[str, ...] = ()
    try:
        sent = msgspec.json.decode(value, type=UncheckedFields)
    except RecursionError:
        sent = msgspec.json.decode(without_deep_values(value), type=UncheckedFields)
        nested = ("nested",)
    optional, left_out = read_unchecked({name: getattr(sent, name) for name in OptionalFields._fields})
    published_at, precision = read_time(sent.published_at)
    try:
        id_, source = read_id(sent.id), sent.source and read_source(sent.source)
    except ValueError as error:
        raise Rejected(DeadLetterReason.INVALID_FIELD, str(error)) from error
    fields = MessageFields(
        id=id_,
        published_at=published_at,
        title=sent.title,
        text=sent.text,
        source=source or None,
        author=optional.author,
        url=optional.url,
        symbols=list(optional.symbols),
        lang=optional.lang,
        published_precision=precision or optional.published_precision,
        updated_at=optional.updated_at,
    )
    return fields, left_out + nested


def _without_nul(message: MessageFields, different: tuple[str, ...]) -> tuple[MessageFields, tuple[str, ...]]:
    """The message without NULs in its texts, which no database can hold; the source keeps a mark of them."""
    cleaned = structs.replace(
        message,
        title=message.title and message.title.replace("\0", ""),
        text=message.text and message.text.replace("\0", ""),
        source=message.source and message.source.replace("\0", "\ufffd"),
    )
    return cleaned, different if cleaned == message else (*different, CHARACTERS)


def _why_invalid(error_text: str) -> DeadLetterReason:
    """The reason behind msgspec's message, which names the field."""
    if "missing required field" in error_text:
        return DeadLetterReason.MISSING_FIELD
    if "`$" not in error_text:
        return DeadLetterReason.NOT_AN_OBJECT
    return DeadLetterReason.INVALID_FIELD


def _explain_invalid(error_text: str, value: bytes) -> str:
    """The message for the operator: the error, and what is the usual cause of it."""
    if value.lstrip()[:1] == b'"' and b'\\"' in value:
        return f"{error_text}: JSON within a JSON string, the producer encodes it twice"
    if "missing required field" in error_text and b'"payload"' in value and b'"schema"' in value:
        return f"{error_text}: Kafka Connect's envelope, set value.converter.schemas.enable=false there"
    return error_text


def _not_json(value: bytes, error: Exception) -> Rejected:
    """The refusal of a message that is not JSON, which says what it is if that is known."""
    if name := name_format(value):
        reason = DeadLetterReason.NOT_UTF8 if "text" in name else DeadLetterReason.NOT_JSON
        return Rejected(reason, f"{name}, not JSON: {error}")
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as decode_error:
        return Rejected(DeadLetterReason.NOT_UTF8, str(decode_error))
    return Rejected(DeadLetterReason.NOT_JSON, str(error))

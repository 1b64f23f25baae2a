"""Sends timestamped JSON lines to Kafka: at the pace of their timestamps, faster, or as fast as possible."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from stream.domain.documents import (
    LONGEST_ID,
    LONGEST_SOURCE,
    UNKNOWN_SOURCE,
    Kind,
    document_key,
    shorten_name,
)
from stream.domain.errors import BrokerError, FeedError

FIELDS = ("id", "source", "published_at", "title", "text", "author", "url", "symbols", "lang")
# A larger number is in milliseconds since 1970, a smaller one in seconds (which reach this in the year 5138).
SMALLEST_MILLISECONDS = 1e11
MAX_ERROR_MESSAGES = 20


@dataclass(frozen=True)
class FeedOptions:
    """How rows become messages.

    `columns` maps the fields of a message to the column names of the file.  `speed` is how many times faster
    than their timestamps the rows are sent; None means as fast as possible.  `shift_to_now` replaces each
    timestamp with the time of sending.  `source` is the source of rows that have none.  `kind` is that of the
    topic to which they are sent.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    speed: float | None = None
    shift_to_now: bool = False
    source: str | None = None
    kind: Kind = Kind.NEWS


@dataclass
class FeedReport:
    """How many rows were sent and refused, and in how many seconds.

    `error_messages` explain the first `MAX_ERROR_MESSAGES` refused rows.
    """

    sent: int = 0
    refused_rows: int = 0
    error_messages: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def refuse(self, error_message: str) -> None:
        """Count a row that is not sent."""
        self.refused_rows += 1
        if len(self.error_messages) < MAX_ERROR_MESSAGES:
            self.error_messages.append(error_message)


def send_rows(
    lines: Iterable[bytes],
    name: str,
    topic: str,
    producer: KafkaProducer,
    options: FeedOptions,
    *,
    sleep: Callable[[float], object] = time.sleep,
    progress: Callable[[int], None] = lambda size: None,
) -> FeedReport:
    """Send every row of `lines` to `topic`, and wait until Kafka has acknowledged all of them.

    A row that cannot be read is skipped and reported under `name` and its line number.  `progress` gets the
    number of bytes after each line.  Raises BrokerError if a row is not acknowledged.
    """
    report, started, pace = FeedReport(), time.monotonic(), _Pace(options.speed, sleep)
    send_errors: list[BaseException] = []
    for number, line in enumerate(lines, 1):
        progress(len(line))
        if not line.strip():
            continue
        try:
            message, timestamp = to_message(line, options)
        except FeedError as error:
            report.refuse(f"{name}:{number}: {error}")
            continue
        pace.wait_for(timestamp)
        if options.shift_to_now:
            message["published_at"] = _rfc3339(datetime.now(UTC))
        key = _key(message, options.kind).encode()
        value = json.dumps(message, ensure_ascii=False).encode()
        try:
            producer.send(topic, key=key, value=value).add_errback(send_errors.append)
        except MessageSizeTooLargeError as error:
            report.refuse(f"{name}:{number}: {len(value)} bytes, more than Kafka takes: {error}")
            continue
        except KafkaError as error:
            raise BrokerError(f"{name}:{number}: cannot send to topic {topic}: {error}") from error
        report.sent += 1
    producer.flush()
    if send_errors:
        raise BrokerError(
            f"Kafka did not acknowledge {len(send_errors)} of {report.sent} rows; the first: {send_errors[0]}"
        )
    report.seconds = time.monotonic() - started
    return report


def to_message(line: bytes, options: FeedOptions) -> tuple[dict[str, Any], datetime]:
    """The message that a row becomes, and its timestamp.  Raises FeedError if the row cannot be sent."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FeedError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise FeedError(f"expected a JSON object, not {type(row).__name__}")
    message = {}
    for name in FIELDS:
        value = row.get(options.columns.get(name, name))
        if value is not None:
            message[name] = value
    if options.source is not None:
        message.setdefault("source", options.source)
    if "published_at" not in message:
        raise FeedError("no published_at: name its column with --map published_at=COLUMN")
    timestamp = parse_timestamp(message["published_at"])
    message["published_at"] = _rfc3339(timestamp)
    message["id"] = str(message.get("id") or content_id(message))
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FeedError(f"a lone surrogate, which cannot be encoded in UTF-8: {error}") from error
    return message, timestamp


def unknown_field_error(columns: Mapping[str, str]) -> str | None:
    """The error message for a field that messages do not have; None if there is no such field."""
    unknown = sorted(set(columns) - set(FIELDS))
    return f"--map: no field {unknown[0]!r}; allowed: {', '.join(FIELDS)}" if unknown else None


def parse_timestamp(value: object) -> datetime:
    """The aware UTC time of RFC 3339 text, or of seconds or milliseconds since 1970.  Raises FeedError."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > SMALLEST_MILLISECONDS else value, UTC)
        if isinstance(value, str):
            timestamp = datetime.fromisoformat(value)
            if timestamp.tzinfo is None:
                raise FeedError(f"published_at {value!r} has no time zone")
            return timestamp.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise FeedError(f"published_at {value!r} is not a valid time: {error}") from error
    raise FeedError(f"published_at {value!r} is neither RFC 3339 nor seconds or milliseconds since 1970")


def content_id(message: Mapping[str, Any]) -> str:
    """The id of a row that has none: a hash of its content, so that the same row always gets the same id."""
    parts = [str(message.get(name, "")) for name in ("source", "published_at", "title", "text", "url")]
    text = "\x1f".join(parts)
    if text.count("\x1f") >= len(parts):
        # A part holds the separator itself.  JSON escapes it, so this is no text of the other form.
        text = json.dumps(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _key(message: Mapping[str, Any], kind: Kind) -> str:
    """The key of the document that a message becomes."""
    source = shorten_name(str(message.get("source") or UNKNOWN_SOURCE), LONGEST_SOURCE)
    return document_key(kind, source, shorten_name(str(message["id"]), LONGEST_ID))


def _rfc3339(timestamp: datetime) -> str:
    return timestamp.isoformat().replace("+00:00", "Z")


class _Pace:
    """Waits before each row, so that time passes `speed` times faster than in the timestamps.

    A row with an earlier timestamp than the first is sent at once.
    """

    def __init__(self, speed: float | None, sleep: Callable[[float], object]) -> None:
        self._speed, self._sleep = speed, sleep
        self._first: tuple[datetime, float] | None = None

    def wait_for(self, timestamp: datetime) -> None:
        if self._speed is None:
            return
        if self._first is None:
            self._first = (timestamp, time.monotonic())
        first, started = self._first
        due = started + (timestamp - first).total_seconds() / self._speed
        wait = due - time.monotonic()
        if wait > 0:
            self._sleep(min(wait, threading.TIMEOUT_MAX))


def without_byte_order_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file, without the UTF-8 byte-order mark that may start the first."""
    for number, line in enumerate(lines):
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line

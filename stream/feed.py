"""Sends the rows of a file to Kafka: at the pace of their timestamps, faster, or as fast as possible.

A row becomes the message that the monitor reads, or is refused here: each one is decoded as the stream
decodes it before it is sent, so that what is counted as sent is no dead letter.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from stream.codec import Codec
from stream.domain import fields
from stream.domain.documents import Document, Kind
from stream.domain.errors import BrokerError, FeedError, InputFileError, Rejected
from stream.domain.files.file_times import TimeFormat, parse_time
from stream.domain.files.input_rows import InputRow
from stream.publication import UNKNOWN_TIMESTAMP

FIELDS = (
    *("id", "source", "published_at", "published_precision", "updated_at"),
    *("title", "text", "author", "url", "symbols", "lang"),
)
TEXT_FIELDS = ("title", "text")
# Columns that hold a text, and its time, in the files of vendors, in lower case.
TEXT_COLUMNS = frozenset({"headline", "body", "content", "summary", "description", "标题", "正文", "内容"})
TIME_COLUMNS = frozenset(
    {"ts", "time", "date", "datetime", "timestamp", "published", "publishedat", "pubdate", "pub_date"}
    | {"created", "created_at", "createdat", "when", "day", "时间", "日期", "发布时间"}
)
# How fields that hold more than a text are read.
READERS: Mapping[str, Callable[[object], Any]] = {
    "id": fields.read_id,
    "source": fields.read_source,
    "author": fields.read_author,
    "symbols": fields.read_symbols,
}
MAX_ERROR_MESSAGES = 20
MAX_COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class RowOptions:
    """How rows become documents.

    `columns` maps the fields of a message to the column names of the file.  `source` is the source of rows
    that have none.  `kind` is that of the topic to which they belong.  Without `expects_time`, a row may have
    its time in another column.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    kind: Kind = Kind.NEWS
    times: TimeFormat = field(default_factory=TimeFormat)
    expects_time: bool = True

    def text_columns(self) -> tuple[str, ...]:
        """The columns that hold the text."""
        return tuple(self.columns.get(name, name) for name in TEXT_FIELDS)


@dataclass(frozen=True)
class FeedOptions:
    """How rows are sent: `speed` is how many times faster than their timestamps; None: as fast as possible.

    `shift_to_now` replaces each timestamp with the time of sending.
    """

    rows: RowOptions = field(default_factory=RowOptions)
    speed: float | None = None
    shift_to_now: bool = False


@dataclass
class FeedReport:
    """How many rows were sent and refused, and in how many seconds.

    `error_messages` explain the first `MAX_ERROR_MESSAGES` refused rows.  `without_time` rows have no time,
    so they count from when Kafka receives them.  `shortened` counts, by field, what is cut or left out.
    """

    sent: int = 0
    refused_rows: int = 0
    error_messages: list[str] = field(default_factory=list)
    seconds: float = 0.0
    without_time: int = 0
    shortened: Counter[str] = field(default_factory=Counter)

    def refuse(self, error_message: str) -> None:
        """Count a row that is not sent."""
        self.refused_rows += 1
        if len(self.error_messages) < MAX_ERROR_MESSAGES:
            self.error_messages.append(error_message)

    def note(self, document: Document, *, has_time: bool) -> None:
        """Count what the stream will not have as the file has it."""
        self.without_time += not has_time
        if document.shortened:
            self.shortened.update(document.shortened)

    def notes(self) -> list[str]:
        """What a person should know about the rows that were sent, and about the refused ones not shown."""
        notes = []
        if hidden := self.refused_rows - len(self.error_messages):
            notes.append(f"refused rows that are not shown: {hidden}")
        if self.without_time:
            notes.append(
                f"rows without a time: {self.without_time}; they count from when Kafka received them"
            )
        for name, rows in sorted(self.shortened.items()):
            notes.append(f"rows with a {name} that is cut or left out: {rows}; docs/messages.md says when")
        return notes


def send_rows(
    rows: Iterable[InputRow],
    name: str,
    topic: str,
    producer: KafkaProducer,
    codec: Codec,
    options: FeedOptions,
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> FeedReport:
    """Send every row of the file `name` to `topic`, and wait until Kafka has acknowledged all of them.

    A row that `codec`, the stream's own, would refuse is skipped, and reported under `name` and its line.
    Raises BrokerError if a row is not acknowledged.
    """
    report, started, pace = FeedReport(), time.monotonic(), _Pace(options.speed, sleep)
    send_errors: list[BaseException] = []
    for row in _until_unreadable(rows, report):
        try:
            message, timestamp = to_message(row, options.rows)
            if timestamp is not None:
                pace.wait_for(timestamp)
            if options.shift_to_now:
                message["published_at"] = _rfc3339(datetime.now(UTC))
                message.pop("published_precision", None)
            value = msgspec.json.encode(message)
            now = datetime.now(UTC)
            document = _decode(value, codec, options.rows.kind, now, int(now.timestamp() * 1000))
            report.note(document, has_time="published_at" in message)
            producer.send(topic, key=document.key.encode(), value=value).add_errback(send_errors.append)
        except FeedError as error:
            report.refuse(f"{name}:{row.line}: {error}")
        except MessageSizeTooLargeError as error:
            report.refuse(f"{name}:{row.line}: {len(value)} bytes, more than Kafka takes: {error}")
        except KafkaError as error:
            raise BrokerError(f"{name}:{row.line}: cannot send to topic {topic}: {error}") from error
        else:
            report.sent += 1
    producer.flush()
    if send_errors:
        raise BrokerError(
            f"Kafka did not acknowledge {len(send_errors)} of {report.sent} rows; the first: {send_errors[0]}"
        )
    report.seconds = time.monotonic() - started
    return report


def _until_unreadable(rows: Iterable[InputRow], report: FeedReport) -> Iterator[InputRow]:
    """The rows; what a file is from the place on where it is damaged is refused.  Raises InputFileError for
    a file of which no row can be read.
    """
    try:
        yield from rows
    except InputFileError as error:
        if not report.sent:
            raise
        report.refuse(str(error))


def to_document(
    row: InputRow, codec: Codec, options: RowOptions, default_time: datetime | None = None
) -> Document:
    """The document that a row becomes, as the stream would read it.  Raises FeedError.

    A row without a time has the default one.  When it arrived nobody knows, so a time at midnight sharp is a
    date.
    """
    message, timestamp = to_message(row, options)
    if timestamp is None:
        if default_time is None:
            raise FeedError("no published_at: name its column with --map published_at=COLUMN")
        timestamp = default_time
        message["published_at"] = _rfc3339(timestamp)
    return _decode(msgspec.json.encode(message), codec, options.kind, timestamp)


def _decode(
    value: bytes, codec: Codec, kind: Kind, now: datetime, timestamp: int = UNKNOWN_TIMESTAMP
) -> Document:
    """The document that the stream would read from a message with this timestamp in Kafka.

    Raises FeedError with the reason of the dead letter.
    """
    try:
        return codec.decode(value, kind, now, timestamp)
    except Rejected as error:
        raise FeedError(str(error)) from error


def to_message(row: InputRow, options: RowOptions) -> tuple[dict[str, Any], datetime | None]:
    """The message that a row becomes, and its time if it has one.  Raises FeedError if it cannot be sent."""
    if row.fields is None:
        raise FeedError(row.error or "a plain text: write each row as a JSON object")
    message = {}
    for name in FIELDS:
        value = row.fields.get(options.columns.get(name, name))
        if value is not None and not fields.is_missing_in_table(value):
            message[name] = value
    if options.source is not None:
        message.setdefault("source", options.source)
    if not any(name in message for name in TEXT_FIELDS):
        raise FeedError(f"no title or text; {_where_texts_are(row.fields, options)}")
    timestamp = _read_times(message, row.fields, options)
    try:
        _normalize(message)
    except ValueError as error:
        raise FeedError(str(error)) from error
    if "id" not in message:
        message["id"] = content_id(message)
    return message, timestamp


def _where_texts_are(row: Mapping[str, Any], options: RowOptions) -> str:
    """What to do about a row without a text, by its columns."""
    for name, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"if the rows are the list in {name!r}: jq -c '.{name}[]' writes them as lines"
    names = ", ".join([str(name) for name in row][:MAX_COLUMNS_SHOWN]) or "no columns"
    column = next((name for name in row if name.casefold() in TEXT_COLUMNS), "COLUMN")
    time_column = _time_column(row) if "published_at" not in {*options.columns, *row} else None
    also = f",published_at={time_column}" if time_column else ""
    return f"the row has {names}: name the column with --map title={column}{also}"


def _read_times(message: dict[str, Any], row: Mapping[str, Any], options: RowOptions) -> datetime | None:
    """Write the times of a message as the stream reads them; returns `published_at`.  Raises FeedError."""
    published_at = None
    if "published_at" in message:
        value = message["published_at"]
        try:
            time_ = parse_time(value, options.times)
        except ValueError as error:
            raise FeedError(f"published_at {value!r}: {error}") from error
        published_at = time_.at
        message["published_at"] = _rfc3339(published_at)
        if time_.is_day:
            message["published_precision"] = "day"
    elif options.expects_time:
        _check_time_column(row, options.columns.get("published_at"))
    if "updated_at" in message:
        try:
            message["updated_at"] = _rfc3339(parse_time(message["updated_at"], options.times).at)
        except ValueError:
            # The stream leaves it out and counts it: it is no part of what makes a document.
            message["updated_at"] = str(message["updated_at"])
    return published_at


def _check_time_column(row: Mapping[str, Any], mapped: str | None) -> None:
    """Raise FeedError if the time of a row is likely to be in another column than the one that is read."""
    if mapped is not None:
        if mapped not in row:
            raise FeedError(f"no published_at: the row has no column {mapped!r}")
        return
    if "published_at" not in row and (column := _time_column(row)) is not None:
        raise FeedError(f"no published_at, but {column!r}: name the column with --map published_at={column}")


def _time_column(row: Mapping[str, Any]) -> str | None:
    """The column that is likely to hold the time of a row."""
    return next((name for name in row if name.casefold() in TIME_COLUMNS), None)


def _normalize(message: dict[str, Any]) -> None:
    """Write what vendors send as the contract has it.  Raises ValueError for what cannot be read."""
    for name, value in message.items():
        read = READERS.get(name)
        message[name] = read(value) if read else fields.read_text(value, name)


def unknown_field_error(columns: Mapping[str, str]) -> str | None:
    """The error message for a field that messages do not have; None if there is no such field."""
    unknown = sorted(set(columns) - set(FIELDS))
    return f"--map: no field {unknown[0]!r}; allowed: {', '.join(FIELDS)}" if unknown else None


def content_id(message: Mapping[str, Any]) -> str:
    """The id of a row that has none: a hash of its content, so that the same row always gets the same id."""
    parts = [str(message.get(name, "")) for name in ("source", "published_at", "title", "text", "url")]
    text = "\x1f".join(parts)
    if text.count("\x1f") >= len(parts):
        # A part holds the separator itself.  JSON escapes it, so this is no text of the other form.
        text = json.dumps(parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


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

"""Replaying stamped JSON lines into Kafka, at their own pace, faster, or as fast as it goes."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from stream.domain.errors import BrokerError, FeedError

FIELDS = ("id", "source", "published_at", "title", "text", "author", "url", "symbols", "lang")
# Numbers above this are milliseconds since 1970, below it seconds (which reach it in the year 5138).
MILLISECONDS = 1e11


@dataclass(frozen=True)
class FeedOptions:
    """How rows become messages.

    `columns` maps the contract's fields to the file's own names; `speed` is how many times faster
    than their stamps the rows are sent, None as fast as it goes; `shift_to_now` stamps each row with
    the time it is sent; `source` is for rows that name none.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    speed: float | None = None
    shift_to_now: bool = False
    source: str | None = None


@dataclass
class FeedReport:
    """What a replay did; `refused` are the first complaints about rows that were left out."""

    sent: int = 0
    refused_rows: int = 0
    refused: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def refuse(self, complaint: str) -> None:
        self.refused_rows += 1
        if len(self.refused) < 20:
            self.refused.append(complaint)


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
    """Send every row of `lines` to `topic`; `name` is for complaints, `progress` gets bytes read.

    A row that cannot be read is left out and reported; the rows around it are sent.  Returns when
    all are acknowledged.  Raises BrokerError where they are not.
    """
    report, started, pace = FeedReport(), time.monotonic(), _Pace(options.speed, sleep)
    failed: list[BaseException] = []
    for number, line in enumerate(lines, 1):
        progress(len(line))
        if not line.strip():
            continue
        try:
            message, stamp = to_message(line, options)
        except FeedError as error:
            report.refuse(f"{name}:{number}: {error}")
            continue
        pace.wait_for(stamp)
        if options.shift_to_now:
            message["published_at"] = _rfc3339(datetime.now(UTC))
        key = f"{message.get('source', '')}/{message['id']}".encode()
        value = json.dumps(message, ensure_ascii=False).encode()
        try:
            producer.send(topic, key=key, value=value).add_errback(failed.append)
        except KafkaError as error:
            raise BrokerError(f"{name}:{number}: not sent to {topic}: {error}") from error
        report.sent += 1
    producer.flush()
    if failed:
        raise BrokerError(f"{len(failed)} of {report.sent} rows were not taken by Kafka: {failed[0]}")
    report.seconds = time.monotonic() - started
    return report


def to_message(line: bytes, options: FeedOptions) -> tuple[dict[str, Any], datetime]:
    """One row as a message of the contract, and its stamp.  Raises FeedError."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FeedError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise FeedError(f"an object was expected, not {type(row).__name__}")
    message = {}
    for name in FIELDS:
        value = row.get(options.columns.get(name, name))
        if value is not None:
            message[name] = value
    if options.source is not None:
        message.setdefault("source", options.source)
    if "published_at" not in message:
        raise FeedError("no published_at; name its column with --map published_at=COLUMN")
    stamp = parse_stamp(message["published_at"])
    message["published_at"] = _rfc3339(stamp)
    message["id"] = str(message.get("id") or content_id(message))
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FeedError(f"a lone surrogate, which no UTF-8 can hold: {error}") from error
    return message, stamp


def unknown_field(columns: Mapping[str, str]) -> str | None:
    """A complaint about a field that a message does not have; None where all are known."""
    unknown = sorted(set(columns) - set(FIELDS))
    return f"--map: no field {unknown[0]!r}; allowed: {', '.join(FIELDS)}" if unknown else None


def parse_stamp(value: object) -> datetime:
    """RFC 3339 text, or seconds or milliseconds since 1970, as aware UTC.  Raises FeedError."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > MILLISECONDS else value, UTC)
        if isinstance(value, str):
            stamp = datetime.fromisoformat(value)
            if stamp.tzinfo is None:
                raise FeedError(f"published_at {value!r} has no time zone")
            return stamp.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise FeedError(f"published_at {value!r} is no time: {error}") from error
    raise FeedError(f"published_at {value!r} is neither RFC 3339 nor seconds since 1970")


def content_id(message: Mapping[str, Any]) -> str:
    """A feed without ids gets the hash of what the row says: the same row, the same id."""
    parts = [str(message.get(name, "")) for name in ("source", "published_at", "title", "text", "url")]
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _rfc3339(stamp: datetime) -> str:
    return stamp.isoformat().replace("+00:00", "Z")


class _Pace:
    """Waits so that stamps pass `speed` times faster than they did; a step back waits for nothing."""

    def __init__(self, speed: float | None, sleep: Callable[[float], object]) -> None:
        self._speed, self._sleep = speed, sleep
        self._first: tuple[datetime, float] | None = None

    def wait_for(self, stamp: datetime) -> None:
        if self._speed is None:
            return
        if self._first is None:
            self._first = (stamp, time.monotonic())
        first, started = self._first
        due = started + (stamp - first).total_seconds() / self._speed
        wait = due - time.monotonic()
        if wait > 0:
            self._sleep(min(wait, threading.TIMEOUT_MAX))


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of a binary stream, without a byte-order mark at the start."""
    for number, line in enumerate(chunks):
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line

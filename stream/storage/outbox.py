"""The outbox: messages are inserted by the transaction that decides to send them, and sent afterwards.

Each message is sent at least once.  After a crash between sending a message and deleting its row, it is sent
again, with the same key.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cramjam import DecompressionError, zstd
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Subquery,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from stream.domain.documents import EPOCH
from stream.domain.incidents import PageKind
from stream.domain.records import OutboundMessage
from stream.storage import schema
from stream.storage.database import reading, writing
from stream.storage.schema import UtcDateTime
from stream.storage.sql import database_now

# What precedes the topic in the target of messages for Kafka.
KAFKA_PREFIX = "kafka:"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # the first bytes of a zstd frame (RFC 8878)
MAX_ATTEMPTS_COUNTED = 30_000  # a SMALLINT column; retries continue beyond it
LONGEST_PAUSE = timedelta(minutes=5)
# A row written later than this from now is by a clock that was ahead, and so is the time it waits for.
CLOCK_SLACK = timedelta(minutes=1)
MAX_ERROR_CHARACTERS = 500
# The outcome of a page that an operator dropped.
DROPPED = "dropped"
# The outcome of a page that waited when somebody acknowledged its incident.
WITHDRAWN = "withdrawn"


class KafkaMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message for Kafka: its key, by which a consumer can drop a repeat, and its JSON value.

    `shortened` says that something was left out of it, for which the budget was too small.  `traceparent` is
    sent as a header.
    """

    key: str
    value: bytes
    shortened: bool = False
    traceparent: str | None = None


class LegacyMessage(msgspec.Struct, frozen=True):
    """A message for Kafka as an older version stored it in the outbox."""

    key: str
    value: msgspec.Raw


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """How many entries wait, since when one has been failing, and since when the oldest of those that may be
    sent has waited, attempted or not.  None: no entry does."""

    entries: int
    failing_since: datetime | None
    due_since: datetime | None


@dataclass(frozen=True, slots=True)
class TargetDepth:
    """What waits for one target: how many entries, since when the oldest, since when one has been failing and
    with what error, and since when the oldest of those that may be sent has waited."""

    target: str
    entries: int
    oldest: datetime
    failing_since: datetime | None
    due_since: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A row of the outbox that is due."""

    id: int
    target: str
    lane: str
    key: str | None
    body: bytes
    attempts: int
    created_at: datetime


def kafka_message(
    key: str, forms: Iterable[Mapping[str, Any]], max_bytes: int, traceparent: str | None = None
) -> KafkaMessage:
    """The first of the forms that is not above the budget, from the largest to the smallest; else the last.

    There must be at least one form.
    """
    for number, form in enumerate(forms):
        message = KafkaMessage(key, msgspec.json.encode(form), number > 0, traceparent)
        if len(message.value) <= max_bytes:
            break
    return message


def to_kafka(topic: str, messages: Sequence[KafkaMessage]) -> OutboundMessage:
    """One outbox message that holds several Kafka messages for one topic.

    It is compressed here, since PostgreSQL's compression of large values takes several times as long.
    """
    body = msgspec.msgpack.encode(messages)
    return OutboundMessage(KAFKA_PREFIX + topic, bytes(zstd.compress(body, level=1)))


def decode_messages(body: bytes) -> list[KafkaMessage]:
    """The Kafka messages in a body that `to_kafka` made.

    Rows of an older version are JSON, compressed with zlib or not at all.  Raises ValueError if the body is
    neither, such as one of a newer version.
    """
    try:
        if body.startswith(ZSTD_MAGIC):
            return msgspec.msgpack.decode(zstd.decompress(body), type=list[KafkaMessage])
        text = body if body.startswith(b"[") else zlib.decompress(body)
        messages = msgspec.json.decode(text, type=list[LegacyMessage])
    except (DecompressionError, zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"the body of the outbox row cannot be read: {error}") from error
    return [KafkaMessage(message.key, bytes(message.value)) for message in messages]


def enqueue(connection: Connection, messages: Sequence[OutboundMessage], now: datetime) -> None:
    """Insert messages into the outbox, within the transaction that decides to send them."""
    rows = [
        {
            "target": message.target,
            "lane": message.lane,
            "key": message.key,
            "body": message.body,
            "created_at": now,
            "attempts": 0,
            # What need not wait is due for every clock.
            "retry_at": message.not_before if message.not_before and message.not_before > now else EPOCH,
        }
        for message in messages
    ]
    if rows:
        connection.execute(insert(schema.outbox), rows)


def hasten(connection: Connection, message: OutboundMessage, now: datetime) -> None:
    """Let what waits for its time in the lane of a page wait no longer than the page: a lane keeps its order,
    and what is urgent waits for nothing that is not.  What failed waits for its retry."""
    table = schema.outbox
    same_lane = and_(table.c.target == message.target, table.c.lane == message.lane)
    due = message.not_before if message.not_before and message.not_before > now else EPOCH
    waits = and_(table.c.attempts == 0, table.c.retry_at > due)
    connection.execute(update(table).where(same_lane, waits).values(retry_at=due))


def withdraw_pages(connection: Connection, incident: str, now: datetime) -> None:
    """Send no page of an incident that still waits, but for the one that tells its end.

    A page that is on its way at this moment arrives, and its outcome says so.
    """
    pages, keys = schema.deliveries, _waiting_pages(connection, incident)
    connection.execute(delete(schema.outbox).where(schema.outbox.c.key.in_(keys)))
    waiting = and_(pages.c.key.in_(keys), pages.c.outcome.is_(None))
    connection.execute(update(pages).where(waiting).values(settled_at=now, outcome=WITHDRAWN))


def hold_pages(connection: Connection, incident: str, until: datetime) -> None:
    """Send no page of an incident that waits and was not tried yet before `until`."""
    table = schema.outbox
    held = and_(table.c.key.in_(_waiting_pages(connection, incident)), table.c.attempts == 0)
    connection.execute(update(table).where(held, table.c.retry_at < until).values(retry_at=until))


def _waiting_pages(connection: Connection, incident: str) -> list[str]:
    """The keys of the pages of an incident that wait for a receiver, but for that of its end."""
    pages, table = schema.deliveries, schema.pages
    waiting = select(pages.c.key).join(table, table.c.key == pages.c.key)
    waiting = waiting.where(pages.c.incident == incident, pages.c.outcome.is_(None))
    return list(connection.scalars(waiting.where(table.c.kind != PageKind.END)))


class Outbox:
    """The messages that wait to be sent; those of one target and lane are sent in order.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_due(self, targets: Sequence[str], now: datetime) -> bool:
        """Whether `due` would return anything."""
        with reading(self._engine) as connection:
            return connection.execute(_due_lanes(targets, now).limit(1)).first() is not None

    def due(self, targets: Sequence[str], now: datetime, limit: int) -> list[OutboxEntry]:
        """The oldest entries for these targets that may be sent now, at most `limit`.

        If the oldest entry of a lane waits for its time or its retry, the whole lane waits: order is kept.
        """
        table, lanes = schema.outbox, _due_lanes(targets, now).subquery()
        in_lane = and_(table.c.target == lanes.c.target, table.c.lane == lanes.c.lane)
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(*[table.c[name] for name in OutboxEntry.__slots__])
                .join(lanes, in_lane)
                .order_by(table.c.id)
                .limit(limit)
            )
            return [OutboxEntry(*row) for row in rows]

    def depth(self, targets: Sequence[str], now: datetime) -> OutboxDepth:
        """What waits for these targets together."""
        return total_depth([row for row in self.by_target(now) if row.target in targets])

    def by_target(self, now: datetime) -> list[TargetDepth]:
        """What waits for each target that anything waits for, configured or not, by name."""
        table, heads = schema.outbox, _lane_heads()
        columns = table.c
        counts = select(
            columns.target, func.count(), func.min(columns.created_at), func.min(columns.failing_since)
        )
        # An entry that failed has waited since its first attempt, another since it might be sent.
        since = case(
            (columns.failing_since.is_not(None), columns.failing_since),
            (columns.retry_at > columns.created_at, columns.retry_at),
            else_=columns.created_at,
        )
        oldest = select(columns.target, type_coerce(since, UtcDateTime), columns.last_error)
        due: dict[str, list[datetime]] = {}
        errors: dict[str, str] = {}
        with reading(self._engine) as connection:
            rows = connection.execute(counts.group_by(columns.target).order_by(columns.target)).all()
            for target, at, error in connection.execute(oldest.join(heads, columns.id == heads.c.id)):
                if at <= now:
                    due.setdefault(target, []).append(at)
                if error is not None:
                    errors.setdefault(target, error)
        return [
            TargetDepth(
                target, count, created, failing, min(due.get(target, []), default=None), errors.get(target)
            )
            for target, count, created, failing in rows
        ]

    def drop(self, target: str, now: datetime) -> int:
        """Delete every entry for a target, note the pages among them as dropped, and return how many."""
        pages = schema.deliveries
        with writing(self._engine) as connection:
            dropped = connection.execute(
                delete(schema.outbox).where(schema.outbox.c.target == target)
            ).rowcount
            waiting = (pages.c.target == target) & pages.c.outcome.is_(None)
            connection.execute(update(pages).where(waiting).values(settled_at=now, outcome=DROPPED))
        return int(dropped)

    def mark_done(self, entries: Sequence[OutboxEntry], outcome: str, now: datetime) -> None:
        """Delete entries that were sent or are refused for good, and note the outcome of pages."""
        pages = schema.deliveries
        with writing(self._engine) as connection:
            ids = [entry.id for entry in entries]
            connection.execute(delete(schema.outbox).where(schema.outbox.c.id.in_(ids)))
            for entry in entries:
                if entry.key is not None:
                    same_page = (pages.c.target == entry.target) & (pages.c.key == entry.key)
                    connection.execute(update(pages).where(same_page).values(settled_at=now, outcome=outcome))

    def waited(self, entry: OutboxEntry) -> timedelta:
        """How long ago a page was queued, by the database's clock, which wrote it too.

        Hosts' clocks may be wrong: by them a page could be given up at once, or never.
        """
        pages = schema.deliveries
        same_page = (pages.c.target == entry.target) & (pages.c.key == entry.key)
        with reading(self._engine) as connection:
            queued_at = connection.scalar(select(pages.c.queued_at).where(same_page))
            return database_now(connection) - (queued_at or entry.created_at)

    def mark_failed(self, entries: Sequence[OutboxEntry], error: str, now: datetime) -> None:
        """Note a failed attempt.  The pause before the next one doubles each time, up to LONGEST_PAUSE.

        Entries that were sent together wait for the same time, so that they go together again.
        """
        attempts = max(entry.attempts for entry in entries)
        pause = min(timedelta(seconds=2 ** min(attempts, 9)), LONGEST_PAUSE)
        table = schema.outbox
        with writing(self._engine) as connection:
            connection.execute(
                update(table)
                .where(table.c.id.in_([entry.id for entry in entries]))
                .values(
                    attempts=min(attempts + 1, MAX_ATTEMPTS_COUNTED),
                    retry_at=now + pause,
                    # One that lies in the future was written by a wrong clock.
                    failing_since=case((table.c.failing_since <= now, table.c.failing_since), else_=now),
                    last_error=error[:MAX_ERROR_CHARACTERS],
                )
            )


def total_depth(rows: Sequence[TargetDepth]) -> OutboxDepth:
    """What waits for all these targets together."""
    return OutboxDepth(
        sum(row.entries for row in rows),
        min((row.failing_since for row in rows if row.failing_since), default=None),
        min((row.due_since for row in rows if row.due_since), default=None),
    )


def _lane_heads(targets: Sequence[str] | None = None) -> Subquery:
    """The id of the oldest entry of each lane, of these targets or of all."""
    table = schema.outbox
    heads = select(func.min(table.c.id).label("id")).group_by(table.c.target, table.c.lane)
    return (heads if targets is None else heads.where(table.c.target.in_(targets))).subquery()


def _due_lanes(targets: Sequence[str], now: datetime) -> Select[Any]:
    """The lanes whose oldest entry may be sent now.

    A time to wait for that a wrong clock wrote is not waited for: a clock that was ahead, or was set back
    since, must not hold back what leaves.
    """
    table, heads = schema.outbox, _lane_heads(targets)
    may_be_sent = or_(
        table.c.retry_at <= now,
        table.c.created_at > now + CLOCK_SLACK,
        and_(table.c.attempts > 0, table.c.retry_at > now + LONGEST_PAUSE),
    )
    return select(table.c.target, table.c.lane).join(heads, table.c.id == heads.c.id).where(may_be_sent)

"""What leaves: queued in the transaction that decided it, sent from here at least once."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cramjam import zstd
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from stream.domain.records import OutboundMessage
from stream.storage import schema
from stream.storage.database import reading, writing

KAFKA = "kafka:"
# What its frames begin with (RFC 8878).
ZSTD = b"\x28\xb5\x2f\xfd"
MOST_ATTEMPTS = 30_000  # what the column holds; the waiting goes on
LONGEST_WAIT = timedelta(minutes=5)


class KafkaMessage(msgspec.Struct, frozen=True):
    """A message to send: its key, by which a reader drops a repeat, and its JSON value."""

    key: str
    value: bytes


class OldMessage(msgspec.Struct, frozen=True):
    """As an older monitor left it in the outbox."""

    key: str
    value: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Entry:
    """An outbox row that is due."""

    id: int
    target: str
    lane: str
    key: str | None
    body: bytes
    attempts: int
    created_at: datetime


def to_kafka(topic: str, messages: Sequence[tuple[str, dict[str, Any]]]) -> OutboundMessage:
    """An outbox entry that holds several messages, (key, value) each, for one topic.

    Compressed, since PostgreSQL's own compression of large values takes several times as long.
    """
    body = [KafkaMessage(key, msgspec.json.encode(value)) for key, value in messages]
    return OutboundMessage(KAFKA + topic, bytes(zstd.compress(msgspec.msgpack.encode(body), level=1)))


class Outbox:
    """The rows that wait to be sent, oldest first in each lane of a target."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_due(self, targets: Sequence[str], now: datetime) -> bool:
        """Whether `due` has anything."""
        with reading(self._engine) as connection:
            return connection.execute(_ready(targets, now).limit(1)).first() is not None

    def due(self, targets: Sequence[str], now: datetime, limit: int) -> list[Entry]:
        """The oldest entries of those of `targets` that may be tried now.

        A lane whose oldest entry waits, for its time or its retry, is left alone: order within it stays.
        """
        table, ready = schema.outbox, _ready(targets, now).subquery()
        in_lane = and_(table.c.target == ready.c.target, table.c.lane == ready.c.lane)
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(*[table.c[name] for name in Entry.__slots__])
                .join(ready, in_lane)
                .order_by(table.c.id)
                .limit(limit)
            )
            return [Entry(*row) for row in rows]

    def settled(self, entries: Sequence[Entry], outcome: str, now: datetime) -> None:
        """They were sent, or are refused for good, and wait no longer."""
        pages = schema.deliveries
        with writing(self._engine) as connection:
            ids = [entry.id for entry in entries]
            connection.execute(delete(schema.outbox).where(schema.outbox.c.id.in_(ids)))
            for entry in entries:
                if entry.key is not None:
                    found = (pages.c.target == entry.target) & (pages.c.key == entry.key)
                    connection.execute(update(pages).where(found).values(settled_at=now, outcome=outcome))

    def depth(self, targets: Sequence[str]) -> tuple[int, datetime | None]:
        """How many entries wait for these targets, and since when one of them has failed."""
        table = schema.outbox
        ours = select(func.count(), func.min(table.c.failing_since)).where(table.c.target.in_(targets))
        with reading(self._engine) as connection:
            waiting, failing = connection.execute(ours).one()
            return int(waiting), failing

    def failed(self, entry: Entry, error: str, now: datetime) -> None:
        """Note the failure; the next try comes ever later, up to five minutes."""
        wait = min(timedelta(seconds=2 ** min(entry.attempts, 9)), LONGEST_WAIT)
        table = schema.outbox
        with writing(self._engine) as connection:
            connection.execute(
                update(table)
                .where(table.c.id == entry.id)
                .values(
                    attempts=min(entry.attempts + 1, MOST_ATTEMPTS),
                    retry_at=now + wait,
                    failing_since=func.coalesce(table.c.failing_since, now),
                    last_error=error[:500],
                )
            )


def _ready(targets: Sequence[str], now: datetime) -> Select[Any]:
    """The lanes whose oldest entry may be tried."""
    table = schema.outbox
    oldest = (
        select(func.min(table.c.id).label("id"))
        .where(table.c.target.in_(targets))
        .group_by(table.c.target, table.c.lane)
        .subquery()
    )
    return (
        select(table.c.target, table.c.lane)
        .join(oldest, table.c.id == oldest.c.id)
        .where(table.c.retry_at <= now)
    )


def decode_messages(body: bytes) -> list[KafkaMessage]:
    """What `to_kafka` put into it; a row that an older monitor left is JSON, by zlib or as it stands."""
    if body.startswith(ZSTD):
        return msgspec.msgpack.decode(zstd.decompress(body), type=list[KafkaMessage])
    left = msgspec.json.decode(
        body if body.startswith(b"[") else zlib.decompress(body), type=list[OldMessage]
    )
    return [KafkaMessage(message.key, bytes(message.value)) for message in left]


def put_outbox(connection: Connection, outgoing: Sequence[OutboundMessage], now: datetime) -> None:
    """Queue what leaves in the transaction that decided it."""
    rows = [
        {
            "target": item.target, "lane": item.lane, "key": item.key, "body": item.body,
            "created_at": now, "attempts": 0, "retry_at": item.not_before or now,
        }
        for item in outgoing
    ]  # fmt: skip
    if rows:
        connection.execute(insert(schema.outbox), rows)

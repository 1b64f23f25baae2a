"""What leaves: queued in the transaction that decided it, sent from here at least once."""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cramjam import zstd
from sqlalchemy import Select, and_, delete, func, select, update

from stream import schema
from stream.database import reading, writing
from stream.nouns import Prediction
from stream.settings import KafkaSettings
from stream.store import DeadLetter, Judged, Outgoing, Store

KAFKA = "kafka:"
# What its frames begin with (RFC 8878).
ZSTD = b"\x28\xb5\x2f\xfd"
PAYLOAD_BYTES = 100_000
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


@dataclass(frozen=True)
class BatchOutbound:
    """What a written batch sends out: its predictions and its dead letters, one entry each."""

    kafka: KafkaSettings
    publish_predictions: bool = True

    def __call__(self, new: Sequence[Judged], dead: Sequence[DeadLetter]) -> list[Outgoing]:
        outgoing = []
        if new and self.publish_predictions:
            messages = [(f"{i.document.source}/{i.document.id}", prediction_message(i)) for i in new]
            outgoing.append(to_kafka(self.kafka.predictions, messages))
        if dead:
            messages = [(str(letter.place), dead_letter_message(letter)) for letter in dead]
            outgoing.append(to_kafka(self.kafka.dead_letters, messages))
        return outgoing


def to_kafka(topic: str, messages: Sequence[tuple[str, dict[str, Any]]]) -> Outgoing:
    """An outbox entry that holds several messages, (key, value) each, for one topic.

    Compressed, since PostgreSQL's own compression of large values takes several times as long.
    """
    body = [KafkaMessage(key, msgspec.json.encode(value)) for key, value in messages]
    return Outgoing(KAFKA + topic, bytes(zstd.compress(msgspec.msgpack.encode(body), level=1)))


def prediction_message(item: Judged) -> dict[str, Any]:
    """The value of a message on the predictions topic."""
    document = item.document
    return {
        "id": document.id,
        "source": document.source,
        "kind": document.kind.value,
        "published_at": document.published_at,
        "symbols": document.symbols,
        **prediction_fields(item.prediction),
    }


def prediction_fields(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON shows it, on Kafka and on the command line."""
    return {
        "lang": prediction.lang,
        "topic": _label(prediction, "topic", prediction.topic),
        "sentiment": _label(prediction, "sentiment", prediction.sentiment),
        "score": prediction.score,
        "probabilities": prediction.probabilities,
        "evidence": prediction.evidence,
        "status": prediction.status,
        "certain": prediction.certain,
        "windows": prediction.windows,
        "model": prediction.model,
    }


def _label(prediction: Prediction, task: str, label: str | None) -> dict[str, Any] | None:
    if label is None:
        return None
    return {"label": label, "probability": prediction.probabilities[task][label]}


def dead_letter_message(letter: DeadLetter) -> dict[str, Any]:
    """The value of a message on the dead-letters topic: `payload` or, for no UTF-8, `payload_base64`."""
    value = letter.place.value or b""
    message: dict[str, Any] = {
        "topic": letter.place.partition.topic,
        "partition": letter.place.partition.number,
        "offset": letter.place.offset,
        "item": letter.place.item,
        "reason": letter.reason,
        "detail": letter.detail,
        "payload_bytes": len(value),
        "payload_complete": len(value) <= PAYLOAD_BYTES,
    }
    try:
        text = value[:PAYLOAD_BYTES].decode("utf-8", "strict" if message["payload_complete"] else "ignore")
        return message | {"payload": text}
    except UnicodeDecodeError:
        return message | {"payload_base64": base64.b64encode(value[:PAYLOAD_BYTES]).decode()}


class Outbox:
    """The rows that wait to be sent, oldest first in each lane of a target."""

    def __init__(self, store: Store) -> None:
        self._engine = store.engine

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

"""Computes what the database must hold after a stream of messages, with a plain loop.

`generate_messages` draws messages from a seed: documents, copies of them on other partitions, timestamps out of
order, late and from other days, and invalid messages. `Reference` reads them one by one. `read_database` returns the
database in the same form, so that the two can be compared for equality.
"""

import json
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from sqlalchemy import create_engine, select

from monitor.bench.stand_in import StandIn
from stream.codec import Codec
from stream.domain.documents import SCORE_SCALE, SENTIMENTS, Document, Kind
from stream.domain.errors import DeadLetterReason, Rejected
from stream.domain.sums import SUM_FIELDS, window_start
from stream.storage import schema

MINUTE = timedelta(minutes=1)
SEND_SECONDS = 60.0
# Larger than any batch that the monitor unpacks.
BOMB_BYTES, BOMB_REASON = 150_000_000, DeadLetterReason.BATCH_TOO_LARGE
WORDS = [
    "shares",
    "profit",
    "bank",
    "falls",
    "rises",
    "oil",
    "gold",
    "rate",
    "cut",
    "deal",
    "股价",
    "大跌",
    "loss",
    "fund",
    "bond",
    "chip",
]
SOURCES = ("wire", "ticker", "board/one", "板")
# The classifier of `tests.faults.worker` always fails on texts with this mark; their dead letters have this reason.
POISON, INFERENCE_REASON = "\N{RADIOACTIVE SIGN}", DeadLetterReason.INFERENCE
# (reason, value): invalid messages. Each must become one dead letter.
BAD: tuple[tuple[str, bytes | None], ...] = (
    ("empty", b""),
    ("not_utf8", b'{"id": "\xff"}'),
    ("not_json", b'{"id": "1", '),
    ("not_json", b"\x00\x00\x00\x00\x07\x02\x31"),
    ("not_an_object", b"[1, 2]"),
    ("missing_field", b'{"text": "no id", "published_at": "2026-01-01T00:00:00Z"}'),
    ("invalid_field", b'{"id": 1.7, "text": "x", "published_at": "2026-01-01T00:00:00Z"}'),
    ("invalid_time", b'{"id": "1", "text": "x", "published_at": "2026-01-01 09:30"}'),
    ("far_future", b'{"id": "1", "text": "x", "published_at": "2090-01-01T00:00:00Z"}'),
    ("no_text", b'{"id": "1", "title": " ", "published_at": "2026-01-01T00:00:00Z"}'),
    (
        "forged_heartbeat",
        b'{"id": "1", "source": "monitor-heartbeat", "text": "-", "published_at": "2026-01-01T00:00:00Z"}',
    ),
    ("nul", b'{"id": "1\\u0000", "text": "ab", "published_at": "2026-01-01T00:00:00Z"}'),
)


class Delivery(StrEnum):
    """How a message is sent."""

    PLAIN = "plain"
    ABORTED = "aborted"  # in a transaction that is aborted: no reader may see it
    BOMB = "bomb"  # BOMB_BYTES of zeros that zstd makes small


@dataclass(frozen=True, slots=True)
class InputMessage:
    """A message to send. `reason` is set if it must become a dead letter. Without a value it is a tombstone."""

    kind: Kind
    partition: int
    value: bytes | None
    reason: str | None = None
    delivery: Delivery = Delivery.PLAIN


@dataclass
class Contents:
    """The contents of a database: documents by identity, aggregates by window, topic and kind, dead letters by
    position, and the next offset of each partition."""

    documents: dict[str, Any] = field(default_factory=dict)
    aggregates: dict[tuple[datetime, str, str], tuple[int, ...]] = field(default_factory=dict)
    dead: dict[tuple[str, int, int], str] = field(default_factory=dict)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    def differences(self, other: "Contents") -> dict[str, int]:
        """How many entries of each table are missing in `other`, are only there, or differ."""
        counts: Counter[str] = Counter()
        for name in ("documents", "aggregates", "dead", "offsets"):
            mine, theirs = getattr(self, name), getattr(other, name)
            counts[f"{name} lost"] = len(mine.keys() - theirs.keys())
            counts[f"{name} extra"] = len(theirs.keys() - mine.keys())
            counts[f"{name} differ"] = sum(mine[key] != theirs[key] for key in mine.keys() & theirs.keys())
        return {name: n for name, n in counts.items() if n}


def generate_messages(seed: int, documents: int, partitions: int, now: datetime) -> list[InputMessage]:
    """About `documents` documents in sending order, with copies and invalid messages among them."""
    draw, messages = random.Random(seed), list[InputMessage]()
    for number in range(documents):
        kind = draw.choice(list(Kind))
        document = _document(draw, seed, number, now)
        reason = INFERENCE_REASON if POISON in str(document) else None
        value = json.dumps(document, ensure_ascii=draw.random() < 0.5).encode()
        copies = 3 if draw.random() < 0.1 else 1
        messages += [InputMessage(kind, draw.randrange(partitions), value, reason) for _ in range(copies)]
        if messages and draw.random() < 0.05:  # an old message is sent a second time
            old = draw.choice(messages)
            # On the topic of the other kind it is another document.
            kind = draw.choice(list(Kind))
            messages.append(InputMessage(kind, draw.randrange(partitions), old.value, old.reason))
        if draw.random() < 0.04:
            bad_reason, bad = draw.choice(BAD)
            messages.append(
                InputMessage(draw.choice(list(Kind)), draw.randrange(partitions), bad, bad_reason)
            )
    return messages


def _document(draw: random.Random, seed: int, number: int, now: datetime) -> dict[str, Any]:
    """Most timestamps are recent and out of order; some are a day old or a few minutes in the future."""
    age = draw.choice(
        [draw.uniform(0, 600), draw.uniform(0, 3600), draw.uniform(0, 86_400), draw.uniform(-240, 0)]
    )
    text = " ".join(draw.choices(WORDS, k=draw.randrange(1, 40)))
    if draw.random() < 0.05:
        text = "12 % — 3.4 …"  # no letters: counts as unsupported
    elif draw.random() < 0.02:
        text += f" {POISON}"
    message: dict[str, Any] = {
        "id": f"{seed}-{number}",
        "source": draw.choice(SOURCES),
        "published_at": (now - timedelta(seconds=age)).isoformat(),
        draw.choice(["title", "text"]): f"{text} {number}" if any(map(str.isalpha, text)) else text,
    }
    if draw.random() < 0.3:
        message |= {"author": f"author {draw.randrange(9)}", "symbols": ["ABC"], "unknown": {"x": [1]}}
    return message


class Reference:
    """Processes messages one by one, without failures.

    With `brief` it keeps only a hash of each document, for runs with millions of them.
    """

    def __init__(
        self, topics: Mapping[Kind, str], *, brief: bool = False, future: timedelta = 5 * MINUTE
    ) -> None:
        self._topics, self._summarize = topics, hash if brief else tuple
        self._contents, self._classifier = Contents(), StandIn()
        self._codec = Codec(future, 1_000_000)

    def read(
        self, messages: Sequence[InputMessage], now: datetime, offsets: Sequence[int] | None = None
    ) -> Contents:
        """What the database must hold after these messages and all earlier ones.

        `offsets` are those at which Kafka holds the messages; without them, the messages are all that it holds.
        """
        contents = self._contents
        for index, message in enumerate(messages):
            partition = (self._topics[message.kind], message.partition)
            offset = contents.offsets.get(partition, 0) if offsets is None else offsets[index]
            if message.delivery is Delivery.ABORTED:
                continue
            contents.offsets[partition] = offset + 1
            if message.value is None and message.reason is None:
                continue
            try:
                if message.delivery is Delivery.BOMB:
                    raise Rejected(BOMB_REASON, "beyond every limit")
                document = self._codec.decode(message.value, message.kind, now)
                if POISON in document.content:
                    raise Rejected(INFERENCE_REASON, "the classifier always fails on this text")
            except Rejected as error:
                assert error.reason == message.reason, (error.reason, str(message)[:300])
                contents.dead[(*partition, offset)] = error.reason
                continue
            assert message.reason is None, str(message)[:300]
            self._count(document)
        return contents

    def _count(self, document: Document) -> None:
        (prediction,) = self._classifier.classify([document.text_input])
        score = None if prediction.score is None else round(prediction.score * SCORE_SCALE)
        identity = document.key
        if identity in self._contents.documents:
            return
        values = (
            document.kind.value,
            document.published_at,
            document.title,
            document.text,
            document.author,
            prediction.status,
            prediction.topic,
            prediction.counted_sentiment,
            score,
        )
        self._contents.documents[identity] = self._summarize(values)
        if prediction.topic is not None and score is not None:
            key = (window_start(document.published_at, MINUTE), prediction.topic, document.kind.value)
            label_counts = [int(prediction.counted_sentiment == name) for name in (*SENTIMENTS, None)]
            add_sums(self._contents.aggregates, key, (1, *label_counts, score, score * score))


def add_sums(
    sums: dict[tuple[datetime, str, str], tuple[int, ...]],
    key: tuple[datetime, str, str],
    amounts: tuple[int, ...],
) -> None:
    sums[key] = tuple(map(int.__add__, sums.get(key, (0,) * len(amounts)), amounts))


def read_database(url: str, *, brief: bool = False) -> Contents:
    """What the database holds now. Aggregates are summed over partitions."""
    contents, engine, summarize = Contents(), create_engine(url), hash if brief else tuple
    documents, sums = schema.documents.c, schema.aggregates.c
    columns = (
        documents.kind,
        documents.published_at,
        documents.title,
        documents.text,
        documents.author,
        documents.status,
        documents.topic,
        documents.sentiment,
        documents.score,
    )
    with engine.connect().execution_options(yield_per=1000) as connection:
        for row in connection.execute(select(documents.key, *columns)):
            contents.documents[row.key] = summarize(tuple(row[1:]))
        for row in connection.execute(
            select(sums.window_start, sums.topic, sums.kind, *(sums[name] for name in SUM_FIELDS))
        ):
            add_sums(contents.aggregates, tuple(row[:3]), tuple(row[3:]))
        for row in connection.execute(select(schema.dead_letters)):
            contents.dead[row.kafka_topic, row.kafka_partition, row.kafka_offset] = row.reason
    engine.dispose()
    contents.offsets = read_offsets(url)
    return contents


def read_offsets(url: str) -> dict[tuple[str, int], int]:
    """The next offset of each (topic, partition) in the database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = list(connection.execute(select(schema.offsets)))
    engine.dispose()
    return {(row.kafka_topic, row.kafka_partition): row.next_offset for row in rows if row.next_offset}


def send(messages: Sequence[InputMessage], topics: Mapping[Kind, str], bootstrap: str) -> list[int]:
    """Send the messages to Kafka in order, each to its partition. Returns their offsets."""
    offsets = list[int]()
    for delivery, group in groupby(messages, lambda message: message.delivery):
        offsets += _send_group(list(group), delivery, topics, bootstrap)
    return offsets


def _send_group(
    messages: Sequence[InputMessage], delivery: Delivery, topics: Mapping[Kind, str], bootstrap: str
) -> list[int]:
    from confluent_kafka import KafkaError, Message, Producer

    offsets: dict[int, int] = {}
    config = {"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5, "log_level": 2}
    config["message.max.bytes"] = 12_000_000
    if delivery is Delivery.ABORTED:
        config |= {"transactional.id": str(uuid.uuid4())}
    elif delivery is Delivery.BOMB:
        config |= {"compression.type": "zstd", "message.max.bytes": 2 * BOMB_BYTES, "linger.ms": 0}
    producer = Producer(config)
    if delivery is Delivery.ABORTED:
        producer.init_transactions(SEND_SECONDS)
        producer.begin_transaction()
    for index, message in enumerate(messages):

        def delivered(error: KafkaError | None, sent: Message, index: int = index) -> None:
            assert error is None, error
            offset = sent.offset()
            assert offset is not None
            offsets[index] = offset

        value = bytes(BOMB_BYTES) if delivery is Delivery.BOMB else message.value
        producer.produce(
            topics[message.kind],
            value=value,
            key=b"k",
            partition=message.partition,
            on_delivery=delivered,
        )
        producer.poll(0)
        if delivery is Delivery.BOMB:
            producer.flush(SEND_SECONDS)
    producer.flush(SEND_SECONDS)
    if delivery is Delivery.ABORTED:
        producer.abort_transaction(SEND_SECONDS)
    return [offsets[index] for index in range(len(messages))]

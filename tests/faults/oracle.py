"""What SQL must hold after a stream of documents, worked out by a plain loop over its messages.

`stream` draws the messages from a seed: documents and copies of them on other partitions, stamps out of order,
late and from other days, and messages that no reader can use.  `Reference` reads them one by one.  `stored` reads
SQL in the same form, so that the two can be compared for exact equality.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import create_engine, select

from monitor.bench.stand_in import StandIn
from stream.codec import Codec
from stream.domain.documents import SCORE_SCALE, SENTIMENTS, Document, Kind
from stream.domain.errors import Rejected
from stream.domain.sums import SUM_FIELDS, window_start
from stream.storage import schema

MINUTE = timedelta(minutes=1)
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
# In texts that the classifier of `tests.faults.worker` can never judge; their dead letters' reason.
MARK, INFERENCE = "\N{RADIOACTIVE SIGN}", "inference"
# (reason, value) of messages that must each become one dead letter.
BAD: tuple[tuple[str, bytes | None], ...] = (
    ("empty", b""),
    ("empty", None),
    ("not_utf8", b'{"id": "\xff"}'),
    ("not_json", b'{"id": "1", '),
    ("not_json", b'{"id": "\\ud800", "text": "x", "published_at": "2026-01-01T00:00:00Z"}'),
    ("not_an_object", b"[1, 2]"),
    ("missing_field", b'{"id": "1", "text": "no stamp"}'),
    ("invalid_field", b'{"id": 17, "text": "x", "published_at": "2026-01-01T00:00:00Z"}'),
    ("invalid_time", b'{"id": "1", "text": "x", "published_at": "2026-01-01"}'),
    ("far_future", b'{"id": "1", "text": "x", "published_at": "2090-01-01T00:00:00Z"}'),
    ("no_text", b'{"id": "1", "title": " ", "published_at": "2026-01-01T00:00:00Z"}'),
    ("nul", b'{"id": "1", "text": "a\\u0000b", "published_at": "2026-01-01T00:00:00Z"}'),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it is sent; `reason` where it must become a dead letter."""

    kind: Kind
    partition: int
    value: bytes | None
    reason: str | None = None


@dataclass
class Held:
    """What SQL holds: documents by identity, aggregates by window, topic and kind, dead letters by place, and
    the next offset of each partition."""

    documents: dict[tuple[str, str], Any] = field(default_factory=dict)
    aggregates: dict[tuple[datetime, str, str], tuple[int, ...]] = field(default_factory=dict)
    dead: dict[tuple[str, int, int], str] = field(default_factory=dict)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    def differences(self, other: "Held") -> dict[str, int]:
        """How many entries of each sort are missing in `other`, too many there, or not the same."""
        found: Counter[str] = Counter()
        for name in ("documents", "aggregates", "dead", "offsets"):
            mine, theirs = getattr(self, name), getattr(other, name)
            found[f"{name} lost"] = len(mine.keys() - theirs.keys())
            found[f"{name} extra"] = len(theirs.keys() - mine.keys())
            found[f"{name} differ"] = sum(mine[key] != theirs[key] for key in mine.keys() & theirs.keys())
        return {name: n for name, n in found.items() if n}


def stream(seed: int, documents: int, partitions: int, now: datetime) -> list[Sent]:
    """About `documents` documents in the order in which they are sent, with copies and bad messages between."""
    draw, sent = random.Random(seed), list[Sent]()
    for number in range(documents):
        kind = draw.choice(list(Kind))
        document = _document(draw, seed, number, now)
        reason = INFERENCE if MARK in str(document) else None
        value = json.dumps(document, ensure_ascii=draw.random() < 0.5).encode()
        copies = 3 if draw.random() < 0.1 else 1
        sent += [Sent(kind, draw.randrange(partitions), value, reason) for _ in range(copies)]
        if sent and draw.random() < 0.05:  # one of long ago comes again
            old = draw.choice(sent)
            sent.append(Sent(old.kind, draw.randrange(partitions), old.value, old.reason))
        if draw.random() < 0.04:
            reason, bad = draw.choice(BAD)
            sent.append(Sent(draw.choice(list(Kind)), draw.randrange(partitions), bad, reason))
    return sent


def _document(draw: random.Random, seed: int, number: int, now: datetime) -> dict[str, Any]:
    """Most were published lately, in no order; some a day ago or a few minutes ahead."""
    age = draw.choice(
        [draw.uniform(0, 600), draw.uniform(0, 3600), draw.uniform(0, 86_400), draw.uniform(-240, 0)]
    )
    text = " ".join(draw.choices(WORDS, k=draw.randrange(1, 40)))
    if draw.random() < 0.05:
        text = "12 % — 3.4 …"  # no letters: counts as unsupported
    elif draw.random() < 0.02:
        text += f" {MARK}"
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
    """Reads the messages one by one, as if nothing ever failed.

    `brief` keeps of a document only a hash, for millions of them.
    """

    def __init__(
        self, topics: Mapping[Kind, str], *, brief: bool = False, future: timedelta = 5 * MINUTE
    ) -> None:
        self._topics, self._keep = topics, hash if brief else tuple
        self._held, self._classifier = Held(), StandIn()
        self._codec = Codec(future, 1_000_000)

    def read(self, messages: Iterable[Sent], now: datetime) -> Held:
        """What SQL must hold after these and all before them."""
        held = self._held
        for message in messages:
            place = (self._topics[message.kind], message.partition)
            offset = held.offsets.get(place, 0)
            held.offsets[place] = offset + 1
            try:
                document = self._codec.decode(message.value, message.kind, now)
                if MARK in document.content:
                    raise Rejected(INFERENCE, "the classifier never takes it")
            except Rejected as error:
                assert error.reason == message.reason, (error.reason, message)
                held.dead[(*place, offset)] = error.reason
                continue
            assert message.reason is None, message
            self._count(document)
        return held

    def _count(self, document: Document) -> None:
        (said,) = self._classifier.classify([document.content], [document.lang])
        score = None if said.score is None else round(said.score * SCORE_SCALE)
        identity = (document.source, document.id)
        if identity in self._held.documents:
            return
        self._held.documents[identity] = self._keep((
            document.kind.value, document.published_at, document.title, document.text, document.author,
            said.status, said.topic, said.counted_sentiment, score,
        ))  # fmt: skip
        if said.topic is not None and score is not None:
            key = (window_start(document.published_at, MINUTE), said.topic, document.kind.value)
            moods = [int(said.counted_sentiment == name) for name in (*SENTIMENTS, None)]
            add(self._held.aggregates, key, (1, *moods, score, score * score))


def add(
    sums: dict[tuple[datetime, str, str], tuple[int, ...]],
    key: tuple[datetime, str, str],
    amounts: tuple[int, ...],
) -> None:
    sums[key] = tuple(map(int.__add__, sums.get(key, (0,) * len(amounts)), amounts))


def stored(url: str, *, brief: bool = False) -> Held:
    """What SQL holds now; partitions are added up, and a document's place is any of its copies'."""
    held, engine, keep = Held(), create_engine(url), hash if brief else tuple
    documents, sums = schema.documents.c, schema.aggregates.c
    kept = (
        documents.kind, documents.published_at, documents.title, documents.text, documents.author,
        documents.status, documents.topic, documents.sentiment, documents.score,
    )  # fmt: skip
    with engine.connect().execution_options(yield_per=1000) as connection:
        for row in connection.execute(select(documents.source, documents.id, *kept)):
            held.documents[row.source, row.id] = keep(tuple(row[2:]))
        for row in connection.execute(
            select(sums.window_start, sums.topic, sums.kind, *(sums[name] for name in SUM_FIELDS))
        ):
            add(held.aggregates, tuple(row[:3]), tuple(row[3:]))
        for row in connection.execute(select(schema.dead_letters)):
            held.dead[row.kafka_topic, row.kafka_partition, row.kafka_offset] = row.reason
    engine.dispose()
    held.offsets = offsets(url)
    return held


def offsets(url: str) -> dict[tuple[str, int], int]:
    """How far SQL says each partition was read."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = list(connection.execute(select(schema.offsets)))
    engine.dispose()
    return {(row.kafka_topic, row.kafka_partition): row.next_offset for row in rows if row.next_offset}


def send(messages: Sequence[Sent], topics: Mapping[Kind, str], bootstrap: str) -> None:
    """To Kafka, each to its own partition, in their order."""
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=5, acks="all", max_request_size=12_000_000
    )
    for message in messages:
        producer.send(topics[message.kind], value=message.value, partition=message.partition, key=b"k")
    producer.flush()
    producer.close()

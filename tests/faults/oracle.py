"""Computes what the database must hold after a stream of messages, with a plain loop.

`generate_messages` draws messages from a seed: documents, copies of them on other partitions, timestamps out of
order, late and from other days, and invalid messages. `Reference` reads them one by one. `tests.faults.contents` reads
the database in the same form, so that the two can be compared for equality.

Which list of entities (gazetteer) links a document that is read while the list changes depends on the moment. The
reference knows which versions are possible, and takes the one that is stored if it is one of them: the entities must
then be exactly those of that version.
"""

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from stream.codec import Codec
from stream.domain.documents import SCORE_SCALE, SENTIMENTS, Document, Kind
from stream.domain.errors import DeadLetterReason, Rejected
from stream.domain.sums import window_start
from stream.storage.schema import ROLLUP_WIDTHS
from tests.faults.classifiers import GAZETTEER, MODEL, POISON, classify
from tests.faults.contents import Contents, add_sums

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
# The reason of dead letters of texts with POISON.
INFERENCE_REASON = DeadLetterReason.INFERENCE
# The width of a band of relevance; the last one goes up to 100.
BAND, HIGHEST_BAND = 20, 80
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


@dataclass(frozen=True, slots=True)
class Counted:
    """A document as it is counted now, and the versions of the gazetteer that may have linked it."""

    document: Document
    model: str
    gazetteer: str
    possible: frozenset[str]
    # It is stored: a copy that is read later is not linked.
    is_stored: bool = False


class Reference:
    """Processes messages one by one, without failures.

    With `brief` it keeps only a hash of each document, for runs with millions of them; these have no corrected
    stories. `gazetteers` are the versions that may link what is read now.
    """

    def __init__(
        self, topics: Mapping[Kind, str], *, brief: bool = False, future: timedelta = 5 * MINUTE
    ) -> None:
        self._topics, self._brief = topics, brief
        self._contents, self._counted = Contents(), dict[str, Counted]()
        self._codec = Codec(future, 1_000_000)
        self.gazetteers = frozenset({GAZETTEER})

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

    def change_gazetteer(self, stored: Contents, version: str) -> None:
        """The list of entities changes: what is not `stored` may be linked by either version, or has been."""
        self._note_stored(stored)
        for key, counted in self._counted.items():
            if not counted.is_stored:
                self._counted[key] = replace(counted, possible=counted.possible | {version})
        self.gazetteers = frozenset({version})

    def _note_stored(self, stored: Contents) -> None:
        """The documents that are stored keep the gazetteer that has linked them, whatever comes later."""
        for key, (gazetteer, updated_at) in stored.linked.items():
            counted = self._counted.get(key)
            if counted and gazetteer in counted.possible and counted.document.updated_at == updated_at:
                possible = frozenset({gazetteer})
                self._replace(key, replace(counted, gazetteer=gazetteer, possible=possible, is_stored=True))

    def rewrite(self, gazetteer: str, model: str | None = None) -> None:
        """All documents are linked, and with a model classified, again."""
        for key, counted in list(self._counted.items()):
            possible = frozenset({gazetteer})
            values = replace(counted, model=model or counted.model, gazetteer=gazetteer, possible=possible)
            self._replace(key, values)

    def _count(self, document: Document) -> None:
        key = document.key
        new = Counted(document, MODEL, min(self.gazetteers), self.gazetteers)
        if self._brief:
            if key not in self._contents.documents:
                self._add(new, 1)
            return
        counted = self._counted.get(key)
        if counted is None or _is_newer(document, counted.document):
            self._replace(key, new)
        elif not counted.is_stored and document == counted.document:
            self._counted[key] = replace(counted, possible=counted.possible | self.gazetteers)

    def _replace(self, key: str, counted: Counted) -> None:
        if before := self._counted.get(key):
            self._add(before, -1)
        self._counted[key] = counted
        self._add(counted, 1)

    def _add(self, counted: Counted, sign: int) -> None:
        """Count a document, or with -1 take it out again."""
        document, contents = counted.document, self._contents
        prediction = classify(document.text_input, counted.model, counted.gazetteer)
        score, kind = stored_score(prediction.score), document.kind.value
        mentions = {
            one.entity: (
                kind,
                document.published_at,
                one.relevance,
                one.sentiment,
                stored_score(one.score),
                one.of_target,
                [list(span) for span in one.spans],
            )
            for one in prediction.entities
        }
        values = (
            kind,
            document.published_at,
            document.title,
            document.text,
            document.author,
            prediction.status,
            prediction.topic,
            prediction.counted_sentiment,
            score,
            document.updated_at,
            counted.model,
            counted.gazetteer,
        )
        if sign < 0:
            del contents.documents[document.key]
            contents.mentions.pop(document.key, None)
            contents.reported.pop(document.key, None)
        else:
            reported = {one.type: (document.published_at, one.probability) for one in prediction.events}
            contents.add_document(document.key, values, mentions, reported, brief=self._brief)
        if prediction.topic is None or score is None:
            return
        topic, amounts = prediction.topic, sums_of(prediction.counted_sentiment, score, sign)
        add_sums(contents.aggregates, (window_start(document.published_at, MINUTE), topic, kind), amounts)
        for width in ROLLUP_WIDTHS:
            start = window_start(document.published_at, timedelta(seconds=width))
            add_sums(contents.rollups, (width, start, topic, kind), amounts)
            for one in prediction.entities:
                own = stored_score(one.score)
                assert own is not None, "entities of a document with a score have one"
                band = min(one.relevance // BAND * BAND, HIGHEST_BAND)
                add_sums(
                    contents.entity_sums,
                    (width, start, one.entity, kind, band),
                    sums_of(one.sentiment, own, sign),
                )

    def compare(self, actual: Contents) -> dict[str, int]:
        """How the database differs from what it must hold."""
        self._note_stored(actual)
        return self._contents.differences(actual)


def stored_score(score: float | None) -> int | None:
    """A score as SQL has it."""
    return None if score is None else round(score * SCORE_SCALE)


def sums_of(sentiment: str | None, score: int, sign: int) -> tuple[int, ...]:
    """What a document or a mention adds to the sums; with -1, what it takes away."""
    counts = (1, *(int(sentiment == name) for name in (*SENTIMENTS, None)), score, score * score)
    return tuple(sign * number for number in counts)


def _is_newer(document: Document, stored: Document) -> bool:
    """Whether it is a corrected story of the stored one."""
    old, new = stored.updated_at, document.updated_at
    return new is not None and (old is None or new > old)


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

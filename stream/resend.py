"""Sends the messages of dead letters again to the topics they came from.

Each is sent as it was: value, key, headers, time and partition are those of the original.  An old message
gets the present time, since Kafka would delete it before it is read.  Of an array only the refused document
is sent, as a message of its own, since its neighbours were read.  A message that the monitor would refuse
again for what it holds is not sent.  Nor is what was refused since the run began: monitors whose settings
were not mended refuse at once what is sent, and it would be sent for ever.

What was sent is noted in SQL, a chunk at a time, after Kafka has acknowledged it.  A run that is killed sends
at most one chunk a second time when it is started again; a repeated document counts once.
"""

import base64
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.structs import TopicPartition
from msgspec import structs

from stream.bundles import Record
from stream.codec import Codec
from stream.decoder import Decoder
from stream.domain.errors import BrokerError, DeadLetterReason, LeaseLost, Rejected
from stream.domain.records import DeadLetter, Partition
from stream.domain.tracing import TRACEPARENT
from stream.kafka import admin
from stream.kafka.reader import messages_until, offsets_at, open_consumer, partitions_of, read_at, record_of
from stream.kafka.settings import KafkaSettings
from stream.outbound import position_key
from stream.storage.batches import Store
from stream.storage.dead_letters import StoredLetter, mark_sent
from stream.storage.leases import Lease

# At most this many messages are sent before that is noted, and no more than can be sent in CHUNK_SECONDS.
CHUNK, CHUNK_SECONDS = 100, 5.0
ACK_SECONDS = 20.0
# Longer than a chunk takes.  Another run waits for this long after one that was killed.
LEASE, LEASE_SECONDS = "dead-letters", 60.0
# How far the clock that stamped the row of a letter may be ahead of the one that stamped its message.
CLOCK_SLACK = timedelta(minutes=5)
MAX_EXAMPLES = 20
# How long a topic is taken to keep messages whose broker does not tell it.
UNKNOWN_RETENTION = timedelta(days=1)
# The topic's own limit decides, not the producer's.
MAX_REQUEST_BYTES = 100_000_000
# To find an element that was refused, whatever the settings say now.
ANY_NUMBER = 1 << 30
# Errors for which the message itself is the reason.
REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError, InvalidTimestampError)
# What stands for no message, or for several: it cannot be sent, whatever the settings.
NO_MESSAGE: Mapping[str, str] = {
    DeadLetterReason.BATCH_TOO_LARGE: "it stands for a record batch that was not unpacked: raise "
    "kafka.max_batch_bytes, restart, and run `monitor replay --from TIME`",
    DeadLetterReason.UNDECODABLE_BATCH: "it stands for a record batch that is damaged: once an intact "
    "replica leads the partition, run `monitor replay --from TIME`",
    DeadLetterReason.SKIPPED: "it stands for offsets that an operator left out: `monitor replay --from TIME` "
    "reads them",
}
GONE = (
    "Kafka holds the message no longer, and not all of it is on the topic of dead letters: ask its sender "
    "for it, or send it from an archive with `monitor feed`"
)


class Unsent(msgspec.Struct, frozen=True):
    """A dead letter that is not sent again, and why; `cause` is a word for counting."""

    letter: StoredLetter
    cause: str
    why: str


@dataclass
class ResendReport:
    """How many dead letters were found and sent, and how many were not, by cause.

    `stored` counts those whose message came from the topic of dead letters.  `examples` are the first
    MAX_EXAMPLES of those that were not sent.
    """

    found: int = 0
    sent: int = 0
    stored: int = 0
    unsent: Counter[str] = field(default_factory=Counter)
    examples: list[Unsent] = field(default_factory=list)

    def leave_out(self, unsent: Unsent) -> None:
        """Count a letter that is not sent."""
        self.unsent[unsent.cause] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(unsent)


@dataclass(frozen=True, slots=True)
class Original:
    """The message of a dead letter; `stored` says that it comes from the topic of dead letters."""

    record: Record
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    stored: bool = False


class _Completeness(msgspec.Struct):
    payload_complete: bool = False


class Originals:
    """Finds the messages of dead letters with one consumer."""

    def __init__(self, consumer: KafkaConsumer, incarnations: Mapping[str, str], dead_letters: str) -> None:
        """`incarnations` are those of the topics that are read now: of another, offsets say nothing.

        Raises BrokerError.
        """
        self._consumer, self._incarnations, self._dead_letters = consumer, incarnations, dead_letters
        partitions = [partition for topic in incarnations for partition in partitions_of(consumer, topic)]
        self._ends = consumer.end_offsets(partitions)
        # Since when the topic of dead letters was read to its end, and the keys of what it holds completely.
        self._read_since: datetime | None = None
        self._held: set[bytes] = set()

    def was_before(self, letter: StoredLetter) -> bool:
        """Whether its message was in Kafka already when this object was made."""
        partition = TopicPartition(letter.kafka_topic, letter.kafka_partition)
        is_current = self._incarnations.get(letter.kafka_topic) == letter.incarnation
        return not is_current or letter.kafka_offset < self._ends.get(partition, 0)

    def find(self, letters: Sequence[StoredLetter]) -> dict[StoredLetter, Original]:
        """The messages of the letters, without those that Kafka no longer holds.  Raises BrokerError."""
        found = self._on_their_topics(letters)
        missing = [letter for letter in letters if letter not in found]
        return found | (self._on_dead_letters(missing) if missing else {})

    def _on_their_topics(self, letters: Sequence[StoredLetter]) -> dict[StoredLetter, Original]:
        by_partition: defaultdict[TopicPartition, list[StoredLetter]] = defaultdict(list)
        for letter in letters:
            if self._incarnations.get(letter.kafka_topic) == letter.incarnation:
                by_partition[TopicPartition(letter.kafka_topic, letter.kafka_partition)].append(letter)
        found = {}
        for partition, own in by_partition.items():
            messages = read_at(self._consumer, partition, {letter.kafka_offset for letter in own})
            for letter in own:
                message = messages.get(letter.kafka_offset)
                if message is not None and message.checksum is None:
                    found[letter] = Original(record_of(message), message.key, message.headers)
        return found

    def _on_dead_letters(self, letters: Sequence[StoredLetter]) -> dict[StoredLetter, Original]:
        """What the topic of dead letters holds completely."""
        by_key = {_key(letter): letter for letter in letters}
        if self._read_since is not None:
            # What an earlier search did not find is not searched for to the end again.
            by_key = {
                key: letter
                for key, letter in by_key.items()
                if key in self._held or letter.seen_at - CLOCK_SLACK < self._read_since
            }
        if not by_key:
            return {}
        partitions = partitions_of(self._consumer, self._dead_letters)
        ends = self._consumer.end_offsets(partitions)
        self._consumer.assign(partitions)
        since = min(letter.seen_at for letter in by_key.values()) - CLOCK_SLACK
        for partition, start in offsets_at(self._consumer, since, ends).items():
            self._consumer.seek(partition, start)
        found: dict[StoredLetter, Original] = {}
        held = set()
        for message in messages_until(self._consumer, ends):
            if not message.key or not _is_complete(message.value):
                continue
            held.add(message.key)
            letter = by_key.get(message.key)
            value = None if letter is None else _stored_value(message.value)
            if letter is None or value is None:
                continue
            found[letter] = _stored_original(letter, value)
            if len(found) == len(by_key):
                return found
        self._read_since, self._held = since, held
        return found


def _key(letter: StoredLetter) -> bytes:
    """The Kafka key of its message on the topic of dead letters."""
    partition = Partition(letter.incarnation, letter.kafka_topic, letter.kafka_partition)
    element = f"#{letter.item}" if letter.position.element is not None else ""
    return position_key(f"{partition}@{letter.kafka_offset}{element}", letter.incarnation).encode()


def _is_complete(message: bytes | None) -> bool:
    """Whether a message on the topic of dead letters holds the payload completely."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(message or b"", type=_Completeness).payload_complete
    return False


def _stored_value(message: bytes | None) -> bytes | None:
    """The payload in a message on the topic of dead letters; None if it is not complete."""
    try:
        letter = msgspec.json.decode(message or b"", type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if letter.get("payload_complete") is not True:
        return None
    if "payload_base64" in letter:
        return base64.b64decode(letter["payload_base64"])
    return str(letter.get("payload", "")).encode()


def _stored_original(letter: StoredLetter, value: bytes) -> Original:
    """The key of the document stands for that of the message; of the headers only the trace is known."""
    trace = letter.traceparent
    record = Record(
        letter.kafka_topic,
        letter.kafka_partition,
        letter.kafka_offset,
        value,
        timestamp=round(letter.seen_at.timestamp() * 1000),
        traceparent=trace,
    )
    headers = [(TRACEPARENT, trace.encode())] if trace else []
    key = letter.key.encode() if letter.key else None
    return Original(record, key, headers, stored=True)


class Resend:
    """Sends dead letters again, in one process at a time."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        store: Store,
        codec: Codec,
        incarnations: Mapping[str, str],
        clock: Callable[[], datetime],
        force: bool = False,
    ) -> None:
        """With `force` messages are sent too that the monitor would refuse again."""
        self._kafka, self._store, self._incarnations = kafka, store, incarnations
        self._clock, self._force = clock, force
        self._splitter = replace(codec, max_documents=ANY_NUMBER)
        self._decoder = Decoder(codec, kafka.kinds, incarnations)

    def check(self, chunks: Iterable[Sequence[StoredLetter]]) -> ResendReport:
        """What `send` would do; nothing is sent.  Raises BrokerError and StoreUnavailable."""
        report = ResendReport()
        with open_consumer(self._kafka, max_poll_records=CHUNK) as consumer:
            originals = self._originals(consumer)
            for letters in chunks:
                report.sent += len(self._sendable(originals, letters, report))
        return report

    def send(
        self,
        chunks: Iterable[Sequence[StoredLetter]],
        lease: Lease,
        rate: float,
        progress: Callable[[int], object] = lambda letters: None,
    ) -> ResendReport:
        """Send the letters, at most `rate` a second; `progress` gets the number of letters after each chunk.

        A chunk must not hold more than `chunk_size(rate)`.  Raises LeaseLost if another process sends,
        BrokerError and StoreUnavailable; what was sent before is noted.
        """
        report, pace = ResendReport(), _Pace(rate)
        with open_consumer(self._kafka, max_poll_records=CHUNK) as consumer:
            originals, producer = self._originals(consumer), _Producer(self._kafka, self._clock)
            try:
                for letters in chunks:
                    _take(lease)
                    sendable = self._sendable(originals, letters, report)
                    _take(lease)  # the search may have taken longer than the lease lasts
                    self._send_chunk(sendable, producer, pace, lease, report)
                    progress(len(letters))
            finally:
                producer.close()
        return report

    def _originals(self, consumer: KafkaConsumer) -> Originals:
        return Originals(consumer, self._incarnations, self._kafka.dead_letters)

    def _send_chunk(
        self,
        sendable: Iterable[tuple[StoredLetter, Original]],
        producer: "_Producer",
        pace: "_Pace",
        lease: Lease,
        report: ResendReport,
    ) -> None:
        sent = []
        try:
            for letter, original in sendable:
                pace.wait()
                refusal = producer.send(original, self._has_partition(letter))
                if refusal is not None:
                    report.leave_out(Unsent(letter, "kafka", f"Kafka refuses it: {refusal}"))
                    continue
                sent.append(letter)
                report.sent += 1
        finally:
            mark_sent(self._store.engine, sent, self._clock(), lease)

    def _has_partition(self, letter: StoredLetter) -> bool:
        """Whether its partition is one of the topic that is read now."""
        return self._incarnations.get(letter.kafka_topic) == letter.incarnation

    def _sendable(
        self, originals: Originals, letters: Sequence[StoredLetter], report: ResendReport
    ) -> list[tuple[StoredLetter, Original]]:
        """The letters to send, each with its message; the others are counted."""
        letters = [letter for letter in letters if originals.was_before(letter)]
        report.found += len(letters)
        with_message = [letter for letter in letters if letter.reason not in NO_MESSAGE]
        found, now, sendable = originals.find(with_message), self._clock(), []
        for letter in letters:
            try:
                original = self._checked(letter, found.get(letter), now)
            except _NotSent as error:
                report.leave_out(Unsent(letter, error.cause, error.why))
                continue
            report.stored += original.stored
            sendable.append((letter, original))
        return sendable

    def _checked(self, letter: StoredLetter, original: Original | None, now: datetime) -> Original:
        """The message as it is to be sent.  Raises _NotSent."""
        if letter.reason in NO_MESSAGE:
            raise _NotSent("no_message", NO_MESSAGE[letter.reason])
        if letter.kafka_topic not in self._kafka.kinds:
            raise _NotSent("unread_topic", f"the topic {letter.kafka_topic!r} is not read")
        if original is None:
            raise _NotSent("gone", GONE)
        if letter.position.element is not None and not original.stored:
            original = replace(original, record=self._element(original.record, letter.position.element))
        if original.record.value is None:
            raise _NotSent(
                "no_message", "it has no value, which deletes what its key names: there is no text"
            )
        if not self._force:
            self._check(letter, original, now)
        return original

    def _element(self, record: Record, number: int) -> Record:
        """The element of an array as a message of its own.  Raises _NotSent."""
        try:
            elements = self._splitter.split(record.value) or []
            return structs.replace(record, value=elements[number])
        except (Rejected, IndexError) as error:
            raise _NotSent("gone", f"the message at this offset has no element {number}") from error

    def _check(self, letter: StoredLetter, original: Original, now: datetime) -> None:
        """Raises _NotSent if the monitor would refuse the message again, with the settings as they are."""
        outcomes = list(self._decoder.decode(original.record, now))
        dead = [outcome for outcome in outcomes if isinstance(outcome, DeadLetter)]
        # An older version did not note whether the first document of an array was refused, or all of it.
        unclear = letter.in_array is None and isinstance(outcomes[0], DeadLetter)
        if unclear or len(dead) == len(outcomes):
            why = f"the monitor would refuse it again: {dead[0].reason}: {dead[0].detail}"
            raise _NotSent(dead[0].reason, f"{why}; change what the reason names, or use --force")


class _NotSent(Exception):
    """A letter is not sent."""

    def __init__(self, cause: str, why: str) -> None:
        super().__init__(why)
        self.cause, self.why = cause, why


def _take(lease: Lease) -> None:
    """Take or renew the lease.  Raises LeaseLost and StoreUnavailable."""
    if not lease.acquire():
        raise LeaseLost("another `monitor dead-letters send` is running")


def chunk_size(rate: float) -> int:
    """How many letters are sent before that is noted."""
    return max(1, min(CHUNK, int(rate * CHUNK_SECONDS)))


class _Producer:
    """Sends one message at a time, so that one that Kafka refuses takes no other with it."""

    def __init__(self, kafka: KafkaSettings, clock: Callable[[], datetime]) -> None:
        self._kafka, self._clock = kafka, clock
        self._retentions = admin.retentions(kafka, kafka.kinds)
        self._producer: KafkaProducer | None = None

    def send(self, original: Original, to_same_partition: bool) -> str | None:
        """Send, and wait for the acknowledgement; return why Kafka refuses the message, None if it took it.

        Raises BrokerError.
        """
        record = original.record
        try:
            self._producer = self._producer or admin.producer(
                self._kafka, linger_ms=0, max_request_size=MAX_REQUEST_BYTES
            )
            self._producer.send(
                record.topic,
                value=record.value,
                key=original.key,
                # The client takes no header without a value.
                headers=[(name, value or b"") for name, value in original.headers],
                partition=record.partition if to_same_partition else None,
                timestamp_ms=record.timestamp if self._is_kept(record) else None,
            ).get(ACK_SECONDS)
        except REFUSALS as error:
            self.close()  # with sequence numbers, a message that was refused may hold up those after it
            return str(error)
        except KafkaError as error:
            self.close()
            raise BrokerError(f"cannot send to topic {record.topic}: {error}") from error
        return None

    def _is_kept(self, record: Record) -> bool:
        """Whether Kafka would keep the message long enough to be read, with the time that it has."""
        retention = self._retentions.get(record.topic, UNKNOWN_RETENTION)
        age = self._clock().timestamp() - record.timestamp / 1000
        return record.timestamp >= 0 and (retention is None or age < retention.total_seconds() / 2)

    def close(self) -> None:
        if self._producer is not None:
            admin.close(self._producer, ACK_SECONDS)
            self._producer = None


class _Pace:
    """Waits so that there are at most `rate` in a second."""

    def __init__(self, rate: float) -> None:
        self._pause, self._next = 1 / rate, time.monotonic()

    def wait(self) -> None:
        now = time.monotonic()
        if now < self._next:
            time.sleep(self._next - now)
        self._next = max(self._next, now) + self._pause

"""What the stages of the stream hand to each other, from a message on Kafka to the rows in SQL.

A message has a MessagePosition.  The pipeline turns each document it holds into a ClassifiedDocument or a
DeadLetter.  The outcomes of several messages form a Batch, which the store writes in one transaction; the
WriteResult says what was new.  What has to be sent because of it is queued as OutboundMessages in the same
transaction.

The protocols at the end are what the pipeline needs from its neighbours, so that it imports neither the
classifier nor the sender.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from stream.domain.documents import SCORE_SCALE, Document, Kind, Prediction, TextInput
from stream.domain.errors import DeadLetterReason


class Partition(msgspec.Struct, frozen=True, order=True, gc=False):
    """One partition of one incarnation of a Kafka topic.

    A topic that is deleted and created again is another incarnation: its offsets start at 0 again.
    """

    incarnation: str
    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


UNKNOWN_EPOCH = -1
# So much of why a message was refused is kept, in SQL and on the topic of dead letters.
MAX_DETAIL_CHARACTERS = 2000


class NextOffset(NamedTuple):
    """The next offset to read of a partition, and the leader epoch of what is before it; -1 if unknown."""

    offset: int
    leader_epoch: int = UNKNOWN_EPOCH


class MessagePosition(msgspec.Struct, frozen=True, gc=False):
    """The position of a message in Kafka, the kind of document in its topic, and its value.

    A message may hold an array of documents.  `item` is then the index of the document in it, and `value` the
    bytes of that document alone.  A record batch that cannot be read is at its last offset; `first` is the
    first offset that was not read.  `leader_epoch` is that of the leader that took the message; -1 if it is
    unknown.  `traceparent` is the trace that the message belongs to, if it names one.
    """

    kind: Kind
    partition: Partition
    offset: int
    value: bytes | None
    item: int | None = None
    first: int | None = None
    leader_epoch: int = UNKNOWN_EPOCH
    traceparent: str | None = None

    @property
    def first_offset(self) -> int:
        """The first offset that it stands for."""
        return self.offset if self.first is None else self.first

    def __str__(self) -> str:
        offsets = f"{self.offset}" if self.first is None else f"{self.first}..{self.offset}"
        return f"{self.partition}@{offsets}" + ("" if self.item is None else f"#{self.item}")


class RefusedBatch(msgspec.Struct, frozen=True, gc=False):
    """The records from `first` to `last` of a record batch that cannot be read, and why."""

    first: int
    last: int
    reason: DeadLetterReason
    detail: str


class ClassifiedDocument(msgspec.Struct, frozen=True, gc=False):
    """A document, its position in Kafka, and the prediction for it."""

    position: MessagePosition
    document: Document
    prediction: Prediction

    @property
    def key(self) -> str:
        """The identity of the document: one that is sent twice is counted once."""
        return self.document.key

    @property
    def score(self) -> int | None:
        """The score in units of 1 / SCORE_SCALE."""
        score = self.prediction.score
        return None if score is None else round(score * SCORE_SCALE)


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A message (or one document of it) that could not be classified and stored, and why.

    `key` identifies the document, if the message could be read as one.
    """

    position: MessagePosition
    reason: DeadLetterReason
    detail: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """A message to send: its target ("kafka:TOPIC", "webhook:NAME" or "channel:NAME") and its JSON body.

    Messages with the same target and `lane` are sent in order.  A page also has a `key`, which it keeps when
    it is repeated, and may have a time before which it must not be sent.
    """

    target: str
    body: bytes
    lane: str = ""
    key: str | None = None
    not_before: datetime | None = None


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """A message without a value: on a compacted topic, the deletion of what its key names.

    It is no error, and deletes nothing here: what was said was said.
    """

    position: MessagePosition


# What becomes of one document of a message, or of a message that holds none.
Outcome = ClassifiedDocument | DeadLetter | Tombstone


@dataclass(frozen=True, slots=True)
class Batch:
    """The outcomes of consecutive messages of some partitions, in stream order.

    The documents of one message are all in the same batch.
    """

    outcomes: Sequence[Outcome]

    @property
    def first_offsets(self) -> dict[Partition, int]:
        """The offset of the first message of each partition."""
        positions = (outcome.position for outcome in reversed(self.outcomes))
        return {position.partition: position.first_offset for position in positions}

    @property
    def ends(self) -> "dict[Partition, NextOffset]":
        """The offset after the last message of each partition."""
        positions = (outcome.position for outcome in self.outcomes)
        last = {position.partition: position for position in positions}
        return {
            partition: NextOffset(position.offset + 1, position.leader_epoch)
            for partition, position in last.items()
        }


class SkipReason(StrEnum):
    """Why part of a batch was skipped, by the name used as a metric label."""

    REPEAT = "repeat"  # a stored document, sent again: the same identity at a new offset
    REDELIVERED = "redelivered"  # a message that was read again: its offset is below the stored one
    TOMBSTONE = "tombstone"  # a message without a value
    CHANGED = "changed"  # a repeat with another text, and no newer updated_at: the stored text stays


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a written batch added: its new documents and dead letters, and the stored documents whose texts
    and labels it replaced.

    `skipped` counts what was skipped, by kind and reason.  `missing_offsets` counts the offsets between
    the previous batch and this one that held no message.  That is normal after compaction or transactions,
    and a loss if Kafka's retention deleted messages before they were read.
    """

    documents: Sequence[ClassifiedDocument]
    dead_letters: Sequence[DeadLetter]
    skipped: Mapping[tuple[str, SkipReason], int]
    missing_offsets: int
    corrected: Sequence[ClassifiedDocument] = ()


class Outbound(Protocol):
    """Decides what to send because of the new documents and dead letters of a batch."""

    def __call__(
        self, documents: Sequence[ClassifiedDocument], dead_letters: Sequence[DeadLetter], /
    ) -> Sequence[OutboundMessage]: ...


class Classify(Protocol):
    """Predicts one Prediction per text, in order.

    Raises InferenceError if there is no usable answer for some text.
    """

    def __call__(self, inputs: Sequence[TextInput], /) -> Sequence[Prediction]: ...


class FindEntities(Protocol):
    """Predictions of the same texts, in order, with the entities that the present list finds in them.

    Labels and scores stay.  Raises InferenceError if there is no usable answer for some text.
    """

    def __call__(
        self, inputs: Sequence[TextInput], predictions: Sequence[Prediction], /
    ) -> Sequence[Prediction]: ...

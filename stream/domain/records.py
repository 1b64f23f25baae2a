"""What the stages of the stream hand to each other, and the protocols between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from stream.domain.documents import SCORE_SCALE, Document, Kind, Prediction


class Partition(msgspec.Struct, frozen=True, order=True, gc=False):
    """One partition of one incarnation of a Kafka topic."""

    incarnation: str
    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class MessagePosition(msgspec.Struct, frozen=True, gc=False):
    """Where a message stood, the kind of document its topic carries, and its value.

    Of a document in a message of several, `item` is which of them it is, from 0 on, and `value` its own.
    """

    kind: Kind
    partition: Partition
    offset: int
    value: bytes | None
    item: int | None = None

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}" + ("" if self.item is None else f"#{self.item}")


class ClassifiedDocument(msgspec.Struct, frozen=True, gc=False):
    """A document, where it stood, and what the classifier said of it."""

    position: MessagePosition
    document: Document
    prediction: Prediction

    @property
    def identity(self) -> tuple[str, str]:
        return self.document.source, self.document.id

    @property
    def score(self) -> int | None:
        """The score in fixed point."""
        score = self.prediction.score
        return None if score is None else round(score * SCORE_SCALE)


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A message that could not become a judged document, and why."""

    position: MessagePosition
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """Something that leaves: where to, and its JSON; a page has a lane, a key and a time to wait for."""

    target: str
    body: bytes
    lane: str = ""
    key: str | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The outcomes of consecutive messages of some partitions, in stream order, and all of each message."""

    outcomes: Sequence[ClassifiedDocument | DeadLetter]

    @property
    def starts(self) -> dict[Partition, int]:
        """The offset of the first message of each partition."""
        places = (outcome.position for outcome in reversed(self.outcomes))
        return {place.partition: place.offset for place in places}

    @property
    def ends(self) -> dict[Partition, int]:
        """The offset after the last message of each partition."""
        places = (outcome.position for outcome in self.outcomes)
        return {place.partition: place.offset + 1 for place in places}


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What of a batch was new, and how much of it was not, by kind and outcome.

    A repeat is a known document under a new offset; what was redelivered is a known offset.  `holes`
    are offsets between the last batch and this one that no message came for: normal after compaction
    or transactions, and a loss where Kafka's retention overtook the reader.
    """

    judged: Sequence[ClassifiedDocument]
    dead: Sequence[DeadLetter]
    repeated: Mapping[tuple[str, str], int]
    holes: int


class Outbound(Protocol):
    """What leaves for the new part of a batch."""

    def __call__(
        self, new: Sequence[ClassifiedDocument], dead: Sequence[DeadLetter]
    ) -> Sequence[OutboundMessage]: ...


class Classify(Protocol):
    """Predictions for texts, in order; raises InferenceError where one of them has no answer."""

    def __call__(self, texts: Sequence[str], languages: Sequence[str | None]) -> Sequence[Prediction]: ...

"""The messages that are put on Kafka: predictions and dead letters of a batch, and stories."""

import base64
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stream.domain.budgets import cut, json_bytes, prefix_within
from stream.domain.records import (
    MAX_DETAIL_CHARACTERS,
    ClassifiedDocument,
    DeadLetter,
    MessagePosition,
    OutboundMessage,
)
from stream.domain.stories import StoryAssignment
from stream.domain.tracing import TRACEPARENT
from stream.domain.wire import prediction_fields
from stream.kafka.settings import KafkaSettings
from stream.storage.outbox import KafkaMessage, kafka_message, to_kafka

# Base64 makes four bytes of three.
BASE64_BYTES, BASE64_GROUP = 4, 3


@dataclass(frozen=True)
class BatchOutbound:
    """Puts the predictions and the dead letters of a batch into one outbox message each."""

    kafka: KafkaSettings
    publish_predictions: bool = True

    def __call__(
        self, documents: Sequence[ClassifiedDocument], dead_letters: Sequence[DeadLetter], /
    ) -> list[OutboundMessage]:
        outbound = []
        if documents and self.publish_predictions:
            budget = self.kafka.prediction_bytes
            predictions = [
                kafka_message(item.key, _prediction_forms(item), budget, item.position.traceparent)
                for item in documents
            ]
            outbound.append(to_kafka(self.kafka.predictions, predictions))
        if dead_letters:
            budget = self.kafka.dead_letter_bytes
            letters = [
                kafka_message(
                    dead_letter_key(letter),
                    [dead_letter_message(letter, budget)],
                    budget,
                    letter.position.traceparent,
                )
                for letter in dead_letters
            ]
            outbound.append(to_kafka(self.kafka.dead_letters, letters))
        return outbound


@dataclass(frozen=True)
class StoryOutbound:
    """Puts the stories that documents were assigned to into one outbox message."""

    kafka: KafkaSettings
    publish_stories: bool = True

    def __call__(self, assigned: Sequence[StoryAssignment], /) -> list[OutboundMessage]:
        if not assigned or not self.publish_stories:
            return []
        messages = [KafkaMessage(each.key, msgspec.json.encode(story_message(each))) for each in assigned]
        return [to_kafka(self.kafka.stories, messages)]


def story_message(assignment: StoryAssignment) -> dict[str, Any]:
    """The value of a message on the stories topic."""
    return {
        "key": assignment.key,
        "sequence": assignment.sequence,
        "story": assignment.story,
        "novelty": assignment.novelty,
        "copy_of": assignment.copy_of,
        "voice": int(assignment.is_voice),
    }


def prediction_message(item: ClassifiedDocument) -> dict[str, Any]:
    """The value of a message on the predictions topic."""
    document = item.document
    return {
        "key": document.key,
        "id": document.id,
        "source": document.source,
        "kind": document.kind.value,
        "published_at": document.published_at,
        "published_precision": document.published_precision,
        "updated_at": document.updated_at,
        "symbols": document.symbols,
        **prediction_fields(item.prediction),
        **_trace(item.position),
    }


def _trace(position: MessagePosition) -> dict[str, str]:
    return {TRACEPARENT: position.traceparent} if position.traceparent else {}


def _prediction_forms(item: ClassifiedDocument) -> Iterator[dict[str, Any]]:
    """A prediction, and the same with less in it."""
    message = prediction_message(item)
    yield message
    message |= {"evidence": [], "shortened": True}
    yield message
    message["entities"] = [fields | {"mentions": []} for fields in message["entities"]]
    yield message
    message["symbols"] = []
    yield message
    yield message | {"entities": []}


def dead_letter_key(letter: DeadLetter) -> str:
    """The position of the message, with the incarnation: a topic that is made again starts at 0 again."""
    return position_key(str(letter.position), letter.position.partition.incarnation)


def position_key(position: str, incarnation: str) -> str:
    """The key of the dead letter of a position, which is as `MessagePosition` writes it."""
    return f"{position}:{incarnation}"


def dead_letter_message(letter: DeadLetter, max_bytes: int) -> dict[str, Any]:
    """The value of a message on the dead-letters topic, of at most `max_bytes` as JSON.

    The refused bytes are in `payload` or, if they are not UTF-8, in `payload_base64`; as many of them as the
    budget leaves room for.  The whole message stays on its own topic.
    """
    value = letter.position.value or b""
    message: dict[str, Any] = {
        "topic": letter.position.partition.topic,
        "partition": letter.position.partition.number,
        "offset": letter.position.offset,
        "first_offset": letter.position.first_offset,
        "item": letter.position.item,
        "key": letter.key,
        "reason": letter.reason,
        "detail": cut(letter.detail, MAX_DETAIL_CHARACTERS),
        **_trace(letter.position),
        "payload_bytes": len(value),
        "payload_complete": False,
        "payload_base64": "",
    }
    room = max_bytes - json_bytes(message)
    # Each byte takes at least one of JSON: what has no room anyway is not looked at.
    head = value[: max(room, 0)]
    try:
        text = getincrementaldecoder("utf-8")().decode(head, final=len(head) == len(value))
    except UnicodeDecodeError:
        shown = value[: max(room, 0) // BASE64_BYTES * BASE64_GROUP]
        payload, complete = {"payload_base64": base64.b64encode(shown).decode()}, shown == value
    else:
        del message["payload_base64"]
        prefix = prefix_within(text, room)
        payload, complete = {"payload": prefix}, prefix == text and len(head) == len(value)
    return message | payload | {"payload_complete": complete}

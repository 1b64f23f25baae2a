"""The messages that a batch puts on Kafka: predictions and dead letters."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream.domain.records import ClassifiedDocument, DeadLetter, OutboundMessage
from stream.domain.wire import prediction_fields
from stream.kafka.settings import KafkaSettings
from stream.storage.outbox import to_kafka

# A longer payload is cut off in the dead letter; the message itself stays on its own topic.
MAX_PAYLOAD_BYTES = 100_000


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
            predictions = [prediction_message(item) for item in documents]
            keyed = [(message["key"], message) for message in predictions]
            outbound.append(to_kafka(self.kafka.predictions, keyed))
        if dead_letters:
            letters = [(str(letter.position), dead_letter_message(letter)) for letter in dead_letters]
            outbound.append(to_kafka(self.kafka.dead_letters, letters))
        return outbound


def prediction_message(item: ClassifiedDocument) -> dict[str, Any]:
    """The value of a message on the predictions topic."""
    document = item.document
    return {
        "key": document.key,
        "id": document.id,
        "source": document.source,
        "kind": document.kind.value,
        "published_at": document.published_at,
        "symbols": document.symbols,
        **prediction_fields(item.prediction),
    }


def dead_letter_message(letter: DeadLetter) -> dict[str, Any]:
    """The value of a message on the dead-letters topic.

    The refused bytes are in `payload` or, if they are not UTF-8, in `payload_base64`.
    """
    value = letter.position.value or b""
    complete = len(value) <= MAX_PAYLOAD_BYTES
    message: dict[str, Any] = {
        "topic": letter.position.partition.topic,
        "partition": letter.position.partition.number,
        "offset": letter.position.offset,
        "item": letter.position.item,
        "key": letter.key,
        "reason": letter.reason,
        "detail": letter.detail,
        "payload_bytes": len(value),
        "payload_complete": complete,
    }
    payload = value[:MAX_PAYLOAD_BYTES]
    try:
        # A cut may fall within a character, which is then left out.
        return message | {"payload": payload.decode("utf-8", "strict" if complete else "ignore")}
    except UnicodeDecodeError:
        return message | {"payload_base64": base64.b64encode(payload).decode()}

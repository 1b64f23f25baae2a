"""What a written batch sends out: predictions and dead letters."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream.domain.records import ClassifiedDocument, DeadLetter, OutboundMessage
from stream.domain.wire import prediction_fields
from stream.kafka.settings import KafkaSettings
from stream.storage.outbox import to_kafka

PAYLOAD_BYTES = 100_000


@dataclass(frozen=True)
class BatchOutbound:
    """What a written batch sends out: its predictions and its dead letters, one entry each."""

    kafka: KafkaSettings
    publish_predictions: bool = True

    def __call__(
        self, new: Sequence[ClassifiedDocument], dead: Sequence[DeadLetter]
    ) -> list[OutboundMessage]:
        outgoing = []
        if new and self.publish_predictions:
            messages = [(f"{i.document.source}/{i.document.id}", prediction_message(i)) for i in new]
            outgoing.append(to_kafka(self.kafka.predictions, messages))
        if dead:
            messages = [(str(letter.position), dead_letter_message(letter)) for letter in dead]
            outgoing.append(to_kafka(self.kafka.dead_letters, messages))
        return outgoing


def prediction_message(item: ClassifiedDocument) -> dict[str, Any]:
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


def dead_letter_message(letter: DeadLetter) -> dict[str, Any]:
    """The value of a message on the dead-letters topic: `payload` or, for no UTF-8, `payload_base64`."""
    value = letter.position.value or b""
    message: dict[str, Any] = {
        "topic": letter.position.partition.topic,
        "partition": letter.position.partition.number,
        "offset": letter.position.offset,
        "item": letter.position.item,
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

"""Decodes Kafka messages into documents and dead letters, each with its position."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, structs

from stream.bundles import Record
from stream.codec import Codec
from stream.domain.documents import Document, Kind
from stream.domain.errors import DeadLetterReason, Rejected
from stream.domain.records import DeadLetter, MessagePosition, Partition, RefusedBatch, Tombstone

# What to do about a record batch that was not read.
ADVICE = {
    DeadLetterReason.BATCH_TOO_LARGE: "if it should be read, raise kafka.max_batch_bytes, restart, and run",
    DeadLetterReason.UNDECODABLE_BATCH: "if another replica, or a later version, can read it, run",
}


class DecodedDocument(Struct, frozen=True, gc=False):
    """A document and its position in Kafka."""

    position: MessagePosition
    document: Document


Decoded = DecodedDocument | DeadLetter | Tombstone


class Decoder:
    """Decodes the messages of the input topics; `kinds` and `incarnations` are by topic."""

    def __init__(self, codec: Codec, kinds: Mapping[str, Kind], incarnations: Mapping[str, str]) -> None:
        self._codec, self._kinds, self._incarnations = codec, kinds, incarnations

    def decode_batch(self, records: Sequence[Record], now: datetime) -> list[Decoded]:
        """All documents, dead letters and tombstones of the records, in order."""
        return [item for record in records for item in self.decode(record, now)]

    def decode(self, record: Record, now: datetime) -> Iterator[Decoded]:
        """Decode each document of a message separately: a bad one does not affect the others."""
        partition = Partition(self._incarnations[record.topic], record.topic, record.partition)
        message = MessagePosition(
            kind=self._kinds[record.topic],
            partition=partition,
            offset=record.offset,
            value=record.value,
            leader_epoch=record.leader_epoch,
            traceparent=record.traceparent,
        )
        if record.refused is not None:
            yield _refused_batch(message, record.refused)
            return
        if record.value is None:
            yield Tombstone(message)
            return
        try:
            elements = self._codec.split(record.value)
        except Rejected as error:
            yield DeadLetter(message, error.reason, error.detail)
            return
        if elements is None:
            yield self._decode_document(message, now, record.timestamp)
            return
        for index, element in enumerate(elements):
            position = structs.replace(message, value=element, item=index)
            yield self._decode_document(position, now, record.timestamp)

    def _decode_document(
        self, position: MessagePosition, now: datetime, timestamp: int
    ) -> DecodedDocument | DeadLetter:
        try:
            document = self._codec.decode(position.value, position.kind, now, timestamp)
            return DecodedDocument(position, document)
        except Rejected as error:
            return DeadLetter(position, error.reason, error.detail, error.key)


def _refused_batch(position: MessagePosition, refused: RefusedBatch) -> DeadLetter:
    detail = (
        f"{position.partition}, offsets {refused.first} to {refused.last}: {refused.detail}; "
        f"skipped: {ADVICE[refused.reason]} `monitor replay --from TIME`"
    )
    return DeadLetter(structs.replace(position, first=refused.first), refused.reason, detail)

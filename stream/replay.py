"""Reads Kafka again while the live stream runs, and restores the documents that the database has lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from stream.decoder import DecodedDocument, Decoder
from stream.domain.records import ClassifiedDocument, Classify, DeadLetter, Outbound
from stream.kafka.reader import messages_until, offsets_at, open_consumer, partitions_of, record_of
from stream.kafka.settings import KafkaSettings
from stream.storage.batches import Store

# At most this many messages at a time, and documents per transaction.
BATCH_SIZE = 500
Progress = Callable[[int], object]


@dataclass
class ReplayReport:
    """How many messages were read, documents refused, missing documents restored, and stories corrected.

    `first` is the earliest `published_at` among the restored documents.
    """

    read: int = 0
    refused: int = 0
    restored: int = 0
    corrected: int = 0
    first: datetime | None = None


class Replay:
    """Reads with a consumer that has no group: the live stream's offsets are neither used nor changed."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        store: Store,
        decoder: Decoder,
        classify: Classify,
        outbound: Outbound,
        clock: Callable[[], datetime],
    ) -> None:
        self._kafka, self._store, self._decoder = kafka, store, decoder
        self._classify, self._outbound, self._clock = classify, outbound, clock

    def run(self, since: datetime, progress: Progress = lambda messages: None) -> ReplayReport:
        """Read the messages that Kafka received at `since` or later, up to the current end of each partition.

        `progress` gets the number of messages after each batch.  Raises BrokerError, StoreUnavailable and
        InferenceError.
        """
        report = ReplayReport()
        with open_consumer(self._kafka, max_poll_records=BATCH_SIZE) as consumer:
            self._read(consumer, since, report, progress)
        return report

    def _read(
        self, consumer: KafkaConsumer, since: datetime, report: ReplayReport, progress: Progress
    ) -> None:
        partitions = [
            partition for topic in self._kafka.kinds for partition in partitions_of(consumer, topic)
        ]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition, start in offsets_at(consumer, since, ends).items():
            consumer.seek(partition, start)
        messages_before = (
            message
            for message in messages_until(consumer, ends)
            if message.offset < ends[TopicPartition(message.topic, message.partition)]
        )
        while messages := list(islice(messages_before, BATCH_SIZE)):
            self._restore_missing(messages, report)
            progress(len(messages))

    def _restore_missing(self, messages: Sequence[Any], report: ReplayReport) -> None:
        """Classify and write the documents of the messages that are not in SQL, or newer there."""
        documents: dict[tuple[str, datetime | None], DecodedDocument] = {}
        for message in messages:
            report.read += 1
            for item in self._decoder.decode(record_of(message), self._clock()):
                if isinstance(item, DecodedDocument):
                    documents.setdefault((item.document.key, item.document.updated_at), item)
                elif isinstance(item, DeadLetter):
                    report.refused += 1
        versions = list(documents)
        for start in range(0, len(versions), BATCH_SIZE):
            batch = versions[start : start + BATCH_SIZE]
            stored = self._store.stored_versions({key for key, _ in batch})
            if missing := [documents[version] for version in batch if _is_missing(version, stored)]:
                self._write(missing, report)

    def _write(self, missing: Sequence[DecodedDocument], report: ReplayReport) -> None:
        predictions = self._classify([item.document.text_input for item in missing])
        classified = [
            ClassifiedDocument(item.position, item.document, prediction)
            for item, prediction in zip(missing, predictions, strict=True)
        ]
        new, corrected = self._store.restore(classified, self._outbound, self._clock())
        report.restored += len(new)
        report.corrected += len(corrected)
        times = [item.document.published_at for item in new]
        report.first = min([*times, *([report.first] if report.first else [])], default=None)


def _is_missing(version: tuple[str, datetime | None], stored: Mapping[str, datetime | None]) -> bool:
    """Whether a version of a document would change what is stored."""
    key, updated_at = version
    if key not in stored:
        return True
    held = stored[key]
    return updated_at is not None and (held is None or updated_at > held)

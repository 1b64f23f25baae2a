"""Reading Kafka again, beside the live stream: what the database lost is written, what it holds is left."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from sqlalchemy import select, tuple_

from stream.codec import Codec
from stream.domain.documents import Document, Kind
from stream.domain.errors import BrokerError
from stream.domain.records import (
    ClassifiedDocument,
    Classify,
    DeadLetter,
    MessagePosition,
    Outbound,
    Partition,
)
from stream.kafka.security import client_options
from stream.kafka.settings import KafkaSettings
from stream.pipeline import decode
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading

POLL_MS = 1000
AT_ONCE = 500
Progress = Callable[[int], object]


@dataclass
class Replayed:
    """How many messages were read, what of them nobody can read, and how many documents were missing."""

    read: int = 0
    refused: int = 0
    restored: int = 0
    first: datetime | None = None


class Replay:
    """Its own consumer, in no group: the live stream's offsets are neither used nor moved."""

    def __init__(
        self,
        kafka: KafkaSettings,
        store: Store,
        codec: Codec,
        classify: Classify,
        outbound: Outbound,
        incarnations: Mapping[str, str],
        clock: Callable[[], datetime],
    ) -> None:
        self._kafka, self._store, self._codec = kafka, store, codec
        self._classify, self._outbound = classify, outbound
        self._incarnations, self._clock = incarnations, clock

    def run(self, since: datetime, progress: Progress = lambda messages: None) -> Replayed:
        """Read what Kafka took at `since` and later, up to its end as it is now.

        Raises BrokerError, StoreUnavailable, InferenceError.
        """
        done = Replayed()
        try:
            consumer = KafkaConsumer(
                bootstrap_servers=self._kafka.bootstrap_servers.split(","),
                api_version=self._kafka.api_version, group_id=None, enable_auto_commit=False,
                max_poll_records=AT_ONCE, **client_options(self._kafka),
            )  # fmt: skip
            try:
                self._read(consumer, since, done, progress)
            finally:
                consumer.close()
        except KafkaError as error:
            raise BrokerError(f"{self._kafka.bootstrap_servers}: {error}") from error
        return done

    def _read(self, consumer: KafkaConsumer, since: datetime, done: Replayed, progress: Progress) -> None:
        places = [
            TopicPartition(topic, n) for topic in self._kafka.kinds for n in _partitions(consumer, topic)
        ]
        ends = consumer.end_offsets(places)
        found = consumer.offsets_for_times(dict.fromkeys(places, int(since.timestamp() * 1000)))
        starts = {place: found[place].offset if found.get(place) else ends[place] for place in places}
        consumer.assign(places)
        for place, start in starts.items():
            consumer.seek(place, start)
        while any(consumer.position(place) < ends[place] for place in places):
            messages = [m for part in consumer.poll(POLL_MS).values() for m in part]
            wanted = [m for m in messages if m.offset < ends[TopicPartition(m.topic, m.partition)]]
            self._restore(wanted, done)
            progress(len(wanted))

    def _restore(self, messages: Sequence[Any], done: Replayed) -> None:
        """Judge and write those of the messages that SQL does not hold."""
        found: dict[tuple[str, str], tuple[MessagePosition, Document]] = {}
        for message in messages:
            done.read += 1
            kind: Kind = self._kafka.kinds[message.topic]
            partition = Partition(self._incarnations[message.topic], message.topic, message.partition)
            for item in decode(
                self._codec, MessagePosition(kind, partition, message.offset, message.value), self._clock()
            ):
                if isinstance(item, DeadLetter):
                    done.refused += 1
                else:
                    found.setdefault((item[1].source, item[1].id), item)
        identities = list(found)
        for at in range(0, len(identities), AT_ONCE):
            some = identities[at : at + AT_ONCE]
            held = self._held(some)
            if missing := [found[identity] for identity in some if identity not in held]:
                self._write(missing, done)

    def _write(self, missing: Sequence[tuple[MessagePosition, Document]], done: Replayed) -> None:
        said = self._classify([d.content for _, d in missing], [d.lang for _, d in missing])
        judged = [
            ClassifiedDocument(place, document, one)
            for (place, document), one in zip(missing, said, strict=True)
        ]
        new = self._store.restore(judged, self._outbound, self._clock())
        done.restored += len(new)
        stamps = [item.document.published_at for item in new]
        done.first = min([*stamps, *([done.first] if done.first else [])], default=None)

    def _held(self, identities: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        table = schema.documents
        query = select(table.c.source, table.c.id).where(tuple_(table.c.source, table.c.id).in_(identities))
        with reading(self._store.engine) as connection:
            return {(source, id_) for source, id_ in connection.execute(query)}


def _partitions(consumer: KafkaConsumer, topic: str) -> Sequence[int]:
    found = consumer.partitions_for_topic(topic)
    if not found:
        raise BrokerError(f"no topic {topic!r}")
    return sorted(found)

"""Sends a heartbeat document through Kafka, the classifier and SQL, and shows when one last arrived."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from stream.domain.documents import HEARTBEAT_SOURCE, Kind, document_key
from stream.domain.sums import Scope, Selection
from stream.heartbeats import Heartbeats
from stream.metrics import StreamMetrics
from stream.storage.batches import Store
from stream.storage.database import writing
from stream.storage.outbox import KafkaMessage, enqueue, to_kafka

LOOK_BACK = timedelta(days=1)


class Heartbeat:
    """Sends a document without words, which gets no label and counts in no aggregate.

    When it arrives in SQL, the outbox, Kafka, the classifier and the database all work.
    """

    def __init__(
        self,
        *,
        store: Store,
        topic: str,
        heartbeats: Heartbeats,
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._topic, self._heartbeats = store, topic, heartbeats
        self._metrics, self._clock = metrics, clock
        self._started_at = clock()

    def run_once(self) -> None:
        now = self._clock()
        message = self._heartbeats.message(now)
        key = document_key(Kind.NEWS, HEARTBEAT_SOURCE, message["id"])
        with writing(self._store.engine) as connection:
            beat = KafkaMessage(key, msgspec.json.encode(message))
            enqueue(connection, [to_kafka(self._topic, [beat])], now)
        scope = Scope(None, (Kind.NEWS,), now - LOOK_BACK, now, Selection((HEARTBEAT_SOURCE,)))
        last_seen = self._store.reads.last_seen_by_source(scope)
        # Without any arrival show the start: a heartbeat that never arrives must be noticed too.
        # When the clock was set back, a start in the future would hide that nothing arrives.
        self._started_at = min(self._started_at, now)
        self._metrics.progress.heartbeat.set(last_seen.get(HEARTBEAT_SOURCE, self._started_at).timestamp())

"""Sends a heartbeat document through Kafka, the classifier and SQL, and shows when one last arrived."""

from collections.abc import Callable
from datetime import datetime, timedelta

from stream.domain.documents import HEARTBEAT_SOURCE, Kind
from stream.domain.sums import Scope, Selection
from stream.metrics import StreamMetrics
from stream.storage.batches import Store
from stream.storage.database import writing
from stream.storage.outbox import enqueue, to_kafka

LOOK_BACK = timedelta(days=1)


class Heartbeat:
    """Sends a document without words, which gets no label and counts in no aggregate.

    When it arrives in SQL, the outbox, Kafka, the classifier and the database all work.
    """

    def __init__(
        self, *, store: Store, topic: str, metrics: StreamMetrics, clock: Callable[[], datetime]
    ) -> None:
        self._store, self._topic = store, topic
        self._metrics, self._clock = metrics, clock
        self._started_at = clock()

    def run_once(self) -> None:
        now = self._clock()
        stamp = now.isoformat()
        message = {"id": stamp, "source": HEARTBEAT_SOURCE, "published_at": stamp, "text": "-", "lang": "zxx"}
        with writing(self._store.engine) as connection:
            enqueue(connection, [to_kafka(self._topic, [(f"{HEARTBEAT_SOURCE}/{stamp}", message)])], now)
        scope = Scope(None, tuple(Kind), now - LOOK_BACK, now, Selection((HEARTBEAT_SOURCE,)))
        last_seen = self._store.reads.last_seen_by_source(scope)
        # Without any arrival show the start: a heartbeat that never arrives must be noticed too.
        self._metrics.progress.heartbeat.set(last_seen.get(HEARTBEAT_SOURCE, self._started_at).timestamp())

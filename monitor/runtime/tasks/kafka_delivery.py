"""Delivers outbox entries to Kafka: predictions, dead letters and alert events."""

import logging
from collections.abc import Callable
from datetime import datetime

from stream.kafka.sender import KafkaSender
from stream.metrics import StreamMetrics
from stream.storage.outbox import KAFKA_PREFIX, Outbox, OutboxEntry

log = logging.getLogger(__name__)


class KafkaDelivery:
    """Sends entries to their topics and notes in the outbox which were delivered."""

    def __init__(
        self, *, sender: KafkaSender, outbox: Outbox, metrics: StreamMetrics, clock: Callable[[], datetime]
    ) -> None:
        self._sender, self._outbox, self._metrics, self._clock = sender, outbox, metrics, clock

    def __call__(self, entries: list[OutboxEntry]) -> None:
        errors = self._sender.send(entries)
        delivered = [entry for entry in entries if errors[entry.id] is None]
        if delivered:
            self._outbox.mark_done(delivered, "sent", self._clock())
        for entry in delivered:
            self._metrics.outbox.sent.labels(entry.target.removeprefix(KAFKA_PREFIX)).inc()
        for entry in entries:
            error = errors[entry.id]
            if error is not None:
                topic = entry.target.removeprefix(KAFKA_PREFIX)
                log.error("sending to topic %s failed, will be retried: %s", topic, error)
                self._metrics.outbox.failed.labels(topic).inc()
                self._outbox.mark_failed(entry, error, self._clock())

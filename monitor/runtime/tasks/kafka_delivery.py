"""Delivers outbox entries to Kafka: predictions, dead letters and alert events."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from stream.kafka.sender import KafkaSender
from stream.metrics import StreamMetrics
from stream.storage.outbox import KAFKA_PREFIX, Outbox, OutboxEntry, decode_messages

log = logging.getLogger(__name__)


class KafkaDelivery:
    """Sends entries to their topics and notes in the outbox which were delivered.

    A message that Kafka refuses for good is settled too, logged and counted: it must not hold up the others.
    """

    def __init__(
        self, *, sender: KafkaSender, outbox: Outbox, metrics: StreamMetrics, clock: Callable[[], datetime]
    ) -> None:
        self._sender, self._outbox, self._metrics, self._clock = sender, outbox, metrics, clock

    def __call__(self, entries: list[OutboxEntry]) -> None:
        results = self._sender.send(entries)
        settled = [entry for entry in entries if results[entry.id].error is None]
        if settled:
            self._outbox.mark_done(settled, "sent", self._clock())
        for entry in settled:
            self._count_settled(entry, results[entry.id].refused)
        for entry in entries:
            error = results[entry.id].error
            if error is not None:
                topic = entry.target.removeprefix(KAFKA_PREFIX)
                log.error("sending to topic %s failed, will be retried: %s", topic, error)
                self._metrics.outbox.failed.labels(topic).inc()
                self._outbox.mark_failed([entry], error, self._clock())

    def _count_settled(self, entry: OutboxEntry, refused: Sequence[str]) -> None:
        topic = entry.target.removeprefix(KAFKA_PREFIX)
        self._metrics.outbox.sent.labels(topic).inc()
        with suppress(ValueError):  # a body that cannot be read is among the refused
            shortened = sum(message.shortened for message in decode_messages(entry.body))
            self._metrics.outbox.shortened.labels(topic).inc(shortened)
        self._metrics.outbox.refused.labels(topic).inc(len(refused))
        if refused:
            log.error(
                "topic %s refuses %d message(s) for good, the first: %s; what they say is in the database: "
                "compare the topic's max.message.bytes with kafka.*_bytes",
                topic,
                len(refused),
                refused[0],
            )

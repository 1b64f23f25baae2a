"""The life of one batch, from the bytes in Kafka to rows that count exactly once.

    decode      bytes to documents; what is no document becomes a dead letter      stream.decoder
    classify    documents to predictions; a text without one becomes a dead letter stream.prediction
    write       everything and the offsets in one SQL transaction                  stream.batch_writer

Each step isolates a message that cannot be processed, so that a bad message harms only itself.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from stream.batch_writer import BatchWriter
from stream.breaker import CircuitBreaker
from stream.bundles import Record
from stream.decoder import DecodedDocument, Decoder
from stream.domain.documents import HEARTBEAT_SOURCE
from stream.domain.errors import REFUSED_SENDERS, DeadLetterReason, InferenceError
from stream.domain.records import ClassifiedDocument, Classify, DeadLetter, Outcome
from stream.metrics import StreamMetrics
from stream.prediction import predict_each

log = logging.getLogger(__name__)


class Pipeline:
    """Processes batches: several threads may classify while one writes.

    `clock` returns the aware UTC time; `stopping` ends every wait.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        classify: Classify,
        writer: BatchWriter,
        breakers: Mapping[str, CircuitBreaker],
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        """`breakers` are by topic."""
        self._decoder, self._classify_texts, self._writer = decoder, classify, writer
        self._breakers, self._metrics, self._clock = breakers, metrics, clock
        for topic in breakers:
            metrics.progress.breaker_open.labels(topic).set(0)

    @property
    def trouble(self) -> str | None:
        """What the batches wait for; None while they do not wait."""
        return self._writer.trouble or self._open_breakers

    @property
    def _open_breakers(self) -> str | None:
        topics = [topic for topic, breaker in self._breakers.items() if breaker.is_open]
        if not topics:
            return None
        return (
            f"the circuit breaker of {', '.join(topics)} is open: nearly every message is refused, so it is "
            "read slowly until messages are accepted; the table dead_letters gives the reason"
        )

    def may_start(self, topic: str) -> bool:
        """Whether a batch of this topic may start now; while its circuit breaker is open, one per pause."""
        return self._breakers[topic].may_start()

    def classify(self, records: Sequence[Record]) -> list[Outcome]:
        """Turn records into classified documents and dead letters.

        Raises InferenceError if the classifier is broken.
        """
        decoded = self._decoder.decode_batch(records, self._clock())
        self._metrics.batches.size.observe(len(decoded))
        documents = [item.document for item in decoded if isinstance(item, DecodedDocument)]
        predictions = iter(predict_each(documents, self._classify_texts))
        outcomes: list[Outcome] = []
        for item in decoded:
            if not isinstance(item, DecodedDocument):
                outcomes.append(item)
                continue
            prediction = next(predictions)
            if isinstance(prediction, InferenceError):
                outcomes.append(
                    DeadLetter(item.position, DeadLetterReason.INFERENCE, str(prediction), item.document.key)
                )
            else:
                outcomes.append(ClassifiedDocument(item.position, item.document, prediction))
        return outcomes

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes to SQL.  Raises StopRequested if the monitor stops before the database is back."""
        self._observe(outcomes)
        for result in self._writer.write(outcomes):
            self._metrics.count_batch(result, self._clock())
            _log_dead_letters(result.dead_letters)

    def _observe(self, outcomes: Sequence[Outcome]) -> None:
        """Tell each topic's circuit breaker what was accepted and refused.

        Tombstones say nothing about the messages, nor do heartbeats, which the monitor sends itself, nor
        messages that were refused for who sent them.
        """
        accepted, refused = Counter[str](), Counter[str]()
        for outcome in outcomes:
            topic = outcome.position.partition.topic
            if isinstance(outcome, DeadLetter):
                refused[topic] += outcome.reason not in REFUSED_SENDERS
            elif isinstance(outcome, ClassifiedDocument) and outcome.document.source != HEARTBEAT_SOURCE:
                accepted[topic] += 1
        for topic in accepted | refused:
            breaker = self._breakers[topic]
            was_open = breaker.is_open
            breaker.observe(accepted[topic], refused[topic])
            if breaker.is_open is not was_open:
                self._show_breaker(topic, breaker)

    def _show_breaker(self, topic: str, breaker: CircuitBreaker) -> None:
        self._metrics.progress.breaker_open.labels(topic).set(int(breaker.is_open))
        if breaker.is_open:
            log.error("%s", self._open_breakers)
        else:
            log.info("the circuit breaker of %s is closed: its messages are accepted again", topic)


def _log_dead_letters(dead_letters: Sequence[DeadLetter]) -> None:
    """Log one line per batch: a flood of bad messages must not flood the log."""
    if not dead_letters:
        return
    first, by_reason = dead_letters[0], Counter(letter.reason for letter in dead_letters)
    log.warning(
        "%d dead letter(s): %s; the first: %s %s: %s",
        len(dead_letters),
        ", ".join(f"{reason} {number}" for reason, number in by_reason.items()),
        first.position,
        first.reason,
        first.detail[:200],
    )

"""The life of one batch, from the bytes in Kafka to rows that count exactly once.

    decode      bytes to documents; what is no document becomes a dead letter      stream.decoder
    classify    documents to predictions; a text without one becomes a dead letter stream.prediction
    write       everything and the offsets in one SQL transaction                  stream.batch_writer

Each step isolates a message that cannot be processed, so that a bad message harms only itself.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from stream.batch_writer import BatchWriter
from stream.breaker import CircuitBreaker
from stream.bundles import Record
from stream.decoder import DecodedDocument, Decoder
from stream.domain.errors import REFUSED_SENDERS, DeadLetterReason, InferenceError
from stream.domain.records import ClassifiedDocument, Classify, DeadLetter, Outcome
from stream.metrics import StreamMetrics
from stream.prediction import predict_each
from stream.retry import StopRequested

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
        breaker: CircuitBreaker,
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
        stopping: threading.Event,
    ) -> None:
        self._decoder, self._classify_texts, self._writer = decoder, classify, writer
        self._breaker, self._metrics = breaker, metrics
        self._clock, self._stopping = clock, stopping
        self._one_at_a_time = threading.Lock()
        self._paused: str | None = None

    @property
    def trouble(self) -> str | None:
        """What the batches wait for; None while they do not wait."""
        return self._paused or self._writer.trouble

    def classify(self, records: Sequence[Record]) -> list[Outcome]:
        """Turn records into classified documents and dead letters.

        Raises StopRequested if the monitor stops first, and InferenceError if the classifier is broken.
        """
        self._pause_while_unreadable()
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
        refused = sum(
            isinstance(outcome, DeadLetter) and outcome.reason not in REFUSED_SENDERS for outcome in outcomes
        )
        accepted = sum(isinstance(outcome, ClassifiedDocument) for outcome in outcomes)
        self._breaker.observe(accepted + refused, refused)
        for result in self._writer.write(outcomes):
            self._metrics.count_batch(result, self._clock())
            _log_dead_letters(result.dead_letters)

    def _pause_while_unreadable(self) -> None:
        """While the circuit breaker is open, let one batch through per pause; the others stay in Kafka."""
        with self._one_at_a_time:
            if not self._breaker.is_open:
                return
            self._paused = (
                "nearly every message is refused: one batch a minute is tried until most are accepted"
            )
            log.error("%s; the dead letters give the reason", self._paused)
            if self._stopping.wait(self._breaker.pause_seconds):
                raise StopRequested("stopped while messages cannot be read")
            self._paused = None


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

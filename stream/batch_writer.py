"""Writes the outcomes of a batch to SQL, waits for an unavailable database, and isolates what it refuses."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

from stream.domain.errors import DeadLetterReason, StoreRefused, StoreUnavailable
from stream.domain.records import (
    UNKNOWN_EPOCH,
    Batch,
    ClassifiedDocument,
    DeadLetter,
    Outbound,
    Outcome,
    Partition,
    WriteResult,
)
from stream.metrics import StreamMetrics
from stream.retry import Outage, RetryPolicy, retry
from stream.storage.batches import Store

log = logging.getLogger(__name__)
T = TypeVar("T")

DATABASE_RETRY = RetryPolicy(first_pause=0.2, longest_pause=10.0, jitter=0.5)
# A batch of messages that hold many documents each may be larger: it is written in several transactions.
MAX_DOCUMENTS_PER_TRANSACTION = 10_000


class BatchWriter:
    """Writes batches, one at a time; `stopping` ends the wait for a database that is down.

    `check_offsets` raises OffsetsRefused if the log is not the one that SQL has read.
    """

    def __init__(
        self,
        *,
        store: Store,
        outbound: Outbound,
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
        stopping: threading.Event,
        check_offsets: Callable[[], None] = lambda: None,
    ) -> None:
        self._check_offsets = check_offsets
        self._epochs: dict[Partition, int] = {}
        self._store, self._outbound, self._metrics = store, outbound, metrics
        self._clock, self._stopping = clock, stopping
        self._database = Outage("database", log)

    @property
    def trouble(self) -> str | None:
        """Why a batch waits; None while the database answers."""
        return None if self._database.reason is None else f"database: {self._database.reason}"

    def write(self, outcomes: Sequence[Outcome]) -> list[WriteResult]:
        """Write in one transaction; if there are too many, or the database refuses them, write each half.

        Never split a message: committing its first half would advance the offset past the rest.
        Raises StopRequested if the monitor stops before the database is back, and OffsetsRefused.
        """
        self._check_new_leaders(outcomes)
        if len(outcomes) <= MAX_DOCUMENTS_PER_TRANSACTION:
            with suppress(StoreRefused):
                return [self._write_transaction(outcomes)]
        middle = _middle_between_messages(outcomes)
        if not middle:
            return [self._write_transaction(self._replace_refused(outcomes))]
        return self.write(outcomes[:middle]) + self.write(outcomes[middle:])

    def _check_new_leaders(self, outcomes: Sequence[Outcome]) -> None:
        """Before messages of a leader that is new to this process: it may lack the latest of the one before.

        Once its messages are in SQL, nothing shows that others with the same offsets were skipped.
        """
        epochs = {partition: end.leader_epoch for partition, end in Batch(outcomes).ends.items()}
        if any(self._epochs.get(partition, UNKNOWN_EPOCH) < epoch for partition, epoch in epochs.items()):
            self._check_offsets()
            self._epochs |= epochs

    def _replace_refused(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes, with a dead letter in place of each document that the database refuses."""
        documents = [outcome for outcome in outcomes if isinstance(outcome, ClassifiedDocument)]
        refusal = self._retry_while_unavailable(
            len(outcomes), lambda: self._store.refusal_reason(documents, self._outbound, self._clock())
        )
        if refusal is None:
            return list(outcomes)
        if len(outcomes) == 1:
            return [DeadLetter(documents[0].position, DeadLetterReason.STORAGE, refusal, documents[0].key)]
        middle = len(outcomes) // 2
        return self._replace_refused(outcomes[:middle]) + self._replace_refused(outcomes[middle:])

    def _write_transaction(self, outcomes: Sequence[Outcome]) -> WriteResult:
        def write() -> WriteResult:
            started = time.perf_counter()
            result = self._store.write(Batch(outcomes), self._outbound, self._clock())
            self._metrics.batches.commit_seconds.observe(time.perf_counter() - started)
            return result

        return self._retry_while_unavailable(len(outcomes), write)

    def _retry_while_unavailable(self, documents: int, work: Callable[[], T]) -> T:
        """The result of `work`, retried without limit while the database is unavailable.

        `documents` is how many documents wait for it, for the log.
        """

        def on_failure(error: Exception) -> None:
            self._metrics.batches.retries.inc()
            self._database.failed(error, f"waiting with {documents} documents")

        result = retry(
            work,
            errors=StoreUnavailable,
            policy=DATABASE_RETRY,
            on_failure=on_failure,
            wait=self._stopping.wait,
        )
        self._database.recovered()
        return result


def _middle_between_messages(outcomes: Sequence[Outcome]) -> int:
    """The index nearest to the middle at which another message begins; 0 if all are of one message."""
    messages = [(outcome.position.partition, outcome.position.offset) for outcome in outcomes]
    starts = [index for index, (left, right) in enumerate(pairwise(messages), 1) if left != right]
    return min(starts, key=lambda index: abs(2 * index - len(outcomes)), default=0)

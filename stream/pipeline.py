"""The life of one batch, from the bytes that Kafka gave to rows that count exactly once."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from msgspec import structs

from stream.breaker import Breaker
from stream.bundles import Record
from stream.codec import Codec
from stream.domain.documents import Document, Kind, Prediction
from stream.domain.errors import (
    InferenceError,
    Rejected,
    StoreRefused,
    StoreUnavailable,
    error_text,
)
from stream.domain.records import (
    Batch,
    ClassifiedDocument,
    Classify,
    DeadLetter,
    MessagePosition,
    Outbound,
    Partition,
    WriteResult,
)
from stream.metrics import StreamMetrics
from stream.retry import Outage, RetryPolicy, StopRequested, retry
from stream.storage.batches import Store

log = logging.getLogger(__name__)
T = TypeVar("T")

DATABASE_RETRY = RetryPolicy(first_pause=0.2, longest_pause=10.0, jitter=0.5)
BREAKER_SECONDS = 60.0
# What a flood of arrays can bring at once is written in parts.
MOST_AT_ONCE = 10_000
PLAIN_TEXT = "Company reports quarterly results"


class Pipeline:
    """Takes batches: several threads may judge, while one writes what was judged before.

    `kinds` and `incarnations` are by Kafka topic; `clock` gives aware UTC now; `stopping` ends waits.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        classify: Classify,
        store: Store,
        outbound: Outbound,
        kinds: Mapping[str, Kind],
        incarnations: Mapping[str, str],
        late: timedelta,
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
        stopping: threading.Event,
        breaker: Breaker,
        breaker_seconds: float = BREAKER_SECONDS,
    ) -> None:
        self._codec, self._classify_texts, self._store, self._outbound = codec, classify, store, outbound
        self._kinds, self._incarnations, self._late = kinds, incarnations, late
        self._metrics, self._clock, self._stopping = metrics, clock, stopping
        self._breaker, self._breaker_seconds = breaker, breaker_seconds
        self._reading = threading.Lock()
        self._unreadable: str | None = None
        self._database = Outage("database", log)

    @property
    def trouble(self) -> str | None:
        """What a batch waits for."""
        if self._unreadable is not None:
            return self._unreadable
        return None if self._database.reason is None else f"database: {self._database.reason}"

    def process(self, records: Sequence[Record]) -> None:
        """Decode, classify, write.  Returns when every record is in SQL, as a document or dead letter.

        Raises StopRequested where the monitor is to stop before the database is back.
        """
        self.write(self.classify(records))

    def classify(self, records: Sequence[Record]) -> list[ClassifiedDocument | DeadLetter]:
        """What becomes of each record.  Raises StopRequested where the monitor stops first."""
        self._wait_for_readable()
        decoded = self._decode(records)
        self._metrics.batch.observe(len(decoded))
        return self._classify_documents(decoded)

    def write(self, outcomes: Sequence[ClassifiedDocument | DeadLetter]) -> None:
        """Bring it to SQL.  Raises StopRequested where the monitor is to stop before the database is back."""
        self._breaker.observe(len(outcomes), sum(isinstance(outcome, DeadLetter) for outcome in outcomes))
        for written in self._write(outcomes):
            self._metrics.count(written, self._clock(), self._late)
            _log_dead(written.dead_letters)

    def _wait_for_readable(self) -> None:
        """While nearly every message is refused, one batch a minute is tried; the others stay in Kafka."""
        with self._reading:
            if not self._breaker.is_open:
                return
            self._unreadable = (
                "nearly every message is refused: one batch a minute is tried until they can be read"
            )
            log.error("%s; see the dead letters for the reason", self._unreadable)
            if self._stopping.wait(self._breaker_seconds):
                raise StopRequested("stopped while the messages cannot be read")
            self._unreadable = None

    def _decode(self, records: Sequence[Record]) -> list[tuple[MessagePosition, Document] | DeadLetter]:
        now = self._clock()
        decoded: list[tuple[MessagePosition, Document] | DeadLetter] = []
        for record in records:
            kind, incarnation = self._kinds[record.topic], self._incarnations[record.topic]
            partition = Partition(incarnation, record.topic, record.partition)
            decoded += decode(self._codec, MessagePosition(kind, partition, record.offset, record.value), now)
        return decoded

    def _classify_documents(
        self, decoded: Sequence[tuple[MessagePosition, Document] | DeadLetter]
    ) -> list[ClassifiedDocument | DeadLetter]:
        documents = [item[1] for item in decoded if not isinstance(item, DeadLetter)]
        answers = iter(self._predict(documents))
        outcomes: list[ClassifiedDocument | DeadLetter] = []
        for item in decoded:
            if isinstance(item, DeadLetter):
                outcomes.append(item)
                continue
            (place, document), answer = item, next(answers)
            if isinstance(answer, InferenceError):
                outcomes.append(DeadLetter(place, "inference", str(answer)))
            else:
                outcomes.append(ClassifiedDocument(place, document, answer))
        return outcomes

    def _predict(self, documents: Sequence[Document]) -> list[Prediction | InferenceError]:
        """Classify all together; where that fails, by halves, until the culprit stands alone.

        Raises InferenceError where a plain text fails then too: the classifier is broken, and no text is to
        blame.
        """
        if not documents:
            return []
        if len(documents) == 1:
            try:
                return [self._twice(documents[0].content, documents[0].lang)]
            except InferenceError as error:
                self._twice(PLAIN_TEXT, "en")
                return [error]
        try:
            texts = [document.content for document in documents]
            return [*self._sound(texts, [document.lang for document in documents])]
        except InferenceError as error:
            log.warning("inference failed on %d documents, halving: %s", len(documents), error)
        middle = len(documents) // 2
        return self._predict(documents[:middle]) + self._predict(documents[middle:])

    def _twice(self, text: str, lang: str | None) -> Prediction:
        """A text is to blame only where the classifier fails on it alone a second time."""
        try:
            return self._sound([text], [lang])[0]
        except InferenceError as error:
            log.warning("inference failed on a single text, trying once more: %s", error)
            return self._sound([text], [lang])[0]

    def _sound(self, texts: Sequence[str], languages: Sequence[str | None]) -> Sequence[Prediction]:
        """What the classifier says, once it was looked at: a label that is no number is no label."""
        try:
            found = self._classify_texts(texts, languages)
        except (RuntimeError, MemoryError) as error:  # of a device or its library
            raise InferenceError(error_text(error)) from error
        if len(found) != len(texts) or not all(prediction.is_finite for prediction in found):
            raise InferenceError(f"the answer for {len(texts)} texts is incomplete or not finite")
        return found

    def _write(self, outcomes: Sequence[ClassifiedDocument | DeadLetter]) -> list[WriteResult]:
        """Write all in one transaction; where the values are refused, or are very many, by halves.

        A message is not torn: with its first half its offset would be passed over.
        """
        if len(outcomes) <= MOST_AT_ONCE:
            with suppress(StoreRefused):
                return [self._put(outcomes)]
        middle = _between_messages(outcomes)
        if not middle:
            return [self._put(self._sift(outcomes))]
        return self._write(outcomes[:middle]) + self._write(outcomes[middle:])

    def _sift(
        self, outcomes: Sequence[ClassifiedDocument | DeadLetter]
    ) -> list[ClassifiedDocument | DeadLetter]:
        """What the database does not take, found by halves, becomes a dead letter."""
        judged = [outcome for outcome in outcomes if isinstance(outcome, ClassifiedDocument)]
        refusal = self._wait_out(
            len(outcomes), lambda: self._store.refusal_reason(judged, self._outbound, self._clock())
        )
        if refusal is None:
            return list(outcomes)
        if len(outcomes) == 1:
            return [DeadLetter(outcomes[0].position, "storage", refusal)]
        middle = len(outcomes) // 2
        return self._sift(outcomes[:middle]) + self._sift(outcomes[middle:])

    def _put(self, outcomes: Sequence[ClassifiedDocument | DeadLetter]) -> WriteResult:
        def write() -> WriteResult:
            started = time.perf_counter()
            written = self._store.write(Batch(outcomes), self._outbound, self._clock())
            self._metrics.commit.observe(time.perf_counter() - started)
            return written

        return self._wait_out(len(outcomes), write)

    def _wait_out(self, held: int, work: Callable[[], T]) -> T:
        """Do it, and retry while the database is away, with so many documents held."""

        def on_failure(error: Exception) -> None:
            self._metrics.retries.inc()
            self._database.failed(error, f"waiting with {held} documents")

        result = retry(
            work,
            errors=StoreUnavailable,
            policy=DATABASE_RETRY,
            on_failure=on_failure,
            wait=self._stopping.wait,
        )
        self._database.recovered()
        return result


def decode(
    codec: Codec, place: MessagePosition, now: datetime
) -> Iterator[tuple[MessagePosition, Document] | DeadLetter]:
    """What the message that stood there holds, each document by itself."""
    try:
        parts = codec.split(place.value)
    except Rejected as error:
        yield DeadLetter(place, error.reason, error.detail)
        return
    own = [structs.replace(place, value=value, item=at) for at, value in enumerate(parts or ())]
    for one in [place] if parts is None else own:
        try:
            yield one, codec.decode(one.value, one.kind, now)
        except Rejected as error:
            yield DeadLetter(one, error.reason, error.detail)


def _between_messages(outcomes: Sequence[ClassifiedDocument | DeadLetter]) -> int:
    """Where a message ends that is about in the middle; 0 where all are of one message."""
    places = [(outcome.position.partition, outcome.position.offset) for outcome in outcomes]
    ends = [at for at, (one, two) in enumerate(pairwise(places), 1) if one != two]
    return min(ends, key=lambda at: abs(2 * at - len(outcomes)), default=0)


def _log_dead(dead: Sequence[DeadLetter]) -> None:
    """One line a batch, whatever the number: a flood of bad messages must not flood the log."""
    if dead:
        first = dead[0]
        log.warning(
            "%d dead letter(s): %s; the first: %s %s: %s",
            len(dead),
            ", ".join(f"{reason} {n}" for reason, n in Counter(d.reason for d in dead).items()),
            first.position,
            first.reason,
            first.detail[:200],
        )

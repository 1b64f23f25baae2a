"""Shows the lag, and ends the process when everything answers and nothing moves."""

import logging
from collections.abc import Callable
from typing import Any

from stream.kafka import admin
from stream.kafka.settings import KafkaSettings
from stream.metrics import UNKNOWN, StreamMetrics
from stream.pipeline import Pipeline
from stream.storage.batches import Store
from stream.worker import Worker

log = logging.getLogger(__name__)

# A database that has not answered for so many seconds counts as unavailable.
DATABASE_UNAVAILABLE_SECONDS = 8.0
# It runs every two seconds.  If it did not for so long, the whole process stood still, as under SIGSTOP or on
# a virtual machine that was moved: nothing could have been committed meanwhile.
SUSPENDED_SECONDS = 30.0


class Watchdog:
    """Ends the process when messages wait and nothing is committed although broker and database answer."""

    def __init__(
        self,
        *,
        worker: Worker[Any],
        pipeline: Pipeline,
        store: Store,
        kafka: KafkaSettings,
        metrics: StreamMetrics,
        stuck_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds that only grow, on the scale of the worker's own times: `time.monotonic`."""
        self._worker, self._pipeline, self._store, self._kafka = worker, pipeline, store, kafka
        self._metrics, self._stuck_seconds, self._clock = metrics, stuck_seconds, clock
        self._moved_at = self._answered_at = self._ran_at = clock()
        self.broker_unavailable = False
        for topic in kafka.kinds:
            metrics.progress.in_hand.labels(topic).set(UNKNOWN)

    @property
    def database_unavailable(self) -> bool:
        """Whether the database has not answered for a while.  One that hangs raises no error."""
        return self._clock() - self._answered_at > DATABASE_UNAVAILABLE_SECONDS

    def run_once(self) -> None:
        """Raises RuntimeError, which ends the process, when waiting any longer cannot help."""
        self._probe_broker()
        self._metrics.progress.dependency_up.labels("database").set(int(not self.database_unavailable))
        # While the broker is unavailable nobody knows how many messages wait in it.
        waiting = {} if self.broker_unavailable else dict(self._worker.waiting)
        self._metrics.progress.show_lag(
            waiting, dict(self._worker.caught_up), dict(self._worker.held_since) if waiting else {}
        )
        self._metrics.progress.show_in_hand(
            self._worker.in_hand, dict(self._worker.caught_up), self._worker.assignments
        )
        self._check_progress()

    def ping_database(self) -> None:
        """Run it in a thread of its own: it may hang.  Raises StoreUnavailable."""
        self._store.ping()
        self._answered_at = self._clock()

    def _probe_broker(self) -> None:
        unavailable = not admin.answers(self._kafka)
        if unavailable and not self.broker_unavailable:
            log.error("no broker answers at %s, waiting", self._kafka.bootstrap_servers)
        if self.broker_unavailable and not unavailable:
            log.info("a broker answers at %s again", self._kafka.bootstrap_servers)
        self.broker_unavailable = unavailable
        self._metrics.progress.dependency_up.labels("broker").set(int(not unavailable))

    def _check_progress(self) -> None:
        now = self._clock()
        was_suspended = now - self._ran_at > SUSPENDED_SECONDS
        self._ran_at = now
        waits_for_others = (
            self.broker_unavailable or self.database_unavailable or self._pipeline.trouble is not None
        )
        if was_suspended or waits_for_others or self._is_idle(now):
            self._moved_at = now
            return
        seconds = now - max(self._moved_at, self._worker.last_batch_at or 0.0)
        if seconds > self._stuck_seconds:
            raise RuntimeError(
                f"{self._stuck_reason()} for {seconds:.0f} s although broker and database answer: "
                "the process ends so that a supervisor restarts it"
            )

    def _is_idle(self, now: float) -> bool:
        """Whether the worker has joined its group, looked at its lag recently and has nothing to read."""
        worker = self._worker
        observed = worker.observed_at is not None and now - worker.observed_at < self._stuck_seconds
        return observed and worker.joined_at is not None and not any(worker.waiting.values())

    def _stuck_reason(self) -> str:
        if self._worker.joined_at is None:
            return "the consumer group was not joined"
        return f"{sum(self._worker.waiting.values())} messages wait and no batch was committed"

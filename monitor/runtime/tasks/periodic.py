"""A thread that runs one background task at a fixed interval."""

import logging
import threading
from collections.abc import Callable

from stream.domain.errors import BrokerError, OffsetsRefused, StoreUnavailable
from stream.retry import Outage, RetryPolicy, StopRequested, retry

log = logging.getLogger(__name__)


class PeriodicTask(threading.Thread):
    """Calls `run_once` every `seconds` until stopped.

    While the database or the broker is unavailable it retries at the same interval.  Any other error ends the
    monitor: the task logs it and hands it to `fail`.
    """

    def __init__(
        self,
        *,
        name: str,
        seconds: float,
        run_once: Callable[[], object],
        stopping: threading.Event,
        fail: Callable[[BaseException], None],
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_end` is called last, in this thread."""
        super().__init__(name=name, daemon=True)
        self._seconds, self._run_once, self._stopping, self._fail = seconds, run_once, stopping, fail
        self._on_end = on_end

    def run(self) -> None:
        """The thread's work; `start` calls it."""
        try:
            self._repeat()
        except StopRequested:
            log.debug("%s: stopped while it waited", self.name)
        except OffsetsRefused as error:
            log.critical("%s: %s", self.name, error)
            self._fail(error)
        except Exception as error:
            log.exception("%s: unexpected error", self.name)
            self._fail(error)
        finally:
            self._on_end()

    def _repeat(self) -> None:
        policy = RetryPolicy(first_pause=self._seconds, longest_pause=self._seconds)
        outage = Outage(f"{self.name}: database or broker", log)
        while not self._stopping.is_set():
            retry(
                self._run_once,
                errors=(StoreUnavailable, BrokerError),
                policy=policy,
                on_failure=outage.failed,
                wait=self._stopping.wait,
            )
            outage.recovered()
            self._stopping.wait(self._seconds)

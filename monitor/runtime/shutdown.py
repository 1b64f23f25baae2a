"""The request to stop: from a signal, from a failed task, from any thread."""

import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

STOP_SECONDS = 40.0


class Shutdown:
    """Asked for once and seen by every part; remembers the error that the process ends with.

    From the first request on, a process that has not ended after STOP_SECONDS is ended with status 1.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._error: BaseException | None = None
        self._lock, self._requested = threading.Lock(), False
        self._notify: Callable[[], object] = self.stopping.set
        self._deadline = threading.Timer(STOP_SECONDS, _exit_now)
        self._deadline.daemon = True

    def on_request(self, notify: Callable[[], object]) -> None:
        """Call `notify` at each request, in the thread of the request."""
        self._notify = notify

    def request(self) -> None:
        """Ask for the end; may be called again and from any thread."""
        with self._lock:
            is_first, self._requested = not self._requested, True
        if is_first:
            log.info("stopping")
            self._deadline.start()
        self.stopping.set()
        self._notify()

    def fail(self, error: BaseException) -> None:
        """A part failed for good: stop, and let `finish` raise its error."""
        self._error = error
        self.request()

    def finish(self) -> None:
        """Everything has stopped.  Raises the error of `fail`, if there was one."""
        self.stopping.set()
        self._deadline.cancel()
        if self._error is not None:
            raise self._error


def _exit_now() -> None:
    log.critical("not stopped within %g s: the process ends now", STOP_SECONDS)
    logging.shutdown()
    os._exit(1)

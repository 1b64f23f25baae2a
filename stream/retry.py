"""Retries with backoff, and logs outages.  Independent of what is retried."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from stream.domain.errors import StreamError, error_text

T = TypeVar("T")


class StopRequested(StreamError):
    """The monitor stops while a batch still waits; Kafka delivers again what was not written."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to pause between attempts, and when to give up.

    The first pause lasts `first_pause` seconds; each one after it is twice as long, up to `longest_pause`.
    `jitter` is the share of each pause that is random, so that many workers do not retry in step.
    It gives up after `attempts` attempts, or once `seconds` have passed since the first; None: never.
    """

    first_pause: float
    longest_pause: float
    jitter: float = 0.0
    attempts: int | None = None
    seconds: float | None = None

    def pauses(self) -> Iterator[float]:
        """The pauses in seconds, one after each failed attempt except the last one allowed."""
        pause, failures = self.first_pause, 0
        while self.attempts is None or (failures := failures + 1) < self.attempts:
            yield pause * random.uniform(1.0 - self.jitter, 1.0)
            pause = min(2 * pause, self.longest_pause)


class Outage:
    """Whether a dependency is down, logged once when it goes down and once when it is back."""

    def __init__(self, name: str, logger: logging.Logger, level: int = logging.ERROR) -> None:
        """`name` names the dependency in the log; `level` is that of the first line, the second is INFO."""
        self._name, self._logger, self._level = name, logger, level
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """The latest error; None if the dependency is up."""
        return self._reason

    def failed(self, error: Exception, action: str = "retrying") -> None:
        """Record a failed attempt; `action` says, in the log, what the caller does about it."""
        if self._reason is None:
            self._logger.log(self._level, "%s unavailable, %s: %s", self._name, action, error)
        self._reason = error_text(error)

    def recovered(self) -> None:
        """Record a successful attempt."""
        if self._reason is not None:
            self._logger.info("%s back", self._name)
        self._reason = None


def retry(
    work: Callable[[], T],
    *,
    errors: type[Exception] | tuple[type[Exception], ...],
    policy: RetryPolicy,
    on_failure: Callable[[Exception], object] = lambda error: None,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The result of `work`, called until it raises none of `errors`.

    `on_failure` gets each of these errors before the pause; `Outage.failed` is made for it.  `wait` pauses
    for some seconds and returns a true value to stop, as `threading.Event.wait` does; `clock` returns
    seconds.
    Raises the last error if the policy gives up, and StopRequested if `wait` stops.
    """
    started, pauses = clock(), policy.pauses()
    while True:
        try:
            return work()
        except errors as error:
            pause = next(pauses, None)
            if pause is None or (policy.seconds is not None and clock() - started > policy.seconds):
                raise
            on_failure(error)
            if wait(pause):
                raise StopRequested(f"stopped while waiting: {error_text(error)}") from error

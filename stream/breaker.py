"""A circuit breaker: it slows down a stream whose messages nearly all become dead letters.

Without it, a producer that changes its format would turn the whole backlog into dead letters within minutes.
It has no clock: the caller does the waiting.
"""

from collections import deque
from dataclasses import dataclass, field

PAUSE_SECONDS = 60.0


@dataclass
class CircuitBreaker:
    """Opens when at least `share` of the latest `window` messages (or slightly more) were refused.

    While it is open, one batch may pass every `pause_seconds`; the first with fewer refusals closes it.
    """

    share: float
    window: int = 1000
    pause_seconds: float = PAUSE_SECONDS
    is_open: bool = False
    _batches: deque[tuple[int, int]] = field(default_factory=deque)
    _messages: int = 0
    _refused: int = 0

    def observe(self, messages: int, refused: int) -> None:
        """Count one batch: how many messages it had, and how many of them were refused."""
        if self.is_open:
            if refused < self.share * messages:
                self._close()
            return
        self._batches.append((messages, refused))
        self._messages, self._refused = self._messages + messages, self._refused + refused
        while self._messages - self._batches[0][0] >= self.window:
            oldest_messages, oldest_refused = self._batches.popleft()
            self._messages, self._refused = self._messages - oldest_messages, self._refused - oldest_refused
        self.is_open = self._messages >= self.window and self._refused >= self.share * self._messages

    def _close(self) -> None:
        self.is_open, self._messages, self._refused = False, 0, 0
        self._batches.clear()

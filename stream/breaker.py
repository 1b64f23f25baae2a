"""A circuit breaker: it slows down a topic whose messages nearly all become dead letters.

Without it, a producer that changes its format would turn the whole backlog into dead letters within minutes.
It never waits itself: the worker asks whether a batch may start, and reads other topics meanwhile.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class CircuitBreaker:
    """Opens when at least `share` of the latest `window` messages of a topic (or slightly more) were refused.

    While it is open, one batch may start per pause: the first pauses are short, and each batch without a
    document that was accepted doubles them, up to `longest_pause` seconds.  So a flood of bad messages
    delays what follows it by seconds.  A batch with a document that was accepted ends the pauses, and one
    with fewer refusals than `share` closes the breaker.
    """

    share: float
    window: int = 1000
    first_pause: float = 1.0
    longest_pause: float = 60.0
    clock: Callable[[], float] = time.monotonic
    is_open: bool = False
    _batches: deque[tuple[int, int]] = field(default_factory=deque)
    _messages: int = 0
    _refused: int = 0
    _pause: float = 0.0
    _may_start_at: float = 0.0

    def may_start(self) -> bool:
        """Whether a batch may start now.  While the breaker is open, the caller must then start one."""
        if self.is_open and self.clock() < self._may_start_at:
            return False
        self._may_start_at = self.clock() + self._pause
        return True

    def observe(self, accepted: int, refused: int) -> None:
        """Count the documents of one batch that were accepted, and its messages that were refused."""
        messages = accepted + refused
        if not messages:
            return
        if not self.is_open:
            self._count(messages, refused)
        elif refused < self.share * messages:
            self.is_open, self._pause, self._messages, self._refused = False, 0.0, 0, 0
            self._batches.clear()
        if self.is_open:
            longer = min(self.longest_pause, max(self.first_pause, 2 * self._pause))
            self._pause = 0.0 if accepted else longer
            self._may_start_at = self.clock() + self._pause

    def _count(self, messages: int, refused: int) -> None:
        self._batches.append((messages, refused))
        self._messages, self._refused = self._messages + messages, self._refused + refused
        while self._messages - self._batches[0][0] >= self.window:
            oldest_messages, oldest_refused = self._batches.popleft()
            self._messages, self._refused = self._messages - oldest_messages, self._refused - oldest_refused
        self.is_open = self._messages >= self.window and self._refused >= self.share * self._messages

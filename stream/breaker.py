"""Bounds how fast a stream that cannot be read any more becomes dead letters.  Pure: it knows no clock."""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Breaker:
    """Opens when of the latest messages, `window` or more of them, the share `share` or more was refused.

    While it is open one batch passes after each pause; the first that is readable again closes it.
    """

    share: float
    window: int = 1000
    is_open: bool = False
    _batches: deque[tuple[int, int]] = field(default_factory=deque)
    _read: int = 0
    _refused: int = 0

    def observe(self, read: int, refused: int) -> None:
        """What became of one batch of `read` messages."""
        if self.is_open:
            if refused < self.share * read:
                self._forget()
            return
        self._batches.append((read, refused))
        self._read, self._refused = self._read + read, self._refused + refused
        while self._read - self._batches[0][0] >= self.window:
            oldest_read, oldest_refused = self._batches.popleft()
            self._read, self._refused = self._read - oldest_read, self._refused - oldest_refused
        self.is_open = self._read >= self.window and self._refused >= self.share * self._read

    def _forget(self) -> None:
        self.is_open, self._read, self._refused = False, 0, 0
        self._batches.clear()

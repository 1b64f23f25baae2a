"""Values that many visitors share, read again after a while."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

T = TypeVar("T")


class Cached(Generic[T]):
    """What a function gives, kept for `lifetime`; of several threads that want it, one calls the function."""

    def __init__(self, read: Callable[[datetime], T], lifetime: timedelta) -> None:
        """`read` takes the time now."""
        self._read, self._lifetime = read, lifetime
        self._lock = threading.Lock()
        self._kept: tuple[datetime, T] | None = None

    def get(self, now: datetime) -> T:
        """The value, at most `lifetime` old.  Raises what the function raises, which is not kept."""
        with self._lock:
            if self._kept is None or not timedelta(0) <= now - self._kept[0] < self._lifetime:
                self._kept = now, self._read(now)
            return self._kept[1]

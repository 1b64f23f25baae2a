"""Values that many visitors share, read again after a while."""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from monitor.web.threads import Threads

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


class Shared(Generic[T]):
    """The same for hundreds who ask at the same moment: all wait for one thread, and none takes its own."""

    def __init__(self, cached: Cached[T], threads: Threads, clock: Callable[[], datetime]) -> None:
        self._cached, self._threads, self._clock = cached, threads, clock
        self._reading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The value.  Raises Overloaded, and what the function raises.  Called in one event loop."""
        if self._reading is None or self._reading.done():
            read = self._threads.run(lambda: self._cached.get(self._clock()))
            self._reading = asyncio.create_task(read)
        # One who goes away does not end what the others wait for.
        return await asyncio.shield(self._reading)

"""Threads that read pages from the database, so that no page holds up another or the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from monitor.web.errors import Overloaded

T = TypeVar("T")
# How many requests may wait for a thread.
MAX_WAITING = 32


class Threads:
    """Runs blocking functions, at most `number` at a time, and waits for none longer than `seconds`."""

    def __init__(self, number: int, seconds: float, most_waiting: int = MAX_WAITING) -> None:
        self._number, self._seconds, self._most_waiting = number, seconds, most_waiting
        self._limiter: CapacityLimiter | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns.  Raises Overloaded; the function then runs to its end unobserved."""
        if self._limiter is None:  # it belongs to the running event loop
            self._limiter = CapacityLimiter(self._number)
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            raise Overloaded(f"{self._most_waiting} requests are waiting")
        task = asyncio.ensure_future(to_thread.run_sync(function, limiter=self._limiter))
        done, _ = await asyncio.wait({task}, timeout=self._seconds)
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise Overloaded(f"no answer within {self._seconds:g} s")
        return task.result()

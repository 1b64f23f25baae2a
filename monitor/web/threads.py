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

    def __init__(self, number: int, seconds: float) -> None:
        self._number, self._seconds = number, seconds
        self._limiter: CapacityLimiter | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns.  Raises Overloaded; the function then runs to its end unobserved."""
        if self._limiter is None:  # it belongs to the running event loop
            self._limiter = CapacityLimiter(self._number)
        if self._limiter.statistics().tasks_waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} requests are waiting")
        task = asyncio.ensure_future(to_thread.run_sync(function, limiter=self._limiter))
        done, _ = await asyncio.wait({task}, timeout=self._seconds)
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise Overloaded(f"no answer within {self._seconds:g} s")
        return task.result()

"""The live stream: one look at the database every two seconds, told to every browser that listens.

The look is taken while somebody listens.  Each listener has a queue with a bound: one that does not take its
events loses its stream, and nobody waits for it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from monitor.web.errors import Overloaded
from monitor.web.threads import Threads
from stream.domain.errors import StoreUnavailable
from stream.domain.incidents import Incident
from stream.storage.desk.freshness import Freshness

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
# What nobody asks for at once: the mood, and how fresh it is, change with every text.
MOOD_SECONDS = 10.0
# A comment goes to a quiet listener so often, by which both sides notice that the other is gone.
KEEP_ALIVE_SECONDS = 10.0
MOST_LISTENERS = 400
# Events that a listener may be behind.
MOST_WAITING = 32
# None is the end.
Queue = asyncio.Queue[bytes | None]


@dataclass(frozen=True)
class Look:
    """What the database held at one moment, as far as browsers are told of changes."""

    freshness: Freshness
    # Those that are open or ended lately, by id.
    incidents: dict[str, Incident]


def event(name: str, data: object) -> bytes:
    """An event as the browser's EventSource reads it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def changed_incidents(before: Look | None, now: Look) -> list[str]:
    """The ids of the incidents that began, changed or went out of sight between two looks, in order."""
    if before is None:
        return []
    ids = before.incidents.keys() | now.incidents.keys()
    return sorted(id_ for id_ in ids if before.incidents.get(id_) != now.incidents.get(id_))


class Live:
    """Looks at the database while somebody listens, and tells all listeners what changed."""

    def __init__(self, look: Callable[[], Look], threads: Threads, clock: Callable[[], datetime]) -> None:
        """`look` reads SQL, in a thread."""
        self._look, self._threads, self._clock = look, threads, clock
        self._listeners: set[Queue] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._last: Look | None = None
        self._status, self._is_late = event("status", {"text": "Waiting for the first look"}), False
        self._mood_at: datetime | None = None

    @property
    def listeners(self) -> int:
        """How many browsers listen."""
        return len(self._listeners)

    def listen(self) -> AsyncIterator[bytes]:
        """The events from now on, beginning with the status.  Raises Overloaded if too many listen.

        They end if the listener takes them too slowly.  Called in the event loop of the HTTP port.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            raise Overloaded(f"{MOST_LISTENERS} browsers listen already")
        queue: Queue = asyncio.Queue(MOST_WAITING)
        self._listeners.add(queue)
        if self._task is None or self._task.done():
            self._loop, self._last, self._mood_at = asyncio.get_running_loop(), None, None
            self._task = asyncio.create_task(self._run())
        return self._events(queue)

    def close(self) -> None:
        """End all streams, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_all)

    async def _events(self, queue: Queue) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 3000\n\n" + self._status
            while (message := await _next(queue)) is not None:
                yield message
        finally:
            self._listeners.discard(queue)

    def _end_all(self) -> None:
        for queue in self._listeners:
            _end(queue)
        self._listeners.clear()

    async def _run(self) -> None:
        """Look and tell until nobody listens."""
        while self._listeners:
            try:
                await self._tell(await self._threads.run(self._look))
            except (StoreUnavailable, Overloaded) as error:
                self._last = None
                self._send(*self._new_status("The database does not answer", late=True))
                log.debug("no live events: %s", error)
            except Exception:
                log.exception("no live events: the look at the database failed")
                self._send(*self._new_status("Not live: the monitor's log says why", late=True))
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self, look: Look) -> None:
        """Send what changed, all of it at once: that costs a listener as much as one event."""
        before, self._last = self._last, look
        freshness = look.freshness
        events = [event("incident", {"id": id_}) for id_ in changed_incidents(before, look)]
        is_new = before is not None and before.freshness.last_received != freshness.last_received
        has_mood = is_new and self._is_time_for_mood()
        if has_mood:
            events.append(event("mood", {}))
        # While texts come the status changes with each: it goes with the mood, unless what it says is urgent.
        if has_mood or not is_new or freshness.is_late != self._is_late:
            events += self._new_status(freshness.text, late=freshness.is_late)
        self._send(*events)

    def _is_time_for_mood(self) -> bool:
        now = self._clock()
        if self._mood_at is not None and 0 <= (now - self._mood_at).total_seconds() < MOOD_SECONDS:
            return False
        self._mood_at = now
        return True

    def _new_status(self, text: str, *, late: bool) -> list[bytes]:
        """The status, if it is another than the last."""
        status = event("status", {"text": text, "late": late})
        if status == self._status:
            return []
        self._status, self._is_late = status, late
        return [status]

    def _send(self, *events: bytes) -> None:
        """Send these to every listener, in one message."""
        if not events:
            return
        message = b"".join(events)
        for queue in tuple(self._listeners):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                _end(queue)
                self._listeners.discard(queue)


async def _next(queue: Queue) -> bytes | None:
    """The next message, or a comment if there is none for a while; None at the end."""
    try:
        return await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)
    except TimeoutError:
        return b": still here\n\n"


def _end(queue: Queue) -> None:
    """Let the listener's stream end, whatever still waits for it."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)

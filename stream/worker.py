"""Reads bundles from a source, groups them into batches, and has each batch classified and written in order.

This is plain asyncio over a `BundleSource`; in production that is `stream.kafka.faust_driver`.  While one
batch is written, the next two are classified, so that one is decoded while the other runs through the
network.  Batches are written one at a time and in order.  A bundle is acknowledged only once it is in SQL:
the offsets in SQL are authoritative, those in Kafka only say where to start reading.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from stream.bundle_queue import BundleQueue
from stream.bundles import Bundle, Record, TopicPartition
from stream.lag import Hole, InHand, LagTracker, PartitionProgress
from stream.retry import StopRequested
from stream.settings import StreamSettings

log = logging.getLogger(__name__)
T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")

DRAIN_SECONDS = 25.0
LEAVE_SECONDS = 5.0
OBSERVE_SECONDS = 2.0
# How often to ask again whether a topic may start that may not start now.
ASK_AGAIN_SECONDS = 0.2
# A broker answers behind a fetch that waits for messages for up to 1.5 s; one that is gone does not answer.
LOOKUP_SECONDS = 10.0
# One batch runs through the network; the other is decoded or waits for its turn.
CLASSIFIED_AT_ONCE = 2


class BundleReceiver(Protocol):
    """The side of the worker that a source calls."""

    async def receive(self, bundles: Sequence[Bundle]) -> None:
        """Accept the bundles; returns once there is room for more."""

    def partitions_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """After joining or a rebalance: exactly these partitions belong to this worker."""


class BundleSource(Protocol):
    """Delivers bundles and acknowledges them."""

    @property
    def generation(self) -> int:
        """The consumer group's generation; each rebalance starts a new one."""

    @property
    def error(self) -> BaseException | None:
        """What crashed the source; None while it works."""

    async def run(self) -> None:
        """Join the consumer group and deliver bundles; returns when `error` is set."""

    def check(self) -> None:
        """Raises BrokerError if no bundle can arrive any more."""

    async def progress(self, seconds: float) -> dict[TopicPartition, PartitionProgress]:
        """The progress of each assigned partition, if it is known within `seconds`."""

    def in_hand(self) -> dict[str, InHand]:
        """What was delivered of each topic and is not acknowledged."""

    async def acknowledge(self, bundle: Bundle) -> None:
        """Mark the bundle as written to SQL."""

    async def commit(self) -> None:
        """Commit the acknowledged offsets to Kafka."""

    async def stop(self) -> None:
        """Leave the consumer group."""


class Worker(Generic[T]):
    """Runs the stream until it is stopped or fails.

    For the watchdog, `joined_at`, `last_batch_at` and `observed_at` say when it joined the group, finished
    its last batch and last observed its progress, in monotonic seconds.  `assignments` counts how often it
    was given partitions, and `in_hand` is what it has of each topic as of the last observation.
    """

    def __init__(
        self,
        connect: Callable[[BundleReceiver], BundleSource],
        settings: StreamSettings,
        queue: BundleQueue,
        classify: Callable[[Sequence[Record]], T],
        write: Callable[[T], None],
        on_stopping: Callable[[], object],
        note_holes: Callable[[Mapping[TopicPartition, Hole]], None] = lambda holes: None,
    ) -> None:
        """`connect` creates the source, and is called in the running event loop.  `queue` is empty.

        `classify` gets a batch and `write` gets its result, each in its own threads.  `on_stopping` is called
        after draining, or when the worker fails, and must end their waits.  `note_holes` gets, in the thread
        of `write`, the offsets that hold no message, after everything before them was written.
        """
        self._connect, self._settings, self._queue = connect, settings, queue
        self._classify, self._write, self._on_stopping = classify, write, on_stopping
        self._note_holes = note_holes
        self._noting: asyncio.Future[None] | None = None
        self._noted: dict[TopicPartition, Hole] = {}
        self._classify_threads = ThreadPoolExecutor(CLASSIFIED_AT_ONCE, "classify")
        self._write_thread = ThreadPoolExecutor(1, "write")
        self._slots = asyncio.Semaphore(CLASSIFIED_AT_ONCE + 1)
        # Set when bundles arrive, a batch was classified, or one failed.
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._draining, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._unfinished_batches = self._being_classified = 0
        self._failed: asyncio.Task[None] | None = None
        self._lag = LagTracker()
        self.joined_at: float | None = None
        self.last_batch_at: float | None = None
        self.observed_at: float | None = None
        self.assignments = 0
        self.in_hand: dict[str, InHand] = {}

    @property
    def waiting(self) -> dict[TopicPartition, int]:
        """Messages of each partition that are not in SQL yet."""
        return self._lag.waiting

    @property
    def caught_up(self) -> dict[TopicPartition, float]:
        """When everything in each partition was last in SQL, in seconds since 1970."""
        return self._lag.caught_up

    @property
    def held_since(self) -> dict[TopicPartition, float]:
        """Since when an open transaction holds back each of these partitions, in seconds since 1970."""
        return self._lag.held_since

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish the batches in progress and leave the group.

        Raises BrokerError if the group cannot be joined or the source ends, and whatever the pipeline raised.
        """
        source = self._connect(self)
        work = (source.run(), self._observe(source), self._process_batches(source), stop.wait())
        tasks = [asyncio.create_task(coroutine) for coroutine in work]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
            if stop.is_set() and source.error is None:
                await self._drain(source)
        finally:
            for task in tasks:
                task.cancel()
            self._on_stopping()
            await _try_within(LEAVE_SECONDS, source.stop(), "leaving the group")
            for pool in (self._classify_threads, self._write_thread):
                await asyncio.to_thread(pool.shutdown)
        if source.error is not None:
            raise source.error

    async def receive(self, bundles: Sequence[Bundle]) -> None:
        """Queue the bundles; returns once less than a batch of their topics waits."""
        self._queue.add(bundles)
        self._changed.set()
        topics = {bundle.topic for bundle in bundles}
        while any(self._queue.is_full(topic) for topic in topics):
            self._has_room.clear()
            await self._has_room.wait()

    def partitions_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Start to account for these partitions."""
        self.joined_at = time.monotonic()
        self.assignments += 1
        self._lag.assign(partitions)
        self._noted.clear()
        names = ", ".join(sorted(f"{topic}[{number}]" for topic, number in partitions))
        log.info("partitions assigned: %s", names)

    async def _observe(self, source: BundleSource) -> None:
        """Keep the lag and `observed_at` up to date.  Raises BrokerError if no bundle can arrive any more."""
        while True:
            await asyncio.sleep(OBSERVE_SECONDS)
            source.check()
            self.in_hand = source.in_hand()
            if self.joined_at is not None:
                progress = await source.progress(LOOKUP_SECONDS)
                self._lag.update(progress)
                self.observed_at = time.monotonic()
                self._start_noting({tp: state.hole for tp, state in progress.items() if state.hole})

    def _start_noting(self, holes: dict[TopicPartition, Hole]) -> None:
        """Note the holes that are new.  The database may be away: nothing waits for it here."""
        new = {tp: hole for tp, hole in holes.items() if self._noted.get(tp) != hole}
        if not new or (self._noting is not None and not self._noting.done()):
            return
        self._noted |= new
        self._noting = asyncio.ensure_future(_in_thread(self._write_thread, self._note_holes, new))

    async def _process_batches(self, source: BundleSource) -> None:
        """Start batch after batch.  Raises what the pipeline raised."""
        latest: asyncio.Task[None] | None = None
        try:
            while True:
                await self._slots.acquire()
                latest = self._start_batch(source, await self._next_batch(source), previous=latest)
        except StopRequested as error:
            self._draining.set()
            self._idle.set()
            log.info("%s; Kafka sends the batch again", error)
            await asyncio.Event().wait()

    def _start_batch(
        self, source: BundleSource, batch: Sequence[Bundle], previous: asyncio.Task[None] | None
    ) -> asyncio.Task[None]:
        self._unfinished_batches += 1
        self._idle.clear()
        task = asyncio.create_task(self._process(source, batch, previous))
        task.add_done_callback(self._on_batch_ended)
        return task

    async def _process(
        self, source: BundleSource, batch: Sequence[Bundle], previous: asyncio.Task[None] | None
    ) -> None:
        """Classify, write and acknowledge one batch.

        If the `previous` batch failed, nothing is written: that would advance the offsets past it.
        """
        records = [record for bundle in batch for record in bundle.records]
        self._being_classified += 1
        classified = await _in_thread(self._classify_threads, self._classify, records)
        self._being_classified -= 1
        self._changed.set()
        if previous is not None:
            await previous
        await _in_thread(self._write_thread, self._write, classified)
        for bundle in batch:
            await source.acknowledge(bundle)
        self.last_batch_at = time.monotonic()
        self._unfinished_batches -= 1
        if not self._unfinished_batches:
            self._idle.set()

    def _on_batch_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failed = self._failed or task
            self._changed.set()
        self._slots.release()

    async def _next_batch(self, source: BundleSource) -> Sequence[Bundle]:
        """The bundles that arrive within `batch_seconds` of the first and fit into one batch.

        While another batch is classified, one that is not full keeps waiting: many small batches cost more
        than one large batch.  While the worker drains none is returned.  Raises what an earlier batch raised.
        """
        while True:
            self._raise_failure()
            while not self._queue or self._draining.is_set():
                await self._wait_for_change()
            deadline = time.monotonic() + self._settings.batch_seconds
            while not self._queue.is_full():
                seconds_left = deadline - time.monotonic()
                if seconds_left <= 0 and not self._being_classified:
                    break
                await self._wait_for_change(seconds_left if seconds_left > 0 else None)
            if not self._draining.is_set():
                batch = self._queue.take_batch(source.generation)
                self._has_room.set()
                if batch:
                    return batch
                await self._wait_for_change(ASK_AGAIN_SECONDS)

    async def _wait_for_change(self, seconds: float | None = None) -> None:
        """Wait at most `seconds` for bundles or a classified batch.  Raises what a batch raised."""
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failed is not None:
            self._failed.result()

    async def _drain(self, source: BundleSource) -> None:
        """Finish the batches in progress, start no other, and commit."""
        self._draining.set()
        try:
            await asyncio.wait_for(self._idle.wait(), DRAIN_SECONDS)
        except TimeoutError:
            log.warning(
                "the batch in progress did not finish within %g s; Kafka sends it again", DRAIN_SECONDS
            )
            return
        await _try_within(LEAVE_SECONDS, source.commit(), "committing to Kafka")


async def _in_thread(pool: ThreadPoolExecutor, work: Callable[[In], Out], argument: In) -> Out:
    return await asyncio.get_running_loop().run_in_executor(pool, work, argument)


async def _try_within(seconds: float, work: Awaitable[object], description: str) -> None:
    """Give up on work that fails or takes too long: only the offsets in SQL matter."""
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("gave up %s after %g s", description, seconds)
    except Exception:
        log.exception("%s failed", description)

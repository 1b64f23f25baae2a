"""The one file that knows Faust: it hands batches to the pipeline and acks what is in SQL.

What it relies on, and why: `noack_take`, because every other way of taking acks a batch that failed;
concurrency 1, because more commits past messages in flight; raw bytes, because Faust acks what it
cannot decode; an ack after the SQL commit, because the offsets in SQL are what counts and those in
Kafka only say where to start reading.

What Faust does for each message costs more than all the rest of the way, so it is given bundles: what one
fetch brought of a partition goes through it as a single message.
"""

import asyncio
import logging
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

import faust
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT, StreamT
from faust.types.transports import ConsumerT
from faust.types.tuples import ConsumerMessage, Message
from mode import CrashingSupervisor

from stream.codec import count
from stream.domain.errors import BrokerError
from stream.kafka.security import ssl_context
from stream.kafka.settings import KafkaSettings
from stream.pipeline import Record
from stream.retry import StopRequested
from stream.settings import StreamSettings

log = logging.getLogger(__name__)
T = TypeVar("T")
# Records of one partition in a row.
Part = Sequence[ConsumerRecord[bytes, bytes]]

DRAIN_SECONDS = 25.0
LEAVE_SECONDS = 5.0
OBSERVE_SECONDS = 2.0
# Bundles in Faust's queue, where they can be of a single message; `in_hand_bytes` bounds large ones.
BUNDLES = 512
# So many of them are taken at once, or what came within so long: each taking costs a round of the loop.
TAKEN, TAKE_SECONDS = 32, 0.01
# Each fetch of a few documents costs client and broker a millisecond: so long for more of them to come.
FETCH_SECONDS = 0.02
# One is in the network, one is decoded or waits for it.
JUDGED_AT_ONCE = 2
# What a message takes besides its value.
MESSAGE_BYTES = 256


class Bundle(ConsumerMessage):  # type: ignore[misc]
    """Messages of one partition in a row, in the place of the first."""

    __slots__ = ("bytes", "documents", "records")

    def __init__(self, first: Message, records: list[Record]) -> None:
        super().__init__(
            first.topic, first.partition, first.offset, first.timestamp, first.timestamp_type,
            None, None, b"", None, tp=TP(*first.tp), generation_id=first.generation_id,
        )  # fmt: skip
        self.records = records
        self.bytes = sum(len(record.value or b"") + MESSAGE_BYTES for record in records)
        self.documents = sum(count(record.value) for record in records)

    @property
    def end(self) -> int:
        """The offset after its last message."""
        return self.records[-1].offset + 1


class BundleConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, except that it hands out bundles and commits what is in SQL.

    `settings` bounds a bundle as it bounds a batch; `done` is the next offset of each partition in SQL.
    """

    settings: StreamSettings
    done: dict[TP, int]
    next_fetch_at = 0.0

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Part]]:
        """What one fetch brought, in parts that become bundles; a small one is followed by a pause."""
        await asyncio.sleep(self.next_fetch_at - time.monotonic())
        fetched = await super()._getmany(active_partitions, timeout)
        if sum(map(len, fetched.values())) < self.settings.batch_documents:
            self.next_fetch_at = time.monotonic() + FETCH_SECONDS
        most, most_bytes = self.settings.batch_documents, self.settings.batch_bytes
        return {tp: list(_parts(records, most, most_bytes)) for tp, records in fetched.items()}

    def _to_message(self, tp: TP, part: Part) -> Bundle:
        first = super()._to_message(tp, part[0])
        return Bundle(first, [Record(r.topic, r.partition, r.offset, r.value) for r in part])

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust counts acks one by one and has to know which offsets have no message; `done` knows."""

    def _new_offset(self, tp: TP) -> int | None:
        """What to commit."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.done.get(tp)


class BundleTransport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with the consumer above."""

    Consumer = BundleConsumer


class InHand:
    """Bounds by bytes what was fetched and is not in SQL yet; Faust bounds it by number alone.

    Above `limit` bytes each partition that gives more is left out of the fetches, until half of it is done.
    """

    def __init__(self, app: faust.App, limit: int, done: dict[TP, int]) -> None:
        """`done` gets the first offset of each partition."""
        self._app, self._limit, self._done = app, limit, done
        self._sizes: dict[tuple[TP, int], int] = {}
        self._bytes = 0
        self._held_back: set[TP] = set()
        # Faust's own sensors hear of a message only when it leaves the queue, which is where most wait.
        receive = app.topics.on_message

        async def on_message(bundle: Bundle) -> None:
            self._add(bundle)
            await receive(bundle)

        app.topics.on_message = on_message

    def _add(self, bundle: Bundle) -> None:
        self._done.setdefault(bundle.tp, bundle.offset)
        self._sizes[bundle.tp, bundle.offset] = bundle.bytes
        self._bytes += bundle.bytes
        if self._bytes > self._limit:
            self._held_back.add(bundle.tp)
            self._app.consumer.on_buffer_full(bundle.tp)

    def remove(self, bundle: Bundle) -> None:
        """It is in SQL."""
        self._bytes -= self._sizes.pop((bundle.tp, bundle.offset), 0)
        if self._held_back and self._bytes <= self._limit // 2:
            for paused in self._held_back:
                self._app.consumer.on_buffer_drop(paused)
            self._held_back.clear()

    def begin_anew(self) -> None:
        """The partitions were dealt anew: what waited was thrown away and is fetched again."""
        self._sizes.clear()
        self._held_back.clear()
        self._bytes = 0


class Worker(Generic[T]):
    """Reads both topics; `judge` takes a batch and `write` what came of it, each in threads of their own.

    While one batch is written the next two are judged, so that one is decoded while another one is in the
    network; written is one at a time, in order.  For the watchdog it keeps, in monotonic seconds, when it
    joined the group, ended its last batch and last looked at itself.  Of each (topic, partition) in hand:
    `waiting`, how many messages are not in SQL yet, and `caught_up`, in seconds since 1970, when all that
    Kafka had was last in SQL, or since when the partition is in hand where that was never so yet.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        stream: StreamSettings,
        judge: Callable[[Sequence[Record]], T],
        write: Callable[[T], None],
        ending: Callable[[], object],
    ) -> None:
        """`ending` is called when the end begins, so that neither waits for anything any more."""
        self._kafka, self._stream = kafka, stream
        self._judge, self._write, self._ending = judge, write, ending
        self._judging = ThreadPoolExecutor(JUDGED_AT_ONCE, "judge")
        self._writing = ThreadPoolExecutor(1, "write")
        self._slots = asyncio.Semaphore(JUDGED_AT_ONCE + 1)
        self._draining, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._begun = self._judged_now = 0
        self._failed: asyncio.Task[None] | None = None
        self._bundles: deque[EventT[bytes]] = deque()
        self._came, self._room = asyncio.Event(), asyncio.Event()
        self.joined_at: float | None = None
        self.last_batch_at: float | None = None
        self.observed_at: float | None = None
        self.waiting: dict[tuple[str, int], int] = {}
        self.caught_up: dict[tuple[str, int], float] = {}
        # When a partition's end was last looked at, and where it was.
        self._ends: dict[TP, tuple[float, int]] = {}
        self._done: dict[TP, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish the batch in hand and leave the group.

        Raises BrokerError where the group cannot be joined or the agent ends, and what the pipeline raised.
        """
        # Faust makes this folder at its start, although nothing here is kept in it.
        with tempfile.TemporaryDirectory(prefix="sentiment-monitor-") as folder:
            await self._run(self._make_app(folder), stop)

    async def _run(self, app: faust.App, stop: asyncio.Event) -> None:
        ends = [
            asyncio.create_task(work)
            for work in (self._start_and_work(app), self._observe(app), self._work(app), stop.wait())
        ]
        try:
            over, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in over:
                task.result()
            if stop.is_set() and not app.crashed:
                await self._drain(app)
        finally:
            for task in ends:
                task.cancel()
            self._ending()
            await self._within(LEAVE_SECONDS, app.stop(), "leaving the group")
            for pool in (self._judging, self._writing):
                await asyncio.to_thread(pool.shutdown)
        if app.crashed and not isinstance(app._crash_reason, StopRequested):
            raise app._crash_reason or BrokerError("the stream ended without a reason")

    async def _start_and_work(self, app: faust.App) -> None:
        """Until the app crashes."""
        await app.start()
        await app._crashed.wait()

    async def _observe(self, app: faust.App) -> None:
        """Keep `waiting` and `observed_at` fresh; raises BrokerError where nothing can come any more."""
        while True:
            await asyncio.sleep(OBSERVE_SECONDS)
            _check(app)
            if self.joined_at is not None:
                consumer = app.consumer
                counts = {tp: await self._not_done(consumer, tp) for tp in consumer.assignment()}
                self.waiting = {(tp.topic, tp.partition): n for tp, n in counts.items() if n is not None}
                self.observed_at = time.monotonic()

    async def _not_done(self, consumer: ConsumerT, tp: TP) -> int | None:
        """Messages of the partition that are not in SQL yet; None where that is not known just now.

        Where all was fetched, and all that Faust read is done, what is left are markers of
        transactions: offsets that no message ever fills.
        """
        try:
            position = await asyncio.wait_for(consumer.position(tp), OBSERVE_SECONDS)
            high, at = consumer.highwater(tp), _polled_at(consumer, tp)
        except (TimeoutError, KafkaError, AssertionError, AttributeError):
            return None  # taken from us just now, or not looked up yet
        if position is None or high is None or at is None:
            return None
        done, read = self._done.get(tp, position), consumer._read_offset.get(tp)
        if position >= high and (read is None or read < done):
            done = high
        self._see(tp, done, high, at)
        return int(max(0, high - done))

    def _see(self, tp: TP, done: int, high: int, at: float) -> None:
        """Once all is in SQL that was there at an earlier look, the end is where it is now."""
        then, end = self._ends.setdefault(tp, (at, high))
        if done >= end:
            self.caught_up[tp.topic, tp.partition] = then
            self._ends[tp] = (at, high)

    def _make_app(self, folder: str) -> faust.App:
        servers = self._kafka.bootstrap_servers.split(",")
        app = faust.App(
            self._kafka.group,
            broker=[f"kafka://{server.strip()}" for server in servers],
            broker_credentials=_credentials(self._kafka),
            loop=asyncio.get_running_loop(),
            store="memory://",
            datadir=folder,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            agent_supervisor=CrashingSupervisor,
            processing_guarantee="at_least_once",
            stream_wait_empty=False,
            stream_buffer_maxsize=BUNDLES,
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=1.0,
            broker_max_poll_records=min(2000, 2 * self._stream.batch_documents),
            # A database may be away for hours: the watchdog, not the broker, ends what is stuck.
            broker_max_poll_interval=86_400.0,
            broker_session_timeout=float(self._kafka.session_seconds),
            broker_heartbeat_interval=min(3.0, self._kafka.session_seconds / 4),
            broker_request_timeout=90.0,
            broker_rebalance_timeout=60.0,
        )
        channel = app.topic(
            *self._kafka.kinds,
            key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
        )  # fmt: skip
        self._in_hand = InHand(app, self._stream.in_hand_bytes, self._done)
        app.transport = BundleTransport(app.conf.broker_consumer, app, loop=app.loop)
        app.consumer.settings, app.consumer.done = self._stream, self._done
        app.on_partitions_assigned.connect(self._on_assigned)
        app.agent(channel, name="documents", concurrency=1)(self._agent)
        return app

    async def _agent(self, stream: StreamT[bytes]) -> None:
        self._stream_of_bundles = stream
        async for events in stream.noack_take(TAKEN, within=TAKE_SECONDS):
            self._bundles.extend(events)
            self._came.set()
            while self._is_full():
                self._room.clear()
                await self._room.wait()

    async def _work(self, app: faust.App) -> None:
        """Batch after batch; raises what the pipeline raised."""
        latest: asyncio.Task[None] | None = None
        try:
            while True:
                await self._slots.acquire()
                batch = await self._next_batch(app)
                self._begun += 1
                self._idle.clear()
                latest = asyncio.create_task(self._judge_and_write(batch, latest))
                latest.add_done_callback(self._over)
        except StopRequested as error:
            self._draining.set()
            self._idle.set()
            log.info("%s; Kafka sends the batch again", error)
            await asyncio.Event().wait()

    async def _judge_and_write(
        self, batch: Sequence[EventT[bytes]], before: asyncio.Task[None] | None
    ) -> None:
        """Where the batch `before` it failed nothing is written: its offsets would be passed over."""
        records = [record for event in batch for record in event.message.records]
        self._judged_now += 1
        judged = await self._in_thread(self._judging, self._judge, records)
        self._judged_now -= 1
        self._came.set()
        if before is not None:
            await before
        await self._in_thread(self._writing, self._write, judged)
        for event in batch:
            await self._stream_of_bundles.ack(event)
            self._done[event.message.tp] = event.message.end
            self._in_hand.remove(event.message)
        self.last_batch_at = time.monotonic()
        self._begun -= 1
        if not self._begun:
            self._idle.set()

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failed = self._failed or task
            self._came.set()
        self._slots.release()

    async def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[[Any], Any], given: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, work, given)

    async def _next_batch(self, app: faust.App) -> Sequence[EventT[bytes]]:
        """Bundles for one batch, as many as come within `batch_seconds` of the first and fit.

        While another batch is judged one that is not full waits on: many small ones cost more than one.
        Raises what a batch before it raised, should that have happened by now.
        """
        while True:
            self._raise_failure()
            while not self._bundles or self._draining.is_set():
                await self._news()
            deadline = time.monotonic() + self._stream.batch_seconds
            while not self._is_full() and ((left := deadline - time.monotonic()) > 0 or self._judged_now):
                await self._news(left if left > 0 else None)
            if batch := self._take(app.consumer_generation_id):
                return batch

    async def _news(self, seconds: float | None = None) -> None:
        """Wait until bundles came or a batch was judged or failed, for so long at most.

        Raises what failed.
        """
        self._came.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), seconds)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failed is not None:
            self._failed.result()

    def _is_full(self) -> bool:
        bundles: list[Bundle] = [event.message for event in self._bundles]
        return (
            sum(bundle.documents for bundle in bundles) >= self._stream.batch_documents
            or sum(bundle.bytes for bundle in bundles) >= self._stream.batch_bytes
        )

    def _take(self, generation: int) -> Sequence[EventT[bytes]]:
        """What fits of the bundles in order, those left out that came before partitions were dealt anew."""
        taken: list[EventT[bytes]] = []
        documents = size = 0
        while self._bundles:
            bundle = self._bundles[0].message
            if bundle.generation_id == generation:
                documents, size = documents + bundle.documents, size + bundle.bytes
                too_much = documents > self._stream.batch_documents or size > self._stream.batch_bytes
                if taken and too_much:
                    break
                taken.append(self._bundles[0])
            self._bundles.popleft()
        self._room.set()
        return taken

    async def _drain(self, app: faust.App) -> None:
        self._draining.set()
        try:
            await asyncio.wait_for(self._idle.wait(), DRAIN_SECONDS)
        except TimeoutError:
            log.warning("the batch in hand did not finish in %g s; Kafka sends it again", DRAIN_SECONDS)
            return
        await self._within(LEAVE_SECONDS, app.consumer.commit(), "committing to Kafka")

    async def _within(self, seconds: float, work: Awaitable[object], what: str) -> None:
        """What cannot be done in time, or at all, is left: the offsets in SQL are what counts."""
        try:
            await asyncio.wait_for(work, seconds)
        except TimeoutError:
            log.warning("%s took more than %g s and was left", what, seconds)
        except Exception:
            log.exception("%s failed and was left", what)

    async def _on_assigned(self, _app: object, assigned: Iterable[TP], **_: object) -> None:
        self.joined_at = time.monotonic()
        self._ends.clear()
        mine = [(tp.topic, tp.partition) for tp in assigned]
        self.caught_up = {key: self.caught_up.get(key, time.time()) for key in mine}
        self._done.clear()
        self._in_hand.begin_anew()
        log.info("partitions assigned: %s", ", ".join(sorted(f"{t.topic}[{t.partition}]" for t in assigned)))


def _polled_at(consumer: ConsumerT, tp: TP) -> float | None:
    """When the broker last said where the partition ends, in seconds since 1970; None: not yet."""
    milliseconds: int | None = consumer._thread._ensure_consumer().last_poll_timestamp(tp)
    return None if milliseconds is None else milliseconds / 1000


def _check(app: faust.App) -> None:
    """Raises BrokerError where the group refused us for good or the agent ended: Faust would live on."""
    consumer = getattr(app.consumer._thread, "_consumer", None)
    if (coordinator := getattr(consumer, "_coordinator", None)) is not None:
        task = getattr(coordinator, "_coordination_task", None)
        error = getattr(coordinator, "_pending_exception", None)
        if error is not None or (task is not None and task.done()):
            raise BrokerError(f"the consumer group {app.conf.id!r}: {error or task}")
    for agent in app.agents.values():
        tasks = [actor.actor_task for actor in agent._actors if actor.actor_task is not None]
        # One that raised is about to crash the app, with its own reason.
        if any(task.done() and (task.cancelled() or task.exception() is None) for task in tasks):
            raise BrokerError(f"the agent {agent.name} ended although nothing told it to")


def _credentials(kafka: KafkaSettings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    context = ssl_context(kafka)
    if kafka.uses_password and kafka.password is not None:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value(),
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context else None


def _parts(messages: Part, most: int, most_bytes: int) -> Iterator[Part]:
    """The messages in order, in lists of at most so many documents and bytes, or of one that is longer."""
    part, held, documents = list[ConsumerRecord[bytes, bytes]](), 0, 0
    for message in messages:
        size, own = len(message.value or b""), count(message.value)
        if part and (documents + own > most or held + size > most_bytes):
            yield part
            part, held, documents = [], 0, 0
        part.append(message)
        held, documents = held + size, documents + own
    if part:
        yield part

"""The one file that knows Faust: it hands batches to the pipeline and acks what is in SQL.

What it relies on, and why: `noack_take`, because every other way of taking acks a batch that failed;
concurrency 1, because more commits past messages in flight; raw bytes, because Faust acks what it
cannot decode; an ack after the SQL commit, because the offsets in SQL are what counts and those in
Kafka only say where to start reading.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import faust
from aiokafka.errors import KafkaError
from faust.types import TP, EventT, StreamT
from faust.types.transports import ConsumerT
from faust.types.tuples import Message
from mode import CrashingSupervisor

from stream.errors import BrokerError
from stream.pipeline import Record, Stopping
from stream.security import ssl_context
from stream.settings import KafkaSettings, StreamSettings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 25.0
LEAVE_SECONDS = 5.0
OBSERVE_SECONDS = 2.0


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

        async def on_message(message: Message) -> None:
            self._add(message)
            await receive(message)

        app.topics.on_message = on_message

    def _add(self, message: Message) -> None:
        tp = TP(*message.tp)  # aiokafka's own, which Faust refuses, comes with the message
        self._done.setdefault(tp, message.offset)
        self._sizes[tp, message.offset] = len(message.value or b"")
        self._bytes += len(message.value or b"")
        if self._bytes > self._limit:
            self._held_back.add(tp)
            self._app.consumer.on_buffer_full(tp)

    def remove(self, message: Message) -> None:
        """It is in SQL."""
        self._bytes -= self._sizes.pop((TP(*message.tp), message.offset), 0)
        if self._held_back and self._bytes <= self._limit // 2:
            for paused in self._held_back:
                self._app.consumer.on_buffer_drop(paused)
            self._held_back.clear()

    def begin_anew(self) -> None:
        """The partitions were dealt anew: what waited was thrown away and is fetched again."""
        self._sizes.clear()
        self._held_back.clear()
        self._bytes = 0


class Worker:
    """Reads both topics and calls `process` with one batch at a time, in its own thread.

    For the watchdog it keeps, in monotonic seconds, when it joined the group, ended its last batch and
    last looked at itself.  Of each (topic, partition) in hand: `waiting`, how many messages are not in
    SQL yet, and `caught_up`, in seconds since 1970, when all that Kafka had was last in SQL, or since
    when the partition is in hand where that was never so yet.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        stream: StreamSettings,
        process: Callable[[Sequence[Record]], None],
        ending: Callable[[], object],
    ) -> None:
        """`ending` is called when the end begins, so that `process` waits for nothing any more."""
        self._kafka, self._stream, self._process = kafka, stream, process
        self._ending = ending
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._draining, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
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
            asyncio.create_task(work) for work in (self._start_and_work(app), self._observe(app), stop.wait())
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
            await asyncio.to_thread(self._pool.shutdown)
        if app.crashed and not isinstance(app._crash_reason, Stopping):
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
            stream_buffer_maxsize=8 * self._stream.batch_documents,
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=1.0,
            broker_max_poll_records=min(1000, 2 * self._stream.batch_documents),
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
        app.on_partitions_assigned.connect(self._on_assigned)
        app.agent(channel, name="documents", concurrency=1)(self._agent)
        return app

    async def _agent(self, stream: StreamT[bytes]) -> None:
        async for events in stream.noack_take(
            self._stream.batch_documents, within=self._stream.batch_seconds
        ):
            if self._draining.is_set():
                await asyncio.Event().wait()  # nothing is begun any more; the app stops us
            self._idle.clear()
            try:
                for part in by_bytes(events, self._stream.batch_bytes):
                    if not self._draining.is_set():
                        await self._work_off(stream, part)
            except Stopping as error:
                # Nothing after it may be written: its offsets would be passed over.
                self._draining.set()
                log.info("%s; Kafka sends the batch again", error)
            finally:
                self._idle.set()

    async def _work_off(self, stream: StreamT[bytes], events: Sequence[EventT[bytes]]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._process, _records(events))
        for event in events:
            await stream.ack(event)
            self._done[TP(*event.message.tp)] = event.message.offset + 1
            self._in_hand.remove(event.message)
        self.last_batch_at = time.monotonic()

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


def by_bytes(events: Sequence[EventT[bytes]], limit: int) -> Iterator[list[EventT[bytes]]]:
    """The events in order, in lists of at most `limit` bytes, or of a single one that is longer."""
    part, held = list[EventT[bytes]](), 0
    for event in events:
        size = len(event.message.value or b"")
        if part and held + size > limit:
            yield part
            part, held = [], 0
        part.append(event)
        held += size
    if part:
        yield part


def _records(events: Sequence[EventT[bytes]]) -> list[Record]:
    return [
        Record(event.message.topic, event.message.partition, event.message.offset, event.message.value)
        for event in events
    ]

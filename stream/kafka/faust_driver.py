"""The one file that knows Faust, its private names included: a `BundleSource` for the worker.

What it relies on, and why:

- `noack_take`: every other way of taking messages acknowledges a batch that failed.
- Concurrency 1: more would commit past messages that are still being processed.
- Raw bytes: Faust acknowledges what it cannot decode.
- An acknowledgement after the SQL commit: the offsets in SQL are authoritative, those in Kafka only say
  where to start reading.
- An agent for each topic: with one for both, the news would queue behind a backlog of comments.
- Read committed: messages of aborted and open transactions never happened.
- No automatic reset: an offset that Kafka does not hold may be a loss, which `check_offsets` finds out.
- Bundles: Faust spends more time on each message than all later stages together, so the messages that one
  fetch returns of a partition pass through it as one.
"""

import asyncio
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import faust
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.app.base import BootStrategy
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT, StreamT
from faust.types.tuples import ConsumerMessage, Message
from mode import CrashingSupervisor

from stream.bundles import Bundle, BundleFetcher, Record, TopicPartition, size_of
from stream.domain.errors import BrokerError
from stream.domain.tracing import read_traceparent
from stream.kafka import record_batches
from stream.kafka.leader_epochs import LeaderEpochs
from stream.kafka.security import ssl_context
from stream.kafka.settings import KafkaSettings
from stream.lag import InHand, PartitionProgress
from stream.retry import StopRequested
from stream.settings import StreamSettings
from stream.worker import BundleReceiver

# Faust logs under the name of this module, which the monitor quietens.
log = logging.getLogger("stream.kafka")

# Maximum number of bundles of a topic that are fetched and not in SQL yet.
MAX_QUEUED_BUNDLES = 512
# Faust's own limit.  `InFlightLimit` comes first: a queue of Faust's that is full would block every topic.
NEVER_REACHED = 1_000_000
# How long a broker may wait for messages before it answers; partitions that become ready meanwhile wait too.
FETCH_WAIT_MS = 200
# How long to wait for messages of one topic while the other is paused.
PAUSED_TOPIC_SECONDS = 0.05
# Each take costs a round of the event loop: take up to this many bundles, or those that arrive within this
# time.
BUNDLES_PER_TAKE, TAKE_SECONDS = 32, 0.01
Records = list[ConsumerRecord[bytes, bytes]]
# Raises OffsetsRefused if reading on would lose messages.  Gets the offsets that Kafka did not hold.
CheckOffsets = Callable[[Mapping[TopicPartition, int]], None]


class BundleMessage(ConsumerMessage):  # type: ignore[misc]
    """Consecutive messages of one partition, presented to Faust as the first of them."""

    __slots__ = ("bytes", "documents", "records")

    def __init__(self, first: Message, records: list[Record]) -> None:
        super().__init__(
            first.topic,
            first.partition,
            first.offset,
            first.timestamp,
            first.timestamp_type,
            headers=None,
            key=None,
            value=b"",
            checksum=None,
            tp=TP(*first.tp),
            generation_id=first.generation_id,
        )
        self.records = records
        self.documents, self.bytes = size_of(records)


class BundleThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread with the Kafka client, which reads committed messages only, notes leader epochs, and bounds
    what is fetched and unpacked."""

    max_fetch_bytes: int
    consumer: "BundleConsumer"

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_bytes = self.max_fetch_bytes
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        # Faust's own way to it turns on transactions of its own.
        consumer._isolation_level = "read_committed"
        consumer._client.send = self._noting_epochs(consumer._client.send)
        return consumer

    async def stop(self) -> None:
        """Stop the thread, also one that was created a moment ago: Faust's own lets that one run for ever."""
        while self._thread_started.is_set() and not self._started.is_set():
            await asyncio.sleep(0.01)
        await super().stop()

    def _noting_epochs(self, send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def sent(*args: Any, **options: Any) -> Any:
            response = await send(*args, **options)
            if type(response).__name__.startswith("FetchResponse"):
                self._note_epochs(response)
            return response

        return sent

    def _note_epochs(self, response: Any) -> None:
        for topic, partitions in response.topics:
            for partition, _error, _end, *rest in partitions:
                if records := rest[-1]:
                    self.consumer.epochs[TP(topic, partition)].add(records)

    async def _fetch_records(
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], *args: Any, **kwargs: Any
    ) -> dict[TP, Records]:
        """Read the active partitions; of a topic that has an unpacked batch left over, that partition alone.

        So of each topic at most one batch is unpacked.  A partition without a committed offset, as a new one,
        is read from its start.
        """
        record_batches.BUDGET.start_poll()
        fetched = consumer._fetcher._records.items()
        left_over = {
            tp.topic: tp
            for tp, result in fetched
            if tp in active_partitions
            and getattr(getattr(result, "_partition_records", None), "is_half_read", False)
        }
        partitions = {tp for tp in active_partitions if left_over.get(tp.topic, tp) == tp}
        try:
            records: dict[TP, Records] = await super()._fetch_records(consumer, partitions, *args, **kwargs)
        except NoOffsetForPartitionError as error:
            self.read_from_start(error.args[0])
            return {}
        return records

    def read_from_start(self, *partitions: TP) -> None:
        """Set the position of these partitions to the first offset that Kafka holds; in this thread only."""
        fetcher = self._ensure_consumer()._fetcher
        done = fetcher.request_offset_reset(partitions, OffsetResetStrategy.EARLIEST)
        done.add_done_callback(lambda waited: waited.cancelled() or waited.exception())

    async def stable_ends(self, partitions: Iterable[TP], seconds: float) -> dict[TP, int]:
        """Where reading can get to in each partition now; without those that the broker does not answer for.

        That is the last stable offset: a message after it belongs to a transaction that is not decided yet,
        or follows one.
        """
        consumer = self._ensure_consumer()
        led = [tp for tp in partitions if (consumer._client.cluster.leader_for_partition(tp) or 0) >= 0]
        if not led:
            return {}
        asked = asyncio.run_coroutine_threadsafe(consumer.end_offsets(led), self.thread_loop)
        try:
            return dict(await asyncio.wait_for(asyncio.wrap_future(asked), seconds))
        except (TimeoutError, KafkaError):
            return {}

    def undecided(self) -> Iterable[tuple[TP, int]]:
        """How many messages the latest fetch of each partition found after the last stable offset."""
        for tp, state in self.states():
            if state.highwater is not None and state.lso is not None and state.lso >= 0:
                yield tp, max(0, state.highwater - state.lso)

    def states(self) -> Iterable[tuple[TP, Any]]:
        """The client's state of each assigned partition."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment: Any = subscription.assignment if subscription is not None else None
        for tp in assignment.tps if assignment is not None else ():
            yield tp, assignment.state_value(tp)


class BundleConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, except that it delivers bundles and commits what is in SQL.

    `written` is the next offset of each partition in SQL.  Since the assignment, `starts` and `positions` are
    the first and the next offset to fetch, `first` and `delivered` the offset of the first message that was
    fetched and the one after the last.
    """

    fetcher: BundleFetcher
    written: dict[TP, int]
    on_out_of_range: Callable[[Mapping[TP, int]], Awaitable[None]]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.first: dict[TP, int] = {}
        self.delivered: dict[TP, int] = {}
        self.starts: dict[TP, int] = {}
        self.positions: dict[TP, int] = {}
        self.epochs: defaultdict[TP, LeaderEpochs] = defaultdict(LeaderEpochs)
        super().__init__(*args, **options)

    def _new_consumer_thread(self) -> BundleThread:
        return BundleThread(self, loop=self.loop, beacon=self.beacon)

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: `monitor.runtime.tasks.watchdog` ends a worker that is stuck.

        Faust measures from the start of the process.  So after every rebalance later than five minutes it
        logs an error for each partition that was not fetched yet, although all is well.
        """

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:
        """What one fetch returned, in parts that become bundles."""
        fetch = super()._getmany
        if active_partitions is not None and len(active_partitions) < len(self.assignment()):
            # A topic is paused.  It must not wait for messages of the other once it has room again.
            timeout = min(timeout, PAUSED_TOPIC_SECONDS)
        try:
            parts = await self.fetcher(lambda: fetch(active_partitions, timeout))
        except OffsetOutOfRangeError as error:
            await self.on_out_of_range(error.args[0])
            return {}
        self._note_positions(parts)
        return parts

    def _note_positions(self, parts: Mapping[TP, list[Sequence[Any]]]) -> None:
        """The client moves its positions only within a fetch: here they belong to what was delivered."""
        for tp, records in parts.items():
            self.first.setdefault(tp, records[0][0].offset)
            self.delivered[tp] = records[-1][-1].offset + 1
        for tp, state in self._thread.states():
            if state.has_valid_position:
                self.starts.setdefault(tp, self.first.get(tp, state.position))
                self.positions[tp] = state.position

    def forget(self) -> None:
        """After a rebalance."""
        for known in (self.first, self.delivered, self.starts, self.positions):
            known.clear()

    def _to_message(self, tp: TP, part: Records) -> BundleMessage:
        first, epoch = super()._to_message(tp, part[0]), self.epochs[tp].at
        # A record batch that cannot be read is in `checksum`, and of the headers only that of the trace is
        # there: see `stream.kafka.record_batches`.
        records = [
            Record(
                r.topic,
                r.partition,
                r.offset,
                r.value,
                r.checksum,
                epoch(r.offset),
                r.timestamp,
                read_traceparent(r.headers[0][1]) if r.headers else None,
            )
            for r in part
        ]
        return BundleMessage(first, records)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: Faust counts acks one by one and has to know which offsets have no message."""

    def _new_offset(self, tp: TP) -> int | None:
        """The offset to commit: the one in SQL."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.written.get(tp)


class BundleTransport(driver.Transport):  # type: ignore[misc]
    """Faust's transport with the consumer above."""

    Consumer = BundleConsumer


class InFlightLimit:
    """Bounds what was fetched of one topic and is not in SQL yet; Faust only bounds the number of messages.

    Above `max_bytes`, or MAX_QUEUED_BUNDLES, the topic is paused until half of that is written.  Each topic
    has a limit of its own, so that a backlog of one never keeps the other from being read.
    """

    def __init__(self, app: faust.App, topic: str, max_bytes: int) -> None:
        self._app, self._topic, self._max_bytes = app, topic, max_bytes
        self._sizes: dict[tuple[TP, int], int] = {}
        self._bytes = 0
        self._paused: set[TP] = set()

    def add(self, message: BundleMessage) -> None:
        self._sizes[message.tp, message.offset] = message.bytes
        self._bytes += message.bytes
        if self._bytes > self._max_bytes or len(self._sizes) > MAX_QUEUED_BUNDLES:
            for tp in self._app.consumer.assignment():
                if tp.topic == self._topic:
                    self._paused.add(tp)
                    self._app.consumer.on_buffer_full(tp)

    @property
    def state(self) -> InHand:
        """How much is in hand, and which partitions are paused because of it."""
        return InHand(self._bytes, frozenset(tp.partition for tp in self._paused))

    @property
    def busy(self) -> bool:
        """Whether a message that was fetched is not in SQL yet."""
        return bool(self._sizes)

    def remove(self, message: BundleMessage) -> None:
        """The message is in SQL."""
        self._bytes -= self._sizes.pop((message.tp, message.offset), 0)
        has_room = self._bytes <= self._max_bytes // 2 and len(self._sizes) <= MAX_QUEUED_BUNDLES // 2
        if self._paused and has_room:
            for paused in self._paused:
                self._app.consumer.on_buffer_drop(paused)
            self._paused.clear()

    def clear(self) -> None:
        """After a rebalance Faust drops its queue and fetches again."""
        self._sizes.clear()
        self._paused.clear()
        self._bytes = 0


class Receipt(NamedTuple):
    """What Faust needs to acknowledge a bundle."""

    stream: StreamT[bytes]
    event: EventT[bytes]


class FaustSource:
    """Delivers bundles of both topics with a Faust app; created in the running event loop."""

    def __init__(
        self,
        kafka: KafkaSettings,
        stream: StreamSettings,
        check_offsets: CheckOffsets,
        client_id: str,
        receiver: BundleReceiver,
    ) -> None:
        """`client_id` names this worker to the broker, and so to whoever asks it for the group's members."""
        self._receiver, self._check_offsets = receiver, check_offsets
        self._written: dict[TP, int] = {}
        # Faust creates this folder at its start, although nothing is stored in it.
        self._folder = tempfile.TemporaryDirectory(prefix="sentiment-monitor-")
        self._app = app = _build_app(kafka, stream, client_id, self._folder.name)
        share = stream.in_hand_bytes // len(kafka.kinds)
        self._in_flight = {topic: InFlightLimit(app, topic, share) for topic in kafka.kinds}
        self._count_incoming_bundles()
        # The transport creates the consumer, which keeps the `on_message` that it finds at that time.
        app.transport = BundleTransport(app.conf.broker_consumer, app, loop=app.loop)
        app.consumer.fetcher, app.consumer.written = BundleFetcher(stream), self._written
        app.consumer._thread.max_fetch_bytes = kafka.max_fetch_bytes
        record_batches.install(kafka.max_batch_bytes)
        app.consumer.on_out_of_range = self._on_out_of_range
        app.on_partitions_assigned.connect(self._on_assigned)
        for topic in kafka.kinds:
            channel = app.topic(
                topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
            )
            app.agent(channel, name=topic, concurrency=1)(self.deliver)

    def _count_incoming_bundles(self) -> None:
        """Faust's own sensors see a message only when it leaves the queue, where most of them wait."""
        forward = self._app.topics.on_message

        async def on_message(message: BundleMessage) -> None:
            self._written.setdefault(message.tp, message.offset)
            self._in_flight[message.topic].add(message)
            await forward(message)

        self._app.topics.on_message = on_message

    @property
    def generation(self) -> int:
        """The consumer group's generation."""
        return int(self._app.consumer_generation_id)

    @property
    def error(self) -> BaseException | None:
        """What crashed the app."""
        if not self._app.crashed:
            return None
        return self._app._crash_reason or BrokerError("the stream ended without a reason")

    async def run(self) -> None:
        """Run the app until it crashes."""
        await self._app.start()
        await self._app._crashed.wait()

    async def deliver(self, stream: StreamT[bytes]) -> None:
        """The agent of a topic: hand every bundle to the worker, which acknowledges it later."""
        async for events in stream.noack_take(BUNDLES_PER_TAKE, within=TAKE_SECONDS):
            await self._receiver.receive([_bundle(stream, event) for event in events])

    async def acknowledge(self, bundle: Bundle) -> None:
        """The bundle is in SQL: commit it with the next commit, and make room for others."""
        receipt: Receipt = bundle.receipt
        await receipt.stream.ack(receipt.event)
        message = receipt.event.message
        self._written[message.tp] = bundle.end
        message.records = []  # Faust keeps its latest messages: their bytes must not stay in memory with them
        self._in_flight[message.topic].remove(message)

    async def commit(self) -> None:
        """Commit to Kafka what is in SQL."""
        await self._app.consumer.commit()

    async def stop(self) -> None:
        """Leave the consumer group."""
        try:
            await self._app.stop()
        finally:
            self._folder.cleanup()

    def check(self) -> None:
        """Raises BrokerError if the group rejected this worker for good, or the agent ended.

        Faust itself would keep running without reading anything.
        """
        consumer = getattr(self._app.consumer._thread, "_consumer", None)
        if (coordinator := getattr(consumer, "_coordinator", None)) is not None:
            task = getattr(coordinator, "_coordination_task", None)
            error = getattr(coordinator, "_pending_exception", None)
            if error is not None or (task is not None and task.done()):
                raise BrokerError(f"the consumer group {self._app.conf.id!r}: {error or task}")
        for agent in self._app.agents.values():
            tasks = [actor.actor_task for actor in agent._actors if actor.actor_task is not None]
            # A task that raised is about to crash the app, with its own reason.
            if any(task.done() and (task.cancelled() or task.exception() is None) for task in tasks):
                raise BrokerError(f"the agent {agent.name} ended although nobody stopped it")

    async def progress(self, seconds: float) -> dict[TopicPartition, PartitionProgress]:
        """The progress of each assigned partition whose position and end are known within `seconds`.

        The end is asked for: the figure of the latest fetch stays the same while fetching is paused.
        """
        consumer, asked_at = self._app.consumer, time.time()
        ends = await consumer._thread.stable_ends(consumer.assignment(), seconds)
        undecided = dict(consumer._thread.undecided())
        return {
            (tp.topic, tp.partition): PartitionProgress(
                written=self._written.get(tp, consumer.first.get(tp)),
                delivered=consumer.delivered.get(tp),
                start=consumer.starts[tp],
                position=position,
                end=ends[tp],
                end_seen_at=asked_at,
                leader_epoch=consumer.epochs[tp].at(position - 1),
                undecided=undecided.get(tp),
            )
            for tp, position in consumer.positions.items()
            if tp in ends
        }

    def in_hand(self) -> dict[str, InHand]:
        """What was fetched of each topic and is not in SQL yet."""
        return {topic: limit.state for topic, limit in self._in_flight.items()}

    async def _on_out_of_range(self, positions: Mapping[TP, int]) -> None:
        """Read from the start of the log if nothing is lost by that.  Raises OffsetsRefused if it is."""
        for tp, offset in positions.items():
            log.warning("%s[%d]: Kafka does not hold offset %d", tp.topic, tp.partition, offset)
        while any(limit.busy for limit in self._in_flight.values()):  # what is in SQL decides
            await asyncio.sleep(0.1)
        try:
            refused = {(tp.topic, tp.partition): offset for tp, offset in positions.items()}
            await asyncio.to_thread(self._check_offsets, refused)
        except StopRequested:
            await asyncio.Event().wait()
        thread = self._app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(thread.read_from_start, *positions)

    async def _on_assigned(self, _app: object, assigned: Iterable[TP], **_: object) -> None:
        self._written.clear()
        for limit in self._in_flight.values():
            limit.clear()
        self._app.consumer.forget()
        self._receiver.partitions_assigned([(tp.topic, tp.partition) for tp in assigned])


def _bundle(stream: StreamT[bytes], event: EventT[bytes]) -> Bundle:
    message: BundleMessage = event.message
    return Bundle(
        records=message.records,
        documents=message.documents,
        bytes=message.bytes,
        generation=message.generation_id,
        receipt=Receipt(stream, event),
    )


class ReadOnlyBoot(BootStrategy):  # type: ignore[misc]
    """Starts no Kafka producer: nothing is written through Faust."""

    enable_kafka_producer = False


class NoTables(TableManager):  # type: ignore[misc]
    """Starts at once: Faust's own waits a second for tables to be defined, and the monitor has none."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class ReadOnlyApp(faust.App):  # type: ignore[misc]
    """Reads Kafka only."""

    BootStrategy = ReadOnlyBoot


def _build_app(kafka: KafkaSettings, stream: StreamSettings, client_id: str, folder: str) -> faust.App:
    """A Faust app that keeps nothing, serves nothing and creates no topics."""
    return ReadOnlyApp(
        kafka.group,
        broker=[f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
        broker_client_id=client_id,
        broker_credentials=_credentials(kafka),
        loop=asyncio.get_running_loop(),
        store="memory://",
        datadir=folder,
        TableManager=NoTables,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        agent_supervisor=CrashingSupervisor,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        stream_buffer_maxsize=NEVER_REACHED,
        consumer_max_fetch_size=kafka.max_partition_fetch_bytes,
        # `stream.kafka.record_batches` checks them: a damaged batch must not end the process.
        broker_check_crcs=False,
        # A partition without a committed offset is read from its start all the same: see `BundleThread`.
        consumer_auto_offset_reset="none",
        consumer_metadata_max_age_ms=round(1000 * kafka.metadata_seconds),
        broker_commit_interval=1.0,
        broker_max_poll_records=min(2000, 2 * stream.batch_documents),
        # The database may be down for hours: the watchdog, not the broker, ends a stuck worker.
        broker_max_poll_interval=86_400.0,
        broker_session_timeout=float(kafka.session_seconds),
        broker_heartbeat_interval=min(3.0, kafka.session_seconds / 4),
        broker_request_timeout=90.0,
        broker_rebalance_timeout=60.0,
    )


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

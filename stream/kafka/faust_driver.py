"""The one file that knows Faust, its private names included: a `BundleSource` for the worker.

What it relies on, and why:

- `noack_take`: every other way of taking messages acknowledges a batch that failed.
- Concurrency 1: more would commit past messages that are still being processed.
- Raw bytes: Faust acknowledges what it cannot decode.
- An acknowledgement after the SQL commit: the offsets in SQL are authoritative, those in Kafka only say
  where to start reading.
- An agent for each topic: with one for both, the news would queue behind a backlog of comments.
- Bundles: Faust spends more time on each message than all later stages together, so the messages that one
  fetch returns of a partition pass through it as one.
"""

import asyncio
import tempfile
from collections.abc import Iterable
from typing import Any, NamedTuple

import faust
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT, StreamT
from faust.types.tuples import ConsumerMessage, Message
from mode import CrashingSupervisor

from stream.bundles import Bundle, BundleFetcher, Record, TopicPartition, size_of
from stream.domain.errors import BrokerError
from stream.kafka import record_batches
from stream.kafka.security import ssl_context
from stream.kafka.settings import KafkaSettings
from stream.lag import PartitionProgress
from stream.settings import StreamSettings
from stream.worker import BundleReceiver

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
    """The thread with the Kafka client, except that what it fetches and unpacks is bounded."""

    max_fetch_bytes: int

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_bytes = self.max_fetch_bytes
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _fetch_records(
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], *args: Any, **kwargs: Any
    ) -> dict[TP, Records]:
        """Read the active partitions; of a topic that has an unpacked batch left over, that partition alone.

        So of each topic at most one batch is unpacked.
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
        records: dict[TP, Records] = await super()._fetch_records(consumer, partitions, *args, **kwargs)
        return records


class BundleConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, except that it delivers bundles and commits what is in SQL.

    `written` is the next offset of each partition in SQL.
    """

    fetcher: BundleFetcher
    written: dict[TP, int]

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
        return await self.fetcher(lambda: fetch(active_partitions, timeout))

    def _to_message(self, tp: TP, part: Records) -> BundleMessage:
        first = super()._to_message(tp, part[0])
        # A record batch that cannot be read is in `checksum`: see `stream.kafka.record_batches`.
        records = [Record(r.topic, r.partition, r.offset, r.value, r.checksum) for r in part]
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

    def __init__(self, kafka: KafkaSettings, stream: StreamSettings, receiver: BundleReceiver) -> None:
        self._receiver = receiver
        self._written: dict[TP, int] = {}
        # Faust creates this folder at its start, although nothing is stored in it.
        self._folder = tempfile.TemporaryDirectory(prefix="sentiment-monitor-")
        self._app = app = _build_app(kafka, stream, self._folder.name)
        share = stream.in_hand_bytes // len(kafka.kinds)
        self._in_flight = {topic: InFlightLimit(app, topic, share) for topic in kafka.kinds}
        self._count_incoming_bundles()
        # The transport creates the consumer, which keeps the `on_message` that it finds at that time.
        app.transport = BundleTransport(app.conf.broker_consumer, app, loop=app.loop)
        app.consumer.fetcher, app.consumer.written = BundleFetcher(stream), self._written
        app.consumer._thread.max_fetch_bytes = kafka.max_fetch_bytes
        record_batches.install(kafka.max_batch_bytes)
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
        """The progress of each assigned partition whose position and end are known within `seconds`."""
        progress: dict[TopicPartition, PartitionProgress] = {}
        for tp in self._app.consumer.assignment():
            if (state := await self._progress_of(tp, seconds)) is not None:
                progress[tp.topic, tp.partition] = state
        return progress

    async def _progress_of(self, tp: TP, seconds: float) -> PartitionProgress | None:
        consumer = self._app.consumer
        try:
            position = await asyncio.wait_for(consumer.position(tp), seconds)
            end = consumer.highwater(tp)
            seen_at_ms = consumer._thread._ensure_consumer().last_poll_timestamp(tp)
        except (TimeoutError, KafkaError, AssertionError, AttributeError):
            return None  # just revoked, or not looked up yet
        if position is None or end is None or seen_at_ms is None:
            return None
        return PartitionProgress(
            written=self._written.get(tp),
            delivered=consumer._read_offset.get(tp),
            position=position,
            end=end,
            end_seen_at=seen_at_ms / 1000,
        )

    async def _on_assigned(self, _app: object, assigned: Iterable[TP], **_: object) -> None:
        self._written.clear()
        for limit in self._in_flight.values():
            limit.clear()
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


def _build_app(kafka: KafkaSettings, stream: StreamSettings, folder: str) -> faust.App:
    """A Faust app that keeps nothing, serves nothing and creates no topics."""
    return faust.App(
        kafka.group,
        broker=[f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
        broker_credentials=_credentials(kafka),
        loop=asyncio.get_running_loop(),
        store="memory://",
        datadir=folder,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        agent_supervisor=CrashingSupervisor,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        stream_buffer_maxsize=NEVER_REACHED,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=kafka.max_partition_fetch_bytes,
        # `stream.kafka.record_batches` checks them: a damaged batch must not end the process.
        broker_check_crcs=False,
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

"""The daemon: builds every part from the settings, runs them, and takes them down in order."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector

from alerts.delivery.alertmanager import alertmanagers
from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.pages import Delivery
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rule_file import RuleFile
from models.inference import heap
from monitor.runtime.http import Endpoint
from monitor.runtime.log import lines_lost
from monitor.runtime.settings import Settings
from monitor.runtime.tasks import (
    AlertmanagerRunner,
    AlertRunner,
    HeartbeatRunner,
    KafkaDelivery,
    Loop,
    OutboxRunner,
    PageDelivery,
    PurgeRunner,
    TopicWatch,
    Watchdog,
)
from monitor.web.alert_pages import AlertPages
from stream import offsets
from stream.breaker import Breaker
from stream.codec import Codec
from stream.domain.alerts import Alert
from stream.domain.documents import Prediction
from stream.domain.errors import BrokerError, StoreUnavailable
from stream.kafka import admin
from stream.kafka.faust_driver import FaustSource
from stream.kafka.sender import KafkaSender
from stream.metrics import KINDS, StreamMetrics
from stream.outbound import BatchOutbound
from stream.pipeline import Pipeline
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import KAFKA_PREFIX, Outbox, OutboxEntry
from stream.worker import Worker

log = logging.getLogger(__name__)

START_SECONDS = 60.0
STOP_SECONDS = 40.0
# New objects between two looks for cycles among them.
COLLECTED_AFTER = 20_000
# After so long a thread that holds the interpreter is asked for it.
SWITCH_SECONDS = 0.0005
T = TypeVar("T")


class Classifier(Protocol):
    """What judges the texts: `models.engine.Engine`, or something that stands in for it."""

    @property
    def topics(self) -> Sequence[str]: ...

    @property
    def described(self) -> str:
        """Its version and where it runs, for the log."""

    def classify(self, texts: Sequence[str], languages: Sequence[str | None]) -> Sequence[Prediction]: ...


def load_engine(settings: Settings, registry: CollectorRegistry) -> Classifier:
    """The classifier of the settings.  Raises ModelError."""
    from models.backend_selection import chosen
    from models.inference.engine import Engine
    from models.inference.metrics import ModelMetrics

    return Engine.load(chosen(settings.models), ModelMetrics(registry))


def utc_now() -> datetime:
    return datetime.now(UTC)


class Daemon:
    """One monitor.  Building it loads the classifier and needs broker and database to answer.

    Raises the rooms' own errors where something is wrong that waiting cannot mend.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[Settings, CollectorRegistry], Classifier] = load_engine,
    ) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._wake: Callable[[], object] = self._stopping.set
        self._deadline = threading.Timer(STOP_SECONDS, _give_up)
        self._deadline.daemon = True
        ProcessCollector(registry=self.registry)
        self.registry.register(lines_lost)
        self.http = Endpoint(settings.http, self.registry, self.troubles, self.page)
        self.classifier = load(settings, self.registry)
        self.topics = self.classifier.topics
        self.rules = RuleFile(settings.alerts.rules, self.topics)
        self.stream_metrics = StreamMetrics(self.registry, self.topics)
        self.alert_metrics = AlertMetrics(self.registry)
        receivers = (*settings.alerts.webhooks, *settings.alerts.channels, *settings.alerts.alertmanagers)
        self.alert_metrics.create_labels(self.rules.rules, receivers)
        self.store = Store(database.connect(settings.database), settings.stream.window_seconds)
        _patiently(lambda: database.check_schema(self.store.engine))
        kinds = settings.kafka.kinds
        topics = (*kinds, *settings.kafka.written)
        found = _patiently(lambda: admin.incarnations(settings.kafka, topics))
        self._incarnations = {topic: found[topic] for topic in kinds}
        _patiently(lambda: offsets.check(settings.kafka, self.store, self._incarnations))
        self.pipeline = self._make_pipeline()
        self.worker = Worker(
            partial(FaustSource, settings.kafka, settings.stream),
            settings.stream,
            classify=self.pipeline.classify,
            write=self.pipeline.write,
            on_stopping=self.stop,
        )
        self.watchdog = Watchdog(
            self.worker,
            self.pipeline,
            self.store,
            settings.kafka,
            self.stream_metrics,
            settings.stream.stuck_seconds,
        )
        self._leases: list[Lease] = []
        self._alert_lease = self._lease("alerts")
        self._alert_store = SqlEpisodeStore(self.store, self._alert_lease, settings.kafka.alerts)
        self._alert_pages = AlertPages(self._alert_store, self.store, utc_now)
        alerts = settings.alerts
        self._delivery = Delivery(
            alerts.targets, timedelta(seconds=alerts.group_seconds), alerts.quiet,
            settings.http.public_url.rstrip("/") or self.http.url,
        )  # fmt: skip

    def troubles(self) -> list[str]:
        """Why the monitor is not ready; empty when it is."""
        if not hasattr(self, "watchdog"):
            return ["starting"]
        found = [] if self.worker.joined_at else ["the consumer group is not joined yet"]
        if self.pipeline.trouble:
            found.append(self.pipeline.trouble)
        if self.watchdog.database_away:
            found.append("the database does not answer")
        if self.watchdog.broker_away:
            found.append(f"no broker answers at {self.settings.kafka.bootstrap_servers}")
        if self._stopping.is_set():
            found.append("stopping")
        return found

    def page(self, path: str) -> str | None:
        """The HTML of a page for people; None where there is none."""
        return self._alert_pages.get(path) if hasattr(self, "_alert_pages") else None

    def run(self) -> None:
        """Work until SIGINT or SIGTERM, or until `stop`; then drain.  Raises what ended it otherwise."""
        try:
            with tuned_interpreter():
                uvloop.run(self._run())
        finally:
            self._stopping.set()
            self._deadline.cancel()
            self.http.close()
            self.store.engine.dispose()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask for the end, from any thread; what takes too long then is cut short."""
        if not self._deadline.is_alive():
            log.info("stopping: finishing the batch in hand")
            self._deadline.start()
        self._stopping.set()
        self._wake()

    @property
    def judged(self) -> int:
        """How many documents got their labels, sure ones or not, since the start."""
        outcomes = ({"kind": kind, "outcome": outcome} for kind in KINDS for outcome in ("ok", "uncertain"))
        counted = (self.registry.get_sample_value("sentiment_documents_total", labels) for labels in outcomes)
        return int(sum(count or 0 for count in counted))

    def recent_alerts(self) -> list[Alert]:
        """The latest episodes, oldest first, as the live table shows them."""
        return self._alert_store.recent_alerts(20)

    async def _run(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(stop.set)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        threads = self._loops()
        for thread in threads:
            thread.start()
        log.info("monitor up: model %s, metrics at %s/metrics", self.classifier.described, self.http.url)
        try:
            await self.worker.run(stop)
        finally:
            self._stopping.set()
            for thread in threads:
                await asyncio.to_thread(thread.join, 10)
            self._release_leases()
        log.info("stopped")

    def _make_pipeline(self) -> Pipeline:
        stream = self.settings.stream
        return Pipeline(
            codec=Codec.of(stream),
            classify=self.classifier.classify,
            store=self.store,
            outbound=BatchOutbound(self.settings.kafka, stream.publish_predictions),
            kinds=self.settings.kafka.kinds,
            incarnations=self._incarnations,
            late=timedelta(seconds=stream.late_seconds),
            metrics=self.stream_metrics,
            clock=utc_now,
            stopping=self._stopping,
            breaker=Breaker(stream.dead_letter_share),
        )

    def _loops(self) -> list[Loop]:
        kafka, alerts = self.settings.kafka, self.settings.alerts
        outbox = Outbox(self.store.engine)
        pages = PageDelivery(
            Webhooks(alerts.webhooks, alerts.webhook_seconds), Channels(alerts.channels),
            outbox, self.alert_metrics, utc_now,
        )  # fmt: skip
        sender = KafkaSender(kafka)
        events = KafkaDelivery(sender, outbox, self.stream_metrics, utc_now)
        topics = [KAFKA_PREFIX + name for name in (*kafka.written, kafka.news)]
        watch = TopicWatch(kafka, self._incarnations)
        runners = {
            "alerts": (alerts.interval_seconds, self._alert_runner().once),
            "outbox": (0.5, self._outbox_runner("outbox", topics, 20, outbox, events).once),
            # A slow receiver must not hold up another.
            **{
                target: (0.5, self._outbox_runner(target, [target], 50, outbox, pages).once)
                for target in alerts.targets
            },
            "alertmanager": (1.0, self._alertmanager_runner().once),
            "database": (2.0, self.watchdog.ask_database),
            "topics": (30.0, watch.once),
            "depth": (
                5.0,
                lambda: self.stream_metrics.show_outbox(*outbox.depth((*topics, *alerts.targets))),
            ),
            "watchdog": (2.0, self.watchdog.once),
            "heap": (20.0, heap.give_back),
        }
        days = self.settings.stream.retention_days
        purge = PurgeRunner(self.store, self._lease("purge"), timedelta(days=days) if days else None, utc_now)
        runners["purge"] = (600.0, purge.once)
        if every := self.settings.stream.heartbeat_seconds:
            beat = HeartbeatRunner(self.store, kafka.news, self.stream_metrics, utc_now)
            runners["heartbeat"] = (every, beat.once)
        endings = {"outbox": sender.close}
        return [
            Loop(name, seconds, once, self._stopping, self._fail, endings.get(name, lambda: None))
            for name, (seconds, once) in runners.items()
        ]

    def _outbox_runner(
        self,
        name: str,
        targets: list[str],
        limit: int,
        outbox: Outbox,
        send: Callable[[list[OutboxEntry]], None],
    ) -> OutboxRunner:
        return OutboxRunner(targets, limit, outbox, self._lease(name), send, utc_now, self._stopping)

    def _alert_runner(self) -> AlertRunner:
        settings = self.settings
        evaluator = AlertEvaluator(
            rules=self.rules.rules,
            topics=self.topics,
            reader=self.store.reads,
            episodes=self._alert_store,
            delivery=self._delivery,
            window_width=self.store.width,
            metrics=self.alert_metrics,
        )
        mood = timedelta(seconds=settings.stream.mood_seconds)
        return AlertRunner(
            self.rules, evaluator, self._alert_lease, self.store, lambda now: now - mood,
            self.stream_metrics, self.alert_metrics, utc_now,
        )  # fmt: skip

    def _alertmanager_runner(self) -> AlertmanagerRunner:
        alerts = self.settings.alerts
        return AlertmanagerRunner(
            tuple(alerts.alertmanagers), alertmanagers(alerts.alertmanagers, alerts.webhook_seconds),
            self._alert_store, self.rules, self._delivery, self._lease("alertmanager"),
            self.alert_metrics, timedelta(seconds=alerts.resend_seconds), utc_now,
        )  # fmt: skip

    def _lease(self, name: str) -> Lease:
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        lease = Lease(self.store, name, holder, self.settings.alerts.lease_seconds)
        self._leases.append(lease)
        return lease

    def _release_leases(self) -> None:
        for lease in self._leases:
            try:
                lease.release()
            except StoreUnavailable as error:
                log.warning("a lease was not given back, it runs out by itself: %s", error)

    def _fail(self, error: BaseException) -> None:
        """A loop failed for good: stop, and let the error be what the process ends with."""
        self._failure = error
        self.stop()


@contextmanager
def tuned_interpreter() -> Iterator[None]:
    """Python as a process of many threads and many objects wants it.

    Its collector of cycles comes by itself after every 700 new objects, which a batch makes a hundred times
    over, and none of them in a cycle: that was a quarter of the time of the stream.  So it leaves alone what
    was loaded, and looks at the rest more rarely.  And a thread that comes back from the network waits five
    milliseconds for one that decodes: a core stood idle meanwhile.
    """
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, *threshold[1:])
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        gc.unfreeze()


def _give_up() -> None:
    log.critical("not stopped within %g s: the process ends now", STOP_SECONDS)
    logging.shutdown()
    os._exit(1)


def _patiently(attempt: Callable[[], T]) -> T:
    """At the start broker and database may come up a little later than the monitor."""
    deadline, told = time.monotonic() + START_SECONDS, False
    while True:
        try:
            return attempt()
        except (StoreUnavailable, BrokerError) as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                log.warning("waiting up to %g s: %s", START_SECONDS, error)
                told = True
            time.sleep(0.5)

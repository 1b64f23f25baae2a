"""Builds the parts of a monitor from the settings, and connects them."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from alerts.delivery.alertmanager import alertmanager_url
from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.pages import CHANNEL, PageRouter
from alerts.delivery.silences import AlertmanagerSilences
from alerts.evaluator import AlertEvaluator
from alerts.incidents.paging import never_muted
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from alerts.schedules.calendars import TradingCalendars
from alerts.schedules.mute_file import KnownNames, MuteFile
from models.entities.house_file import HouseFile
from models.entities.metrics import EntityMetrics
from models.inference import heap
from monitor.entity_ids import resolver
from monitor.runtime.classifier import Classifier, LoadClassifier
from monitor.runtime.evidence_words import with_checked_words
from monitor.runtime.settings import Settings
from monitor.runtime.shutdown import Shutdown
from monitor.runtime.tasks.alert_evaluation import (
    OVERDUE_SECONDS,
    AlertEvaluation,
    EvaluationWatch,
    MoodGauges,
)
from monitor.runtime.tasks.alertmanager import AlertmanagerSync
from monitor.runtime.tasks.calendars import CalendarReading
from monitor.runtime.tasks.digest import DailyDigest
from monitor.runtime.tasks.entity_list import EntityList
from monitor.runtime.tasks.entity_names import EntityNames
from monitor.runtime.tasks.heartbeat import Heartbeat
from monitor.runtime.tasks.installation import (
    InstallationWatch,
    lease_names,
    outbox_targets,
    topic_targets,
)
from monitor.runtime.tasks.kafka_delivery import KafkaDelivery
from monitor.runtime.tasks.outbox_sending import OutboxSending
from monitor.runtime.tasks.page_delivery import PageDelivery
from monitor.runtime.tasks.periodic import PeriodicTask
from monitor.runtime.tasks.purge import Purge
from monitor.runtime.tasks.silences import SilenceSync
from monitor.runtime.tasks.stories import Stories, StoryWatch
from monitor.runtime.tasks.watchdog import Watchdog
from monitor.trading_calendars import read_calendars
from monitor.web.access.logins import Logins
from monitor.web.desk import PAGE_THREADS, Desk
from monitor.web.incident_work import incident_actions
from monitor.web.threads import Threads
from stream import offsets
from stream.batch_writer import BatchWriter
from stream.breaker import CircuitBreaker
from stream.bundle_queue import BundleQueue
from stream.codec import Codec
from stream.decoder import Decoder
from stream.domain.errors import BrokerError, StoreUnavailable
from stream.heartbeats import Heartbeats
from stream.kafka import admin
from stream.kafka.faust_driver import FaustSource
from stream.kafka.sender import KafkaSender
from stream.metrics import StreamMetrics
from stream.offsets import OffsetGuard
from stream.outbound import BatchOutbound, StoryOutbound
from stream.pipeline import Pipeline
from stream.retry import Outage, RetryPolicy, retry
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.digest_reads import DigestReader
from stream.storage.leases import Lease
from stream.storage.outbox import KAFKA_PREFIX, Outbox, OutboxEntry
from stream.storage.secrets import load_heartbeats
from stream.storage.story_task import StoryStore
from stream.stories.publishers import load_publishers
from stream.worker import Worker

log = logging.getLogger(__name__)

STARTUP_SECONDS = 60.0
STARTUP_RETRY = RetryPolicy(first_pause=0.5, longest_pause=0.5, seconds=STARTUP_SECONDS)
# Most outbox entries per send.
KAFKA_ENTRIES, PAGE_ENTRIES = 20, 50
T = TypeVar("T")


def utc_now() -> datetime:
    return datetime.now(UTC)


def process_name() -> str:
    """What this process is called as a holder of leases and as a member of the consumer group."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(frozen=True)
class Foundation:
    """What the stream and the background tasks are built from."""

    settings: Settings
    shutdown: Shutdown
    classifier: Classifier
    rule_file: RuleFile
    mute_file: MuteFile | None
    stream_metrics: StreamMetrics
    alert_metrics: AlertMetrics
    store: Store
    outbox: Outbox
    incarnations: Mapping[str, str]
    heartbeats: Heartbeats
    offsets: OffsetGuard
    leases: "Leases"
    episodes: SqlEpisodeStore
    evaluation_watch: EvaluationWatch
    story_watch: StoryWatch
    delivery: PageRouter


@dataclass(frozen=True)
class Monitor:
    """A whole monitor, ready to run."""

    settings: Settings
    registry: CollectorRegistry
    classifier: Classifier
    rule_file: RuleFile
    mute_file: MuteFile | None
    store: Store
    episodes: SqlEpisodeStore
    desk: Desk
    pipeline: Pipeline
    worker: Worker[Any]
    watchdog: Watchdog
    evaluation_watch: EvaluationWatch
    story_watch: StoryWatch
    tasks: tuple[PeriodicTask, ...]
    leases: "Leases"

    def count_documents(self, *outcomes: str) -> int:
        """How many messages were processed since the start, with these outcomes or with any."""
        families = self.registry.restricted_registry(["sentiment_documents_total"]).collect()
        samples = (sample for family in families for sample in family.samples)
        return int(sum(s.value for s in samples if not outcomes or s.labels["outcome"] in outcomes))


class Leases:
    """The leases of this monitor, by task; each has its own holder name."""

    def __init__(self, store: Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self._leases: dict[str, Lease] = {}

    def get(self, task: str, attempt_seconds: float = 0.0) -> Lease:
        """The lease of a task that renews it at the latest after an attempt of so many seconds."""
        if task not in self._leases:
            holder = f"{process_name()}:{uuid.uuid4().hex[:8]}"
            self._leases[task] = Lease(self._store, task, holder, self._seconds + attempt_seconds)
        return self._leases[task]

    def holders(self) -> dict[str, str]:
        """This monitor's name as the holder of each lease."""
        return {task: lease.own_name for task, lease in self._leases.items()}

    def release_all(self) -> None:
        for task, lease in self._leases.items():
            try:
                lease.release()
            except StoreUnavailable as error:
                log.warning("the lease %s was not released and will expire: %s", task, error)


def assemble(
    *,
    settings: Settings,
    registry: CollectorRegistry,
    shutdown: Shutdown,
    http_url: str,
    load: LoadClassifier,
) -> Monitor:
    """Load the classifier, wait for broker and database, and build every part.  Starts nothing.

    `http_url` is where the pages are served.  Raises ModelError, AlertError, and StreamError where broker,
    database or offsets are not what a run needs.
    """
    base = _foundation(settings, registry, shutdown, http_url, load)
    pipeline = _pipeline(base)
    worker = Worker(
        partial(FaustSource, settings.kafka, settings.stream, base.offsets.check, process_name()),
        settings.stream,
        BundleQueue(settings.stream, settings.kafka.news, pipeline.may_start),
        classify=pipeline.classify,
        write=pipeline.write,
        on_stopping=shutdown.request,
        note_holes=base.offsets.note_holes,
    )
    watchdog = Watchdog(
        worker=worker,
        pipeline=pipeline,
        store=base.store,
        kafka=settings.kafka,
        metrics=base.stream_metrics,
        stuck_seconds=settings.stream.stuck_seconds,
        clock=time.monotonic,
    )
    tasks = (
        *_alert_tasks(base),
        *_outbox_tasks(base),
        *_maintenance_tasks(base),
        *_entity_tasks(base, registry),
        *_story_tasks(base),
        *_watch_tasks(base, watchdog),
    )
    return Monitor(
        settings=settings,
        registry=registry,
        classifier=base.classifier,
        rule_file=base.rule_file,
        mute_file=base.mute_file,
        store=base.store,
        episodes=base.episodes,
        desk=_desk(base),
        pipeline=pipeline,
        worker=worker,
        watchdog=watchdog,
        evaluation_watch=base.evaluation_watch,
        story_watch=base.story_watch,
        tasks=tasks,
        leases=base.leases,
    )


def _desk(base: Foundation) -> Desk:
    return Desk(
        settings=base.settings,
        store=base.store,
        episodes=base.episodes,
        rule_file=base.rule_file,
        mute_file=base.mute_file,
        topics=tuple(base.classifier.topics),
        event_types=tuple(base.classifier.event_types),
        clock=utc_now,
        threads=Threads(PAGE_THREADS, base.settings.http.request_seconds / 2),
        classifier=base.classifier,
        logins=Logins(base.settings.http, base.store.engine, utc_now),
    )


def _foundation(
    settings: Settings, registry: CollectorRegistry, shutdown: Shutdown, http_url: str, load: LoadClassifier
) -> Foundation:
    classifier, alerts = load(settings, registry), settings.alerts
    resolve = resolver(lambda: classifier.gazetteer)
    rule_file = RuleFile(
        alerts.rules,
        classifier.topics,
        alerts.time_zone,
        resolve,
        alerts.watchlist,
        event_types=classifier.event_types,
    )
    known = KnownNames(classifier.topics, time_zone=alerts.time_zone, resolve=resolve)
    mute_file = MuteFile(alerts.mutes, known) if alerts.mutes else None
    late_after = timedelta(seconds=settings.stream.late_seconds)
    stream_metrics = StreamMetrics(registry, classifier.topics, late_after, settings.stream.unsupported_share)
    alert_metrics = AlertMetrics(registry)
    alert_metrics.create_labels(rule_file.rules, (*alerts.webhooks, *alerts.channels, *alerts.alertmanagers))
    store = _connect_store(settings)
    incarnations = _check_topics_and_offsets(settings, store)
    leases = Leases(store, alerts.lease_seconds)
    return Foundation(
        settings=settings,
        shutdown=shutdown,
        classifier=classifier,
        rule_file=rule_file,
        mute_file=mute_file,
        stream_metrics=stream_metrics,
        alert_metrics=alert_metrics,
        store=store,
        outbox=Outbox(store.engine),
        incarnations=incarnations,
        heartbeats=_retry_at_startup(lambda: load_heartbeats(store.engine, settings.stream.heartbeat_secret)),
        offsets=OffsetGuard(settings.kafka, store, incarnations, shutdown.stopping, utc_now),
        leases=leases,
        episodes=SqlEpisodeStore(store, leases.get("alerts"), settings.kafka.alerts),
        evaluation_watch=EvaluationWatch(
            store=store,
            lease=leases.get("alerts"),
            # After a crash it takes as long as the lease until another monitor may evaluate.
            overdue_seconds=max(OVERDUE_SECONDS, 2 * alerts.lease_seconds, 3 * alerts.interval_seconds),
        ),
        story_watch=StoryWatch(store=store, metrics=stream_metrics.stories, clock=utc_now),
        delivery=PageRouter(
            alerts.first_targets,
            timedelta(seconds=alerts.group_seconds),
            alerts.quiet,
            settings.http.public_url.rstrip("/") or http_url,
            settings.kafka.alert_bytes,
            alerts.escalation_steps,
        ),
    )


def _connect_store(settings: Settings) -> Store:
    publishers = load_publishers(settings.stream.publishers)
    store = Store(database.connect(settings.database), settings.stream.window_seconds, publishers)
    _retry_at_startup(lambda: database.check_schema(store.engine))
    return store


def _check_topics_and_offsets(settings: Settings, store: Store) -> dict[str, str]:
    """The incarnations of the topics that are read.  Raises OffsetsRefused if reading on would lose
    messages."""
    kafka = settings.kafka
    every_topic = (*kafka.kinds, *kafka.output_topics)
    incarnations = _retry_at_startup(lambda: admin.incarnations(kafka, every_topic))
    to_read = {topic: incarnations[topic] for topic in kafka.kinds}
    _retry_at_startup(lambda: offsets.check(kafka, store, to_read))
    return to_read


def _retry_at_startup(attempt: Callable[[], T]) -> T:
    """Broker and database may start a little later than the monitor."""
    outage = Outage("broker or database", log, logging.WARNING)
    result = retry(
        attempt,
        errors=(StoreUnavailable, BrokerError),
        policy=STARTUP_RETRY,
        on_failure=lambda error: outage.failed(error, f"retrying for up to {STARTUP_SECONDS:g} s"),
    )
    outage.recovered()
    return result


def _pipeline(base: Foundation) -> Pipeline:
    stream, kafka = base.settings.stream, base.settings.kafka
    writer = BatchWriter(
        store=base.store,
        outbound=BatchOutbound(kafka, stream.publish_predictions),
        metrics=base.stream_metrics,
        clock=utc_now,
        stopping=base.shutdown.stopping,
        check_offsets=base.offsets.check,
    )
    return Pipeline(
        decoder=Decoder(Codec.from_settings(stream, base.heartbeats), kafka.kinds, base.incarnations),
        classify=base.classifier.classify,
        writer=writer,
        breakers={topic: CircuitBreaker(stream.dead_letter_share) for topic in kafka.kinds},
        metrics=base.stream_metrics,
        clock=utc_now,
    )


def _task(
    base: Foundation,
    name: str,
    seconds: float,
    run_once: Callable[[], object],
    on_end: Callable[[], object] = lambda: None,
) -> PeriodicTask:
    return PeriodicTask(
        name=name,
        seconds=seconds,
        run_once=run_once,
        stopping=base.shutdown.stopping,
        fail=base.shutdown.fail,
        on_end=on_end,
    )


def _alert_tasks(base: Foundation) -> list[PeriodicTask]:
    """Evaluating the rules, reading the trading calendars that they name, and telling each Alertmanager."""
    settings, reads = base.settings, base.store.reads
    evaluator = AlertEvaluator(
        rules=base.rule_file.rules,
        topics=base.classifier.topics,
        reader=reads,
        episodes=base.episodes,
        delivery=base.delivery,
        window_width=base.store.width,
        metrics=base.alert_metrics,
        policy=settings.alerts.incidents.policy,
        is_muted=base.mute_file.is_muted if base.mute_file else never_muted,
    )
    evaluator.check_words(partial(with_checked_words, base.classifier))
    calendars = TradingCalendars(are_being_read=True)
    evaluator.use_calendars(calendars)
    reading = CalendarReading(
        rule_file=base.rule_file, calendars=calendars, read=read_calendars, clock=utc_now
    )
    evaluation = AlertEvaluation(
        rule_file=base.rule_file,
        evaluator=evaluator,
        lease=base.leases.get("alerts"),
        watch=base.evaluation_watch,
        mood=MoodGauges(
            reads,
            base.stream_metrics,
            timedelta(seconds=settings.stream.mood_seconds),
            lambda: base.rule_file.with_gauges,
        ),
        metrics=base.alert_metrics,
        clock=utc_now,
        mute_file=base.mute_file,
    )
    return [
        _task(base, "alerts", settings.alerts.interval_seconds, evaluation.run_once),
        _task(base, "calendars", settings.alerts.interval_seconds, reading.run_once),
        *_digest_tasks(base),
        *(
            _task(base, f"alertmanager:{name}", 1.0, _alertmanager_sync(base, name).run_once)
            for name in settings.alerts.alertmanagers
        ),
        *(
            _task(base, f"silences:{name}", 5.0, _silence_sync(base, name).run_once)
            for name in settings.alerts.alertmanagers
        ),
    ]


def _silence_sync(base: Foundation, name: str) -> SilenceSync:
    alerts = base.settings.alerts
    return SilenceSync(
        name=name,
        silences=AlertmanagerSilences(alerts.alertmanagers[name], alerts.webhook_seconds),
        episodes=base.episodes,
        actions=incident_actions(base.store),
        per=alerts.alertmanager.per,
        rule_file=base.rule_file,
        router=base.delivery,
        lease=base.leases.get(f"silences:{name}", 3 * alerts.webhook_seconds),
        clock=utc_now,
    )


def _digest_tasks(base: Foundation) -> list[PeriodicTask]:
    """Sending the digest of each day, if there is one and somebody takes it."""
    alerts = base.settings.alerts
    plan, targets = alerts.digest_plan, alerts.digest_targets
    if plan is None or not targets:
        return []
    digest = DailyDigest(
        plan=plan,
        zone=alerts.digest_zone,
        targets=targets,
        router=base.delivery,
        reads=base.store.reads,
        digests=DigestReader(base.store.engine),
        episodes=base.episodes,
        lease=base.leases.get("alerts"),
        clock=utc_now,
    )
    return [_task(base, "digest", 10.0, digest.run_once)]


def _alertmanager_sync(base: Foundation, name: str) -> AlertmanagerSync:
    alerts = base.settings.alerts
    webhook = Webhooks({name: alertmanager_url(alerts.alertmanagers[name])}, alerts.webhook_seconds)
    return AlertmanagerSync(
        name=name,
        send=partial(webhook.send, name),
        max_bytes=alerts.alertmanager_bytes,
        episodes=base.episodes,
        per=alerts.alertmanager.per,
        rule_file=base.rule_file,
        router=base.delivery,
        lease=base.leases.get(f"alertmanager:{name}", alerts.webhook_seconds),
        metrics=base.alert_metrics,
        interval=timedelta(seconds=alerts.resend_seconds),
        clock=utc_now,
    )


def _outbox_tasks(base: Foundation) -> list[PeriodicTask]:
    """Sending the outbox: a task for each Kafka topic and each receiver, so that none delays another."""
    alerts, outbox = base.settings.alerts, base.outbox
    to_people = PageDelivery(
        webhooks=Webhooks(alerts.webhooks, alerts.webhook_seconds),
        channels=Channels(alerts.channels, alerts.channel_seconds),
        webhook_bytes=alerts.webhook_bytes,
        channel_bytes=alerts.channel_bytes,
        outbox=outbox,
        metrics=base.alert_metrics,
        clock=utc_now,
    )
    topics = topic_targets(base.settings)
    base.stream_metrics.outbox.create_labels(topic.removeprefix(KAFKA_PREFIX) for topic in topics)
    return [
        *(_kafka_task(base, topic) for topic in topics),
        *(_page_task(base, target, to_people) for target in alerts.targets),
    ]


def _kafka_task(base: Foundation, target: str) -> PeriodicTask:
    sender = KafkaSender(base.settings.kafka)
    send = KafkaDelivery(sender=sender, outbox=base.outbox, metrics=base.stream_metrics, clock=utc_now)
    sending = _outbox_sending(base, target, KAFKA_ENTRIES, lambda entries, _may_go_on: send(entries))
    return _task(base, target, 0.5, sending.run_once, on_end=sender.close)


def _page_task(base: Foundation, target: str, send: PageDelivery) -> PeriodicTask:
    return _task(base, target, 0.5, _outbox_sending(base, target, PAGE_ENTRIES, send).run_once)


def _outbox_sending(
    base: Foundation,
    target: str,
    limit: int,
    send: Callable[[list[OutboxEntry], Callable[[], bool]], None],
) -> OutboxSending:
    alerts = base.settings.alerts
    attempt_seconds = alerts.channel_seconds if target.startswith(CHANNEL) else alerts.webhook_seconds
    return OutboxSending(
        targets=[target],
        limit=limit,
        outbox=base.outbox,
        lease=base.leases.get(target, attempt_seconds),
        send=send,
        clock=utc_now,
        stopping=base.shutdown.stopping,
    )


def _maintenance_tasks(base: Foundation) -> list[PeriodicTask]:
    """Erasing old texts, sending heartbeats, and returning memory to the system."""
    stream = base.settings.stream
    purge = Purge(
        store=base.store,
        lease=base.leases.get("purge"),
        retention=timedelta(days=stream.retention_days) if stream.retention_days else None,
        clock=utc_now,
    )
    tasks = [_task(base, "purge", 600.0, purge.run_once), _task(base, "heap", 20.0, heap.give_back)]
    if stream.heartbeat_seconds:
        heartbeat = Heartbeat(
            store=base.store,
            topic=base.settings.kafka.news,
            heartbeats=base.heartbeats,
            metrics=base.stream_metrics,
            clock=utc_now,
        )
        tasks.append(_task(base, "heartbeat", stream.heartbeat_seconds, heartbeat.run_once))
    return tasks


def _entity_tasks(base: Foundation, registry: CollectorRegistry) -> list[PeriodicTask]:
    """Storing the names of the entities in SQL, and reading the house's file of entities again."""
    names = EntityNames(store=base.store, classifier=base.classifier)
    tasks = [_task(base, "entity names", 10.0, names.run_once)]
    metrics, path = EntityMetrics(registry), base.settings.models.entities
    if path is not None:
        entities = EntityList(file=HouseFile(path), classifier=base.classifier, metrics=metrics)
        tasks.append(_task(base, "entity list", 5.0, entities.run_once))
    return tasks


def _story_tasks(base: Foundation) -> list[PeriodicTask]:
    """Assigning documents to stories, and watching that it keeps up."""
    stream, metrics = base.settings.stream, base.stream_metrics.stories
    stories = StoryStore(
        base.store,
        base.leases.get("stories"),
        weights=lambda: base.classifier.story_weights,
        outbound=StoryOutbound(base.settings.kafka, stream.publish_stories),
        clock=utc_now,
    )
    task = Stories(store=stories, metrics=metrics, stopping=base.shutdown.stopping)
    return [
        _task(base, "stories", 0.5, task.run_once),
        _task(base, "story watch", 5.0, base.story_watch.look),
    ]


def _watch_tasks(base: Foundation, watchdog: Watchdog) -> list[PeriodicTask]:
    """Watching the database, the offsets, all monitors, and that the worker makes progress."""
    metrics = base.stream_metrics.installation
    metrics.create_labels(outbox_targets(base.settings), lease_names(base.settings))
    installation = InstallationWatch(
        store=base.store,
        outbox=base.outbox,
        kafka=base.settings.kafka,
        holders=base.leases.holders,
        metrics=metrics,
        clock=utc_now,
    )
    return [
        _task(base, "installation", 5.0, installation.look_at_database),
        _task(base, "group members", 15.0, installation.look_at_group),
        _task(base, "database", 2.0, watchdog.ping_database),
        _task(base, "offsets", 10.0, base.offsets.check_once),
        _task(base, "watchdog", 2.0, watchdog.run_once),
    ]

"""Measures the way from Kafka to SQL: with the classifier, without it, and a simple consumer loop instead."""

import json
import logging
import shutil
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from prometheus_client import CollectorRegistry
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, insert, select

from alerts.delivery.pages import PageRouter
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from models.network.info import read_info
from monitor.bench import classifier
from monitor.bench.stand_in import StandIn
from monitor.demo.embedded import API_VERSION, EmbeddedBroker
from monitor.runtime.classifier import Classifier, LoadClassifier, load_engine
from monitor.runtime.daemon import Daemon
from monitor.runtime.settings import Settings
from stream.domain.documents import EPOCH, Kind
from stream.domain.errors import BrokerError, StoreRefused
from stream.domain.sums import Scope
from stream.kafka import admin
from stream.kafka.security import client_options
from stream.settings import PROFILES
from stream.storage import database, schema
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease

log = logging.getLogger(__name__)

# The rate is measured between these shares of the documents: the group is joined, everything is warm, and
# more documents wait.
STEADY_FROM, STEADY_TO = 0.1, 0.9
SAMPLE_SECONDS = 0.1
STALLED_SECONDS = 120.0
LOOP_DOCUMENTS = 100


# Each measurement has its own topics and consumer group.  A new group reads its topics from the start, and
# the embedded broker waits a whole session timeout for a member that has left.
MEASUREMENTS = ("stream", "whole", "plain", "worker", "latency", "loop")


@contextmanager
def prepared_settings(settings: Settings, *, embedded: bool) -> Iterator[dict[str, Settings]]:
    """Settings for each of MEASUREMENTS: own topics, and one empty database for all.

    `embedded` uses a broker in this process and an SQLite file; otherwise those of the settings are used.
    Everything is deleted at the end, except the rows in the database of the settings.
    Raises StoreRefused where that database holds documents.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    broker = EmbeddedBroker() if embedded else None
    values = settings.model_dump() | {
        "alerts": settings.alerts.model_dump() | {"webhooks": {}, "channels": {}, "alertmanagers": {}},
        # The same texts are sent repeatedly; the cache must not speed that up.
        "models": settings.models.model_dump() | {"remembered_texts": 0},
        "http": settings.http.model_dump() | {"port": 0},
    }
    if broker is not None:
        values["kafka"] |= {"bootstrap_servers": broker.bootstrap, "api_version": API_VERSION}
        values["database"] = {"url": f"sqlite:///{folder / 'bench.db'}"}
    tag = uuid.uuid4().hex[:8]
    by_name = {name: _with_topics(values, f"bench-{tag}-{name}") for name in MEASUREMENTS}
    try:
        for own in by_name.values():
            if broker is not None:
                broker.create((*own.kafka.kinds, *own.kafka.output_topics))
            else:
                admin.create_topics(own.kafka)
        _check_database_is_empty(by_name["whole"])
        yield by_name
    finally:
        if broker is not None:
            broker.close()
        else:
            for own in by_name.values():
                _delete_topics(own)
        shutil.rmtree(folder, ignore_errors=True)


def _with_topics(values: Mapping[str, Any], prefix: str) -> Settings:
    names = ("group", "news", "comments", "dead_letters", "predictions", "alerts")
    own = {name: f"{prefix}-{name.replace('_', '-')}" for name in names}
    return Settings.model_validate({**values, "kafka": values["kafka"] | own})


def in_profile(settings: Settings, profile: str, documents: int) -> Settings:
    """The settings in that profile, with batches small enough that `documents` fill at least four."""
    own = PROFILES[profile]
    batch_documents = max(1, min(own["batch_documents"], documents // 4))
    changed = {"profile": profile, **own, "batch_documents": batch_documents}
    stream = settings.stream.model_dump() | changed
    return Settings.model_validate(settings.model_dump() | {"stream": stream})


def _delete_topics(settings: Settings) -> None:
    """Failing to delete topics must not lose the results."""
    try:
        admin.delete_topics(settings.kafka)
    except (BrokerError, KafkaError) as error:
        log.error("the benchmark's topics (%s ...) could not be deleted: %s", settings.kafka.news, error)


def _check_database_is_empty(settings: Settings) -> None:
    database.upgrade(settings.database)
    engine = database.connect(settings.database)
    with database.reading(engine) as connection:
        used = connection.execute(select(schema.documents.c.id).limit(1)).first()
    engine.dispose()
    if used:
        raise StoreRefused(
            "the database holds documents: give the benchmark an empty one in database.url, or none at all"
        )


def send_documents(
    settings: Settings, texts: Sequence[str], documents: int, tag: str, per_message: int = 1
) -> None:
    """Send `documents` news items with ids of their own, cycling through the texts.

    Each message holds `per_message` of them.
    """
    producer, now = admin.producer(settings.kafka, linger_ms=20), datetime.now(UTC)
    for first in range(0, documents, per_message):
        numbers = range(first, min(documents, first + per_message))
        items = [make_message(texts, tag, n, now - timedelta(seconds=(documents - n) / 100)) for n in numbers]
        values = b",".join(value for _, value in items)
        value = values if per_message == 1 else b"[" + values + b"]"
        producer.send(settings.kafka.news, key=items[0][0].encode(), value=value)
    producer.flush(timeout=60)
    admin.close(producer, 5)


def make_message(texts: Sequence[str], tag: object, number: int, published_at: datetime) -> tuple[str, bytes]:
    """The id and the message of the news item with this number; cycles through the texts.

    The words of a text are rotated in each cycle: equal texts of a batch are classified only once.
    """
    id_, (cycle, index) = f"{tag}-{number}", divmod(number, len(texts))
    words = deque(texts[index].split())
    words.rotate(cycle)
    message = {
        "id": id_,
        "source": f"bench {number % 5}",
        "lang": "en",
        "published_at": published_at.isoformat(),
        "title": " ".join(words),
    }
    return id_, json.dumps(message, ensure_ascii=False).encode()


def stand_in(_settings: Settings, _registry: CollectorRegistry) -> Classifier:
    return StandIn()


def without_entities(settings: Settings, registry: CollectorRegistry) -> Classifier:
    """The classifier, which looks for no entities."""
    from models import loading
    from models.backend_selection import select_backend
    from models.document_classifier import DocumentClassifier
    from models.inference.metrics import ModelMetrics

    return DocumentClassifier(loading.load(settings.models, select_backend, ModelMetrics(registry)))


def measure_stream(
    settings: Settings,
    texts: Sequence[str],
    documents: int,
    load: LoadClassifier = load_engine,
    progress: Callable[[int], object] = lambda n: None,
) -> float:
    """Documents per second from Kafka into SQL, for a monitor that reads a topic with all of them in it.

    Uses the throughput profile, and as many documents per message as the settings allow.
    Raises BrokerError if the monitor stops before the end.
    """
    settings = in_profile(settings, "throughput", documents)
    send_documents(settings, texts, documents, uuid.uuid4().hex[:6], settings.stream.message_documents)
    daemon = Daemon.build(settings, load)
    running = threading.Thread(target=daemon.run, name="bench")
    running.start()
    try:
        samples = [(time.monotonic(), 0)]
        while (seen := samples[-1][1]) < documents:
            time.sleep(SAMPLE_SECONDS)
            if (processed := daemon.monitor.count_documents()) > seen:
                progress(processed - seen)
                samples.append((time.monotonic(), processed))
            if not running.is_alive() or time.monotonic() - samples[-1][0] > STALLED_SECONDS:
                raise BrokerError(f"the monitor stopped at {seen} of {documents} documents")
        return steady_rate(samples)
    finally:
        daemon.stop()
        running.join()


def steady_rate(samples: Sequence[tuple[float, int]]) -> float:
    """Documents per second between STEADY_FROM and STEADY_TO, from samples (seconds, documents so far)."""
    documents = samples[-1][1]
    begin, end = (
        next(at for at, (_, seen) in enumerate(samples) if seen >= part * documents)
        for part in (STEADY_FROM, STEADY_TO)
    )
    (began, first), (ended, last) = samples[min(begin, end - 1)], samples[end]
    return (last - first) / (ended - began)


def measure_user_loop(settings: Settings, texts: Sequence[str], documents: int = LOOP_DOCUMENTS) -> float:
    """Documents per second of a simple loop: a consumer, two pipelines, an INSERT and a COMMIT each."""
    send_documents(settings, texts, documents + 1, uuid.uuid4().hex[:6])
    table = Table(
        f"user_loop_{uuid.uuid4().hex[:8]}",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("text", Text),
        Column("topic", String(100)),
        Column("sentiment", String(16)),
    )
    engine = database.connect(settings.database)
    table.create(engine)
    pipelines = classifier.load_pipelines(settings.models)
    consumer = KafkaConsumer(
        settings.kafka.news,
        bootstrap_servers=settings.kafka.bootstrap_servers.split(","),
        api_version=settings.kafka.api_version,
        group_id=None,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        consumer_timeout_ms=round(STALLED_SECONDS * 1000),
        **client_options(settings.kafka),
    )
    try:
        started, done = 0.0, 0
        for message in consumer:
            text = json.loads(message.value)["title"]
            topic, sentiment = (pipeline([text], 1)[0]["label"] for pipeline in pipelines)
            with engine.begin() as connection:
                connection.execute(insert(table).values(text=text, topic=topic, sentiment=sentiment))
            done += 1
            if done == 1:  # the first one warms everything up
                started = time.perf_counter()
            if done > documents:
                return documents / (time.perf_counter() - started)
        raise BrokerError(f"only {done} of {documents} documents were read from Kafka")
    finally:
        consumer.close()
        table.drop(engine)
        engine.dispose()


def measure_rules(settings: Settings, rounds: int) -> float:
    """Median milliseconds to evaluate all rules of the settings on all topics, over the stored documents."""
    topics = read_info(settings.models.weights).labels["topic"]
    rules = RuleFile(settings.alerts.rules, topics, settings.alerts.time_zone).rules
    store = Store(database.connect(settings.database), settings.stream.window_seconds)
    lease = Lease(store, f"bench-{uuid.uuid4().hex[:8]}", "bench", 3600)
    lease.acquire()
    alerts = SqlEpisodeStore(store, lease, settings.kafka.alerts)
    evaluator = AlertEvaluator(
        rules=rules,
        topics=topics,
        reader=store.reads,
        episodes=alerts,
        delivery=PageRouter(),
        window_width=store.width,
        metrics=AlertMetrics(CollectorRegistry()),
    )
    workload = classifier.Workload(1, lambda: evaluator.evaluate(datetime.now(UTC)))
    timing = classifier.time_interleaved({"rules": workload}, rounds)["rules"]
    lease.release()
    store.engine.dispose()
    return round(1000 / timing.per_second, 2)


def measure_queries(settings: Settings, rounds: int) -> dict[str, float]:
    """Median milliseconds of the queries of alerts and pages, over the stored documents."""
    store = Store(database.connect(settings.database), settings.stream.window_seconds)
    now = datetime.now(UTC)
    day, hour = now - timedelta(days=1), timedelta(hours=1)
    scope = Scope(None, tuple(Kind), day, now)
    queries: dict[str, Callable[[], object]] = {
        "sums of a day": lambda: store.reads.sums(day, now),
        "hours of everything": lambda: store.reads.sums_by_window(EPOCH, now, hour),
        "most negative of a day": lambda: store.reads.most_negative(scope, 5),
        "sources of a day": lambda: store.reads.negative_writers(scope),
    }
    workloads = {name: classifier.Workload(1, query) for name, query in queries.items()}
    timings = classifier.time_interleaved(workloads, rounds)
    store.engine.dispose()
    return {name: round(1000 / timing.per_second, 2) for name, timing in timings.items()}

"""From Kafka to SQL: how fast with the classifier, how fast without one, and how fast a loop by hand is."""

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

from alerts.delivery.pages import Delivery
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rule_file import RuleFile
from models.network.artifact import read_info
from models.network.registry import resolve
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

# What the rate is measured over: between these parts the group is joined, all is warm and more waits.
BEGINS_AT, ENDS_AT = 0.1, 0.9
LOOK_SECONDS = 0.1
STALLED_SECONDS = 120.0
LOOP_DOCUMENTS = 100


# Each has topics and a consumer group of its own: a new group reads all that is in its topics, and the
# embedded broker waits a session long for a member that has left.
PLACES = ("stream", "whole", "worker", "latency", "loop")


@contextmanager
def surroundings(settings: Settings, *, embedded: bool) -> Iterator[dict[str, Settings]]:
    """Settings for each of PLACES, with topics of its own and one empty database for all.

    All is gone afterwards but what is in a given database.  `embedded` is the broker within this process
    and a file of SQLite; else those of the settings.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    inside = EmbeddedBroker() if embedded else None
    values = settings.model_dump() | {
        "alerts": settings.alerts.model_dump() | {"webhooks": {}, "channels": {}, "alertmanagers": {}},
        # The same texts come again and again here; how much that saves is a figure of its own.
        "models": settings.models.model_dump() | {"remembered_texts": 0},
        "http": settings.http.model_dump() | {"port": 0},
    }
    if inside is not None:
        values["kafka"] |= {"bootstrap_servers": inside.bootstrap, "api_version": API_VERSION}
        values["database"] = {"url": f"sqlite:///{folder / 'bench.db'}"}
    tag = uuid.uuid4().hex[:8]
    places = {place: _at(values, f"bench-{tag}-{place}") for place in PLACES}
    try:
        for made in places.values():
            if inside is not None:
                inside.create((*made.kafka.kinds, *made.kafka.written))
            else:
                admin.create_topics(made.kafka)
        _demand_empty(places["whole"])
        yield places
    finally:
        if inside is not None:
            inside.close()
        else:
            for made in places.values():
                _delete_topics(made)
        shutil.rmtree(folder, ignore_errors=True)


def _at(values: Mapping[str, Any], prefix: str) -> Settings:
    names = ("group", "news", "comments", "dead_letters", "predictions", "alerts")
    own = {name: f"{prefix}-{name.replace('_', '-')}" for name in names}
    return Settings.model_validate({**values, "kafka": values["kafka"] | own})


def in_profile(settings: Settings, profile: str, documents: int) -> Settings:
    """With the batches of that profile, where at least four of them make up so many documents."""
    own = PROFILES[profile]
    most = max(1, min(own["batch_documents"], documents // 4))
    fitting = {"profile": profile, **own, "batch_documents": most}
    stream = settings.stream.model_dump() | fitting
    return Settings.model_validate(settings.model_dump() | {"stream": stream})


def _delete_topics(settings: Settings) -> None:
    """What was measured is worth more than a clean broker."""
    try:
        admin.delete_topics(settings.kafka)
    except (BrokerError, KafkaError) as error:
        log.error("the benchmark's topics (%s ...) stay: %s", settings.kafka.news, error)


def _demand_empty(settings: Settings) -> None:
    database.upgrade(settings.database)
    engine = database.connect(settings.database)
    with database.reading(engine) as connection:
        used = connection.execute(select(schema.documents.c.id).limit(1)).first()
    engine.dispose()
    if used:
        raise StoreRefused(
            "the database holds documents: give the benchmark an empty one in database.url, or none at all"
        )


def fill(settings: Settings, texts: Sequence[str], documents: int, tag: str, together: int = 1) -> None:
    """Send so many news items, each with its own id, text after text and again from the first.

    `together` of them make one message.
    """
    producer, now = admin.producer(settings.kafka, linger_ms=20), datetime.now(UTC)
    for first in range(0, documents, together):
        numbers = range(first, min(documents, first + together))
        items = [item(texts, tag, n, now - timedelta(seconds=(documents - n) / 100)) for n in numbers]
        values = b",".join(value for _, value in items)
        value = values if together == 1 else b"[" + values + b"]"
        producer.send(settings.kafka.news, key=items[0][0].encode(), value=value)
    producer.flush(timeout=60)
    admin.close(producer, 5)


def item(texts: Sequence[str], tag: object, number: int, published_at: datetime) -> tuple[str, bytes]:
    """The id and the message of a news item; the texts come again from the first, each time turned.

    The same text would go through the network once a batch.
    """
    id_, (turns, which) = f"{tag}-{number}", divmod(number, len(texts))
    words = deque(texts[which].split())
    words.rotate(turns)
    message = {
        "id": id_, "source": f"bench {number % 5}", "lang": "en",
        "published_at": published_at.isoformat(), "title": " ".join(words),
    }  # fmt: skip
    return id_, json.dumps(message, ensure_ascii=False).encode()


def stand_in(_settings: Settings, _registry: CollectorRegistry) -> Classifier:
    return StandIn()


def whole_way(
    settings: Settings,
    texts: Sequence[str],
    documents: int,
    load: LoadClassifier = load_engine,
    progress: Callable[[int], object] = lambda n: None,
) -> float:
    """Documents a second from Kafka into SQL, a monitor at work on a topic that holds them all already.

    In the profile for throughput, and in messages of as many documents as the settings allow.
    """
    settings = in_profile(settings, "throughput", documents)
    fill(settings, texts, documents, uuid.uuid4().hex[:6], settings.stream.message_documents)
    daemon = Daemon.build(settings, load)
    running = threading.Thread(target=daemon.run, name="bench")
    running.start()
    try:
        looks = [(time.monotonic(), 0)]
        while (seen := looks[-1][1]) < documents:
            time.sleep(LOOK_SECONDS)
            if (through := daemon.monitor.count_documents()) > seen:
                progress(through - seen)
                looks.append((time.monotonic(), through))
            if not running.is_alive() or time.monotonic() - looks[-1][0] > STALLED_SECONDS:
                raise BrokerError(f"the monitor stopped at {seen} of {documents} documents")
        return steady_rate(looks)
    finally:
        daemon.stop()
        running.join()


def steady_rate(looks: Sequence[tuple[float, int]]) -> float:
    """Documents a second, from looks (seconds, documents through so far), between BEGINS_AT and ENDS_AT."""
    documents = looks[-1][1]
    begin, end = (
        next(at for at, (_, seen) in enumerate(looks) if seen >= part * documents)
        for part in (BEGINS_AT, ENDS_AT)
    )
    (began, first), (ended, last) = looks[min(begin, end - 1)], looks[end]
    return (last - first) / (ended - began)


def by_hand(settings: Settings, texts: Sequence[str], documents: int = LOOP_DOCUMENTS) -> float:
    """The loop one would write: a consumer, two pipelines, one INSERT and one COMMIT a document."""
    fill(settings, texts, documents + 1, uuid.uuid4().hex[:6])
    table = Table(
        f"by_hand_{uuid.uuid4().hex[:8]}", MetaData(),
        Column("id", Integer, primary_key=True), Column("text", Text),
        Column("topic", String(100)), Column("sentiment", String(16)),
    )  # fmt: skip
    engine = database.connect(settings.database)
    table.create(engine)
    pipelines = classifier.pipelines(settings.models)
    consumer = KafkaConsumer(
        settings.kafka.news, bootstrap_servers=settings.kafka.bootstrap_servers.split(","),
        api_version=settings.kafka.api_version, group_id=None, auto_offset_reset="earliest",
        consumer_timeout_ms=30_000, **client_options(settings.kafka),
    )  # fmt: skip
    try:
        started, done = 0.0, 0
        for message in consumer:
            text = json.loads(message.value)["title"]
            topic, sentiment = (pipeline([text], 1)[0]["label"] for pipeline in pipelines)
            with engine.begin() as connection:
                connection.execute(insert(table).values(text=text, topic=topic, sentiment=sentiment))
            done += 1
            if done == 1:  # which warmed all up
                started = time.perf_counter()
            if done > documents:
                return documents / (time.perf_counter() - started)
        raise BrokerError(f"only {done} of {documents} documents came back from Kafka")
    finally:
        consumer.close()
        table.drop(engine)
        engine.dispose()


def evaluations(settings: Settings, rounds: int) -> float:
    """Median milliseconds of evaluating all rules of the settings on all topics, over what is stored now."""
    topics = read_info(resolve(settings.models.weights)).labels["topic"]
    rules = RuleFile(settings.alerts.rules, topics).rules
    store = Store(database.connect(settings.database), settings.stream.window_seconds)
    lease = Lease(store, f"bench-{uuid.uuid4().hex[:8]}", "bench", 3600)
    lease.acquire(datetime.now(UTC))
    alerts = SqlEpisodeStore(store, lease, settings.kafka.alerts)
    evaluator = AlertEvaluator(
        rules=rules,
        topics=topics,
        reader=store.reads,
        episodes=alerts,
        delivery=Delivery(),
        window_width=store.width,
        metrics=AlertMetrics(CollectorRegistry()),
    )
    timing = classifier.in_turns({"rules": (1, lambda: evaluator.evaluate(datetime.now(UTC)))}, rounds)[
        "rules"
    ]
    lease.release()
    store.engine.dispose()
    return round(1000 / timing.per_second, 2)


def queries(settings: Settings, rounds: int) -> dict[str, float]:
    """Median milliseconds of what alerts and pages ask of the store, over what it holds now."""
    store = Store(database.connect(settings.database), settings.stream.window_seconds)
    now = datetime.now(UTC)
    day, hour = now - timedelta(days=1), timedelta(hours=1)
    scope = Scope(None, tuple(Kind), day, now)
    asked: dict[str, Callable[[], object]] = {
        "sums of a day": lambda: store.reads.sums(day, now),
        "hours of everything": lambda: store.reads.sums_by_window(EPOCH, now, hour),
        "most negative of a day": lambda: store.reads.most_negative(scope, 5),
        "sources of a day": lambda: store.reads.negative_writers(scope),
    }
    timings = classifier.in_turns({name: (1, ask) for name, ask in asked.items()}, rounds)
    store.engine.dispose()
    return {name: round(1000 / timing.per_second, 2) for name, timing in timings.items()}

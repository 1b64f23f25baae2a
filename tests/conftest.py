"""Fixtures over the real parts.  A part that is missing skips its tests, and under CI fails them."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, select, text

from monitor.demo.sample import SampleFeed
from stream.domain.documents import Kind
from stream.kafka.settings import KafkaSettings
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.parts import (
    LARGE,
    Alertmanager,
    Kafka,
    PartMissing,
    Postgres,
    Receiver,
    database_name,
    free_port,
    temporary_folder,
    wait_until,
)
from tests.stand_ins import StandIns

# Several test processes share the cores: threads of torch that wait must not spin, which takes 2.5 times the time.
# Read when torch is loaded, and inherited by what the tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# The large model takes seconds and memory that few tests need. Those say so themselves.
os.environ.setdefault("MONITOR_MODELS__SECOND_OPINION", "off")

T = TypeVar("T")
ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The image takes minutes to build: one process begins with it while another has the rest."""
    items.sort(key=lambda item: "image" not in getattr(item, "fixturenames", ()))


def _log_levels() -> dict[str, int]:
    return {name: logging.getLogger(name).level for name in ["root", *logging.getLogger().manager.loggerDict]}


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Commands that run in this process set log levels for the rest of it: give the next test those of before."""
    before = _log_levels()
    yield
    for name in _log_levels():
        logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


def need(make: Callable[[], T]) -> T:
    try:
        return make()
    except PartMissing as error:
        if os.environ.get("CI"):
            pytest.fail(f"under CI every part must be there: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    folder = temporary_folder("kafka-")
    with need(lambda: Kafka(folder, extra=LARGE)) as broker:
        yield broker
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    folder = temporary_folder("pg-")
    server = need(lambda: Postgres(folder))
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def upgraded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An upgraded SQLite database, to copy: that takes a hundredth of the time of an upgrade."""
    path = tmp_path_factory.mktemp("upgraded") / "upgraded.db"
    database.upgrade(DatabaseSettings(url=SecretStr(f"sqlite:///{path}")))
    return path


@pytest.fixture(scope="session")
def upgraded_database(postgres: Postgres) -> str:
    """The name of an upgraded PostgreSQL database, to copy."""
    url = postgres.create_database()
    database.upgrade(DatabaseSettings(url=SecretStr(url)))
    return database_name(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseSettings]:
    """An empty, upgraded database of each kind."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("upgraded_file"), tmp_path / "test.db")
        yield DatabaseSettings(url=SecretStr(f"sqlite:///{path}"))
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create_database(like=request.getfixturevalue("upgraded_database"))
        yield DatabaseSettings(url=SecretStr(url))
        server.drop_database(url)


@pytest.fixture
def store(database_settings: DatabaseSettings) -> Iterator[Store]:
    engine = database.connect(database_settings)
    yield Store(engine, window_seconds=60)
    engine.dispose()


def run_upgrades(how: str, *urls: str) -> int:
    """Run `tests.integration.upgrades`; how many were killed or came through."""
    words = [sys.executable, "-m", "tests.integration.upgrades", how, *urls]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@dataclass
class Scene:
    """A monitor's surroundings: its own topics on the real broker, its own database, its processes."""

    kafka: KafkaSettings
    database_url: str
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MONITOR_")}
        kept |= {"MONITOR_MODELS__SECOND_OPINION": os.environ["MONITOR_MODELS__SECOND_OPINION"]}
        own = {f"MONITOR_KAFKA__{k.upper()}": str(v) for k, v in self.kafka.model_dump().items() if v}
        self.environ = kept | own | {"MONITOR_DATABASE__URL": self.database_url} | self.environ

    def command(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `monitor ...` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "monitor", *words],
            input=stdin, capture_output=True, env=self.environ, cwd=ROOT, timeout=170, check=False,
        )  # fmt: skip

    def prepare(self) -> None:
        """Topics and tables."""
        for words in (("topics", "create"), ("db", "upgrade")):
            done = self.command(*words)
            assert done.returncode == 0, done.stderr.decode()

    def start(self, *, module: str = "monitor", **environ: str) -> "Running":
        """Start `monitor run`, or another module that is like it, and wait until it is ready."""
        port = free_port()
        log = self.folder / f"monitor-{len(self.processes)}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *(["run"] if module == "monitor" else [])],
                env=self.environ | {"MONITOR_HTTP__PORT": str(port)} | environ,
                cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.processes.append(process)
        running = Running(process, f"http://127.0.0.1:{port}", log)
        wait_until(running.is_ready, 120, "the monitor is ready")
        return running

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)


@dataclass
class Running:
    """A `monitor run` process."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        answer = httpx.get(self.url + path, timeout=5, follow_redirects=True)
        return answer.status_code, answer.text

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the monitor ended: {self.log.read_text()[-3000:]}")
        return self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float | None:
        """The sum of the samples of `name` that carry `labels`; None without any."""
        from prometheus_client.parser import text_string_to_metric_families

        samples = [
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(samples) if samples else None

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(45)


@pytest.fixture
def scene(kafka: Kafka, postgres: Postgres, tmp_path: Path) -> Iterator[Scene]:
    """Fresh topics on Apache Kafka and a fresh database on PostgreSQL."""
    tag = uuid.uuid4().hex[:8]
    names = {n: f"{n}-{tag}" for n in ("group", "news", "comments", "dead_letters", "predictions", "alerts")}
    made = Scene(
        KafkaSettings(bootstrap_servers=kafka.bootstrap, partitions=3, **names),
        postgres.create_database(),
        tmp_path,
    )
    yield made
    made.close()


@pytest.fixture
def sent(scene: Scene) -> Callable[[str, list[Any]], None]:
    """Send messages to a topic by hand, with a plain client: bytes and None as they are, all else as JSON."""
    from kafka import KafkaProducer

    def send(topic: str, messages: list[Any]) -> None:
        with closing(KafkaProducer(bootstrap_servers=scene.kafka.bootstrap_servers)) as producer:
            for number, message in enumerate(messages):
                value = message if isinstance(message, bytes | None) else json.dumps(message).encode()
                producer.send(topic, value=value, key=str(number).encode())
            producer.flush()

    return send


def execute(scene: Scene, sql: str) -> list[Any]:
    """Run one statement in the database of a scene, and return its rows if it has any."""
    engine = create_engine(scene.database_url)
    with engine.begin() as connection:
        result = connection.execute(text(sql))
        rows = list(result) if result.returns_rows else []
    engine.dispose()
    return rows


def news_offsets(scene: Scene) -> dict[str, Any]:
    """What `monitor offsets show` says of the first partition of the news."""
    rows = json.loads(scene.command("offsets", "show", "--json").stdout)
    return next(row for row in rows if (row["topic"], row["partition"]) == (scene.kafka.news, 0))


def calm(feed: SampleFeed, number: int) -> list[Any]:
    """So many messages of an ordinary minute."""
    return [feed.calm(datetime.now(UTC)).message for _ in range(number)]


SURGE_RULES = """
rules:
  - name: surge
    type: negative_surge
    window: 20s
    baseline: 1h
    min_baseline: 10m
    min_documents: 10
    factor: 3
    keep_firing_for: 2s
"""


@dataclass
class Desk:
    """A monitor that has read half an hour of calm news, and can be sent a surge."""

    scene: Scene
    send: Callable[[str, list[Any]], None]
    feed: SampleFeed
    monitor: "Running"

    def surge(self) -> None:
        messages = [self.feed.surge(datetime.now(UTC)) for _ in range(60)]
        self.send(self.scene.kafka.news, [m.message for m in messages if m.kind is Kind.NEWS])

    def calm(self) -> None:
        """Calm comments, so that the end of a surge is seen and not a silent feed."""
        messages = [self.feed.calm(datetime.now(UTC)).message for _ in range(3)]
        self.send(self.scene.kafka.comments, messages)


@pytest.fixture
def desk(scene: Scene, sent: Callable[[str, list[Any]], None]) -> Callable[[str, Mapping[str, str]], Desk]:
    """Start a monitor with a rule file's text and further variables, and let it read what is usual."""

    def make(rules: str, environ: Mapping[str, str]) -> Desk:
        file = scene.folder / "rules.yaml"
        file.write_text(rules)
        scene.environ |= {
            "MONITOR_STREAM__WINDOW_SECONDS": "10",
            "MONITOR_ALERTS__RULES": str(file),
            "MONITOR_ALERTS__INTERVAL_SECONDS": "0.5",
            **environ,
        }
        scene.prepare()
        feed, now = SampleFeed("surge"), datetime.now(UTC)
        history = feed.history(now - timedelta(minutes=1), timedelta(minutes=30), 0.2)
        calm = [sample.message for sample in history if sample.kind is Kind.NEWS]
        sent(scene.kafka.news, calm)
        monitor = scene.start()
        wait_until(
            lambda: (monitor.metric("sentiment_documents_total", kind="news") or 0) >= len(calm),
            60,
            "the baseline",
        )
        return Desk(scene, sent, feed, monitor)

    return make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A desk's webhook."""
    with Receiver() as server:
        yield server


@pytest.fixture
def alertmanager(tmp_path: Path, receiver: Receiver) -> Iterator[Alertmanager]:
    """The real one, with the shipped configuration, that tells the receiver."""
    server = need(lambda: Alertmanager(tmp_path, _alertmanager_config(tmp_path, receiver)))
    yield server.start()
    server.stop()


def _alertmanager_config(folder: Path, receiver: Receiver) -> Path:
    """The shipped configuration, its receiver on loopback, its group interval short enough for a test."""
    token = folder / "token"
    token.write_text("secret")
    shipped = (ROOT / "docker" / "alertmanager.yaml").read_text()
    config = folder / "alertmanager.yaml"
    config.write_text(
        shipped.replace("http://desk:5001/", receiver.url)
        .replace("/run/secrets/desk_token", str(token))
        .replace("group_interval: 1m", "group_interval: 2s")
    )
    return config


def next_offsets(store: Store, incarnation: str) -> dict[tuple[str, int], int]:
    """SQL's next offset of each (topic, partition) of one incarnation."""
    with database.reading(store.engine) as connection:
        found = connection.execute(select(schema.offsets).filter_by(incarnation=incarnation))
        return {(row.kafka_topic, row.kafka_partition): row.next_offset for row in found}


def read_topic(bootstrap: str, topic: str, count: int, seconds: float = 20) -> list[tuple[str | None, Any]]:
    """The first `count` messages of a topic, (key, JSON value) each."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None,
        consumer_timeout_ms=int(seconds * 1000),
    )  # fmt: skip
    found = []
    for message in consumer:
        found.append((message.key.decode() if message.key else None, json.loads(message.value)))
        if len(found) == count:
            break
    consumer.close()
    return found


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIns]:
    with StandIns(tmp_path_factory.mktemp("services")) as services:
        yield services


@pytest.fixture
def services(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Stand-ins of the services that pages go to; whatever this process and its children send reaches them."""
    stand_ins.forget()
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in stand_ins.environment.items():
        monkeypatch.setenv(name, value)
    return stand_ins

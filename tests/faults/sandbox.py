"""Where fault tests run: their own topics and database on a real Kafka and a real PostgreSQL."""

import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from stream.domain.documents import Kind
from stream.kafka import admin
from stream.kafka.settings import KafkaSettings
from stream.storage import database
from stream.storage.settings import DatabaseSettings
from tests.conftest import Running
from tests.faults.contents import Contents, read_offsets
from tests.faults.proxy import Proxy
from tests.parts import Kafka, PgBouncer, Postgres, free_port, temporary_folder

ROOT = Path(__file__).parent.parent.parent
PARTITIONS, BATCH = 2, 16
# How long a worker may take to start, and how long nothing may move until a run counts as hung. On a loaded machine
# everything takes several times longer, and is no hang.
START_SECONDS, STILL_SECONDS = 300.0, 150.0
# Alembic has a global context, so only one upgrade may run at a time.
UPGRADE_LOCK = threading.Lock()


class Patience:
    """Runs out when what is watched stays the same for so many seconds: a slow machine is no hang."""

    def __init__(self, seconds: float = STILL_SECONDS) -> None:
        self._seconds, self._last, self._changed_at = seconds, object(), time.monotonic()

    def is_out(self, seen: object) -> bool:
        """Whether `seen` has been the same for too long."""
        if seen != self._last:
            self._last, self._changed_at = seen, time.monotonic()
        return time.monotonic() - self._changed_at > self._seconds


@dataclass
class Sandbox:
    """Its own topics and database on a Kafka and a PostgreSQL that all runs share, and the workers started there."""

    seed: int
    kafka: KafkaSettings
    url: str
    folder: Path
    # Settings for all workers.
    environ: dict[str, str] = field(default_factory=dict)
    workers: list[Running] = field(default_factory=list)

    @classmethod
    def make(cls, seed: int, kafka: Kafka, url: str, folder: Path, **environ: str) -> "Sandbox":
        tag = f"{seed}-{uuid.uuid4().hex[:6]}"
        names = {
            n: f"{n}-{tag}"
            for n in ("group", "news", "comments", "dead_letters", "predictions", "alerts", "stories")
        }
        settings = KafkaSettings(
            bootstrap_servers=kafka.bootstrap, partitions=PARTITIONS, session_seconds=6, **names
        )
        admin.create_topics(settings)
        with UPGRADE_LOCK:
            database.upgrade(DatabaseSettings.model_validate({"url": url}))
        small = {"MONITOR_STREAM__BATCH_DOCUMENTS": str(BATCH), "MONITOR_STREAM__BATCH_SECONDS": "0.05"}
        return cls(seed, settings, url, folder, small | environ)

    @contextmanager
    def unreliable_database(self, cut_probability: float, delay: float = 0.0) -> Iterator[Proxy]:
        """Workers started inside this context reach the database through a `Proxy`."""
        folder = temporary_folder("proxy-")
        with Proxy(self.url, folder, self.seed, cut_probability, delay) as proxy:
            self.environ["MONITOR_DATABASE__URL"] = proxy.url
            yield proxy
        del self.environ["MONITOR_DATABASE__URL"]
        shutil.rmtree(folder)

    @contextmanager
    def pooled_database(self) -> Iterator[None]:
        """Workers started inside this context reach the database through PgBouncer, in transaction mode."""
        folder = temporary_folder("pooler-")
        with PgBouncer(folder, self.url) as pooler:
            self.environ |= {"MONITOR_DATABASE__URL": pooler.url, "MONITOR_DATABASE__POOLER": "transaction"}
            yield
        del self.environ["MONITOR_DATABASE__URL"], self.environ["MONITOR_DATABASE__POOLER"]
        shutil.rmtree(folder)

    @property
    def topics(self) -> dict[Kind, str]:
        return {kind: topic for topic, kind in self.kafka.kinds.items()}

    def environment(self) -> dict[str, str]:
        """The environment variables of a worker, or of a command of an operator."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
        kafka = {
            f"MONITOR_KAFKA__{name.upper()}": str(value)
            for name, value in self.kafka.model_dump().items()
            if value
        }
        return inherited | kafka | {"MONITOR_DATABASE__URL": self.url} | self.environ

    def start(self, *fault: str, **environ: str) -> Running:
        """Start a worker, with an optional fault (see `tests.faults.worker`), without waiting until it is ready."""
        port = free_port()
        log = self.folder / f"{self.seed}-{len(self.workers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", *fault],
                env=self.environment() | {"MONITOR_HTTP__PORT": str(port)} | environ,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(Running(process, f"http://127.0.0.1:{port}", log))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait(10)


@contextmanager
def start_parts(prefix: str, extra: str = "") -> Iterator[tuple[Kafka, Postgres, Path]]:
    """Start Kafka, with `extra` properties, and PostgreSQL in a temporary folder."""
    folder = temporary_folder(prefix)
    postgres = Postgres(folder / "pg")
    try:
        with Kafka(folder / "kafka", extra=extra) as kafka:
            yield kafka, postgres, folder
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_drained(sandbox: Sandbox, expected: Contents, workers: Sequence[Running]) -> float:
    """Wait until the offsets in SQL are the expected ones, or do not move any more. Returns the seconds waited.

    It does not fail when nothing moves: comparing the database with what is expected shows what is missing.
    """
    started, patience = time.monotonic(), Patience()
    while (offsets := read_offsets(sandbox.url)) != expected.offsets and not patience.is_out(offsets):
        for worker in workers:
            if worker.process.poll() is not None:
                raise AssertionError(
                    f"seed {sandbox.seed}: a worker ended with {worker.process.returncode}: "
                    + worker.log.read_text()[-3000:]
                )
        time.sleep(0.3)
    return time.monotonic() - started


@dataclass(frozen=True)
class ResourceSample:
    """A worker's resources: its age in seconds, memory now and at its peak in bytes, open files, metric series."""

    age: float
    memory: int
    peak: int
    files: int
    series: int

    def __str__(self) -> str:
        return (
            f"{self.memory / 1e6:.0f} MB (peak {self.peak / 1e6:.0f}), {self.files} files, "
            f"{self.series} series"
        )


def sample_resources(worker: Running, started: float) -> ResourceSample:
    """`started` is the `time.monotonic()` from which the sample's age counts."""
    folder = Path(f"/proc/{worker.process.pid}")
    status: Mapping[str, str] = dict(
        line.split(":", 1) for line in (folder / "status").read_text().splitlines()
    )
    memory, peak = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    series = sum(not line.startswith("#") for line in worker.get("/metrics")[1].splitlines())
    return ResourceSample(
        time.monotonic() - started, memory, peak, len(list((folder / "fd").iterdir())), series
    )


def log_line(text: object) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)  # noqa: T201

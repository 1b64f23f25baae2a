"""Pulls the plug again and again, and reads in SQL that every document counts exactly once.

    python -m tests.faults.runner --seeds 100 --first-seed 1

Each run has its own topics and database on a real Kafka and a real PostgreSQL.  Worker processes are killed, as
kill -9 does, at a step of a batch's life that the seed draws; then one works the rest off, and SQL is compared with
what a plain loop over the messages gives.  The last line has the totals; the status is 1 where anything differs.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from stream import broker, database
from stream.settings import DatabaseSettings, KafkaSettings
from tests.faults.oracle import Held, offsets, reference, send, stored, stream
from tests.faults.worker import FAILPOINTS
from tests.parts import Kafka, Postgres, free_port, temporary_folder

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS, PARTITIONS, BATCH = 600, 2, 16
# Alembic keeps its context in a global.
ONE_UPGRADE = threading.Lock()
KILL_SECONDS, DRAIN_SECONDS = 60.0, 150.0


@dataclass
class Surroundings:
    """Topics and a database of their own on the parts that all runs share."""

    seed: int
    kafka: KafkaSettings
    url: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    @classmethod
    def make(cls, seed: int, kafka: Kafka, postgres: Postgres, folder: Path) -> "Surroundings":
        tag = f"{seed}-{uuid.uuid4().hex[:6]}"
        names = {
            n: f"{n}-{tag}" for n in ("group", "news", "comments", "dead_letters", "predictions", "alerts")
        }
        settings = KafkaSettings(
            bootstrap_servers=kafka.bootstrap, partitions=PARTITIONS, session_seconds=6, **names
        )
        broker.create_topics(settings)
        url = postgres.create_database()
        with ONE_UPGRADE:
            database.upgrade(DatabaseSettings.model_validate({"url": url}))
        return cls(seed, settings, url, folder)

    def start(self, failpoint: str = "", passages: int = 1, number: str = "KILL") -> subprocess.Popen[bytes]:
        port = free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
        own = {f"MONITOR_KAFKA__{k.upper()}": str(v) for k, v in self.kafka.model_dump().items() if v}
        environ = kept | own | {
            "MONITOR_DATABASE__URL": self.url, "MONITOR_HTTP__PORT": str(port),
            "MONITOR_STREAM__BATCH_DOCUMENTS": str(BATCH), "MONITOR_STREAM__BATCH_SECONDS": "0.05",
        }  # fmt: skip
        armed = [failpoint, str(passages), number] if failpoint else []
        words = [sys.executable, "-m", "tests.faults.worker", *armed]
        with (self.folder / f"{self.seed}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(words, env=environ, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        self.ports.append(port)
        return process

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    seed: int
    kills: list[str]
    documents: int
    differences: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        told = ", ".join(f"{name} {n}" for name, n in self.differences.items()) or "exact"
        return f"seed {self.seed}: {told}; {self.documents} documents; {', '.join(self.kills)}; {self.seconds:.0f} s"


def one(seed: int, kafka: Kafka, postgres: Postgres, folder: Path) -> Outcome:
    """One seeded run, to its end."""
    started, draw, now = time.monotonic(), random.Random(seed), datetime.now(UTC)
    around = Surroundings.make(seed, kafka, postgres, folder)
    topics = {kind: topic for topic, kind in around.kafka.kinds.items()}
    messages = stream(seed, DOCUMENTS, PARTITIONS, now)
    expected = reference(messages, topics, now)
    half = draw.randrange(len(messages))
    kills: list[str] = []
    try:
        send(messages[:half], topics, kafka.bootstrap)
        for _ in range(draw.choice([1, 2, 2, 3])):
            kills.append(_kill_once(around, draw))
        send(messages[half:], topics, kafka.bootstrap)
        workers = [around.start() for _ in range(draw.choice([1, 1, 2]))]
        drain(around, expected, workers)
        differences = expected.differences(stored(around.url))
    finally:
        around.close()
    return Outcome(seed, kills, len(expected.documents), differences, time.monotonic() - started)


def _kill_once(around: Surroundings, draw: random.Random) -> str:
    """Start a worker that kills itself, perhaps beside another one; what was done, in words."""
    failpoint, passages = draw.choice(FAILPOINTS), draw.choice([1, 1, 2, 5])
    beside = around.start() if draw.random() < 0.25 else None
    process = around.start(failpoint, passages)
    try:
        status = process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        # Nothing was left for it to do: a kill at any other moment.
        process.kill()
        process.wait(10)
        return f"{failpoint} not reached, killed idle"
    finally:
        if beside is not None:
            beside.kill()
            beside.wait(10)
    if status != -9:
        raise AssertionError(f"seed {around.seed}: the worker ended with {status} instead of being killed")
    return f"{failpoint} x{passages}" + (" beside another" if beside else "")


def drain(around: Surroundings, expected: Held, workers: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the offsets in SQL are those at the end, or for long enough to call it a loss."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and offsets(around.url) != expected.offsets:
        for worker in workers:
            if worker.poll() is not None:
                raise AssertionError(f"seed {around.seed}: a worker ended with {worker.returncode}")
        time.sleep(0.3)


def run(seeds: range, jobs: int) -> list[Outcome]:
    """All runs, `jobs` at a time, on one Kafka and one PostgreSQL."""
    folder = temporary_folder("faults-")
    postgres = Postgres(folder / "pg")
    try:
        with Kafka(folder / "kafka") as kafka, ThreadPoolExecutor(jobs) as pool:
            outcomes = []
            for outcome in pool.map(lambda seed: one(seed, kafka, postgres, folder), seeds):
                print(outcome, flush=True)  # noqa: T201
                outcomes.append(outcome)
            return outcomes
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


def totals(outcomes: list[Outcome]) -> str:
    sums = Counter[str]()
    for outcome in outcomes:
        sums.update(outcome.differences)
    lost = sum(n for name, n in sums.items() if name.endswith("lost"))
    doubled = sum(n for name, n in sums.items() if name.endswith("extra"))
    mismatches = sum(n for name, n in sums.items() if name.endswith("differ"))
    kills = sum(len(outcome.kills) for outcome in outcomes)
    return (
        f"runs {len(outcomes)}, kills {kills}, documents {sum(o.documents for o in outcomes)}, "
        f"lost {lost}, doubled {doubled}, mismatches {mismatches}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=3)
    options = parser.parse_args()
    outcomes = run(range(options.first_seed, options.first_seed + options.seeds), options.jobs)
    print(totals(outcomes))  # noqa: T201
    return int(any(outcome.differences for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

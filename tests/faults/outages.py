"""The broker gone for minutes, then the database frozen for minutes, under a steady feed, watched by Prometheus.

    python -m tests.faults.outages --broker-minutes 3 --database-minutes 2

Prints what the monitor said of itself meanwhile, which of the shipped alerts fired and when, how soon it went on,
and whether SQL is exact at the end.
"""

import argparse
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml

from tests.conftest import ROOT, Running
from tests.faults.oracle import Held, Reference, send, stored, stream
from tests.faults.stage import PARTITIONS, Stage, drain, look, parts, tell
from tests.parts import Kafka, Prometheus, wait_until

COUNT = 3000
# Others may fire besides: the stream has many dead letters.
OUTAGE = {"SentimentDependencyDown", "SentimentLagging"}
RULES = ROOT / "docker" / "prometheus" / "monitor.rules.yaml"


class Watch:
    """Prometheus with the shipped rules as they are, and a line for each alert that begins or ends."""

    def __init__(self, folder: Path, worker: Running) -> None:
        scrape = {"job_name": "sentiment-monitor", "static_configs": [{"targets": [worker.url[7:]]}]}
        config = {"global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
                  "rule_files": [str(RULES)], "scrape_configs": [scrape]}  # fmt: skip
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.prometheus = Prometheus(folder, folder / "prometheus.yaml").start()
        self.firing, self.fired = set[str](), set[str]()
        self._over, self._thread = threading.Event(), threading.Thread(target=self._follow)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self.prometheus.stop()

    def _follow(self) -> None:
        while not self._over.wait(5):
            found = self.prometheus.query('ALERTS{alertstate="firing"}')
            firing = {one["metric"]["alertname"] for one in found}
            for name in sorted(firing ^ self.firing):
                tell(f"{name} {'fires' if name in firing else 'is over'}")
            self.firing = firing
            self.fired |= firing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--broker-minutes", type=float, default=3)
    parser.add_argument("--database-minutes", type=float, default=2)
    options = parser.parse_args()
    with parts("outages-") as (kafka, postgres, folder):
        stage = Stage.make(0, kafka, postgres.create_database(), folder)
        try:
            return outages(stage, kafka, folder, options.broker_minutes, options.database_minutes)
        finally:
            stage.close()


def outages(stage: Stage, kafka: Kafka, folder: Path, broker: float, database: float) -> int:
    oracle, worker = Reference(stage.topics), stage.start()
    wait_until(worker.is_ready, 60, "the worker is ready")
    watch = Watch(folder, worker)

    def wave(seed: int) -> Held:
        now = datetime.now(UTC)
        messages = stream(seed, COUNT, PARTITIONS, now)
        send(messages, stage.topics, kafka.bootstrap)
        return oracle.read(messages, now)

    def caught_up(expected: Held) -> float:
        return drain(stage, expected, [worker])

    def describe() -> str:
        return f"readyz {worker.get('/readyz')[1].strip()}, {look(worker, 0)}"

    tell(f"at work; caught up after {caught_up(wave(1)):.1f} s, {describe()}")
    kafka.stop()
    time.sleep(broker * 60)
    tell(f"broker gone for {broker:g} min: {describe()}")
    kafka.start()
    tell(f"broker back: caught up after {caught_up(wave(2)):.1f} s, {describe()}")
    wait_until(lambda: not watch.firing & OUTAGE, 180, "the alerts are over")

    expected = wave(3)
    processes = postgres_processes(folder / "pg")
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(database * 60)
    tell(f"database frozen for {database:g} min: {describe()}")
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    tell(f"database back: caught up after {caught_up(expected):.1f} s, {describe()}")
    wait_until(lambda: not watch.firing & OUTAGE, 180, "the alerts are over")
    watch.stop()
    differences = expected.differences(stored(stage.url))
    messages = sum(expected.offsets.values())
    tell(f"{messages} messages: {differences or 'exact'}; stopped with status {worker.stop()}")
    missed = OUTAGE - watch.fired
    tell(f"fired: {', '.join(sorted(watch.fired))}; missed: {', '.join(sorted(missed)) or 'none'}")
    return int(bool(differences or missed))


def postgres_processes(data: Path) -> list[int]:
    first = int((data / "postmaster.pid").read_text().split()[0])
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [first, *(int(entry.name) for entry in entries if parent(entry) == first)]


def parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main())

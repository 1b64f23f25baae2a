"""Stop the broker for minutes, then freeze the database, under a steady feed and with Prometheus watching.

    python -m tools.outages --broker-minutes 3 --database-minutes 2

Prints the monitor's readiness and memory during the outages, which shipped alerts fired and when, how long
catching up took, and whether the database matches the input at the end.
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
from tests.faults.contents import Contents, read_database
from tests.faults.oracle import Reference, generate_messages, send
from tests.faults.sandbox import (
    PARTITIONS,
    START_SECONDS,
    Sandbox,
    log_line,
    sample_resources,
    start_parts,
    wait_until_drained,
)
from tests.parts import Kafka, Prometheus, wait_until

COUNT = 3000
# Other alerts may fire too: the feed has many dead letters.
OUTAGE = {"SentimentDependencyDown", "SentimentLagging"}
RULES = ROOT / "docker" / "prometheus" / "monitor.rules.yaml"


class AlertWatcher:
    """Runs Prometheus with the shipped rules and prints a line whenever an alert starts or stops firing."""

    def __init__(self, folder: Path, worker: Running) -> None:
        scrape = {"job_name": "sentiment-monitor", "static_configs": [{"targets": [worker.url[7:]]}]}
        config = {
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.prometheus = Prometheus(folder, folder / "prometheus.yaml").start()
        self.firing, self.fired = set[str](), set[str]()
        self._stopping, self._thread = threading.Event(), threading.Thread(target=self._poll)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self.prometheus.stop()

    def _poll(self) -> None:
        while not self._stopping.wait(5):
            series = self.prometheus.query('ALERTS{alertstate="firing"}')
            firing = {one["metric"]["alertname"] for one in series}
            for name in sorted(firing ^ self.firing):
                log_line(f"{name} {'fires' if name in firing else 'stops firing'}")
            self.firing = firing
            self.fired |= firing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--broker-minutes", type=float, default=3)
    parser.add_argument("--database-minutes", type=float, default=2)
    options = parser.parse_args()
    with start_parts("outages-") as (kafka, postgres, folder):
        sandbox = Sandbox.make(0, kafka, postgres.create_database(), folder)
        try:
            return outages(sandbox, kafka, folder, options.broker_minutes, options.database_minutes)
        finally:
            sandbox.close()


def outages(sandbox: Sandbox, kafka: Kafka, folder: Path, broker: float, database: float) -> int:
    oracle, worker = Reference(sandbox.topics), sandbox.start()
    wait_until(worker.is_ready, START_SECONDS, "the worker is ready")
    watcher = AlertWatcher(folder, worker)

    def send_wave(seed: int) -> Contents:
        now = datetime.now(UTC)
        messages = generate_messages(seed, COUNT, PARTITIONS, now)
        send(messages, sandbox.topics, kafka.bootstrap)
        return oracle.read(messages, now)

    def caught_up(expected: Contents) -> float:
        return wait_until_drained(sandbox, expected, [worker])

    def describe() -> str:
        return f"readyz {worker.get('/readyz')[1].strip()}, {sample_resources(worker, 0)}"

    log_line(f"started: caught up after {caught_up(send_wave(1)):.1f} s, {describe()}")
    kafka.stop()
    time.sleep(broker * 60)
    log_line(f"broker down for {broker:g} min: {describe()}")
    kafka.start()
    log_line(f"broker up: caught up after {caught_up(send_wave(2)):.1f} s, {describe()}")
    wait_until(lambda: not watcher.firing & OUTAGE, 180, "the alerts stop firing")

    expected = send_wave(3)
    processes = postgres_processes(folder / "pg")
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(database * 60)
    log_line(f"database frozen for {database:g} min: {describe()}")
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    log_line(f"database running: caught up after {caught_up(expected):.1f} s, {describe()}")
    wait_until(lambda: not watcher.firing & OUTAGE, 180, "the alerts stop firing")
    watcher.stop()
    differences = expected.differences(read_database(sandbox.url))
    messages = sum(expected.offsets.values())
    log_line(f"{messages} messages: {differences or 'exact'}; stopped with status {worker.stop()}")
    missed = OUTAGE - watcher.fired
    log_line(f"fired: {', '.join(sorted(watcher.fired))}; missed: {', '.join(sorted(missed)) or 'none'}")
    return int(bool(differences or missed))


def postgres_processes(data: Path) -> list[int]:
    """The server's process and its direct children."""
    first = int((data / "postmaster.pid").read_text().split()[0])
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [first, *(int(entry.name) for entry in entries if parent_pid(entry) == first)]


def parent_pid(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main())

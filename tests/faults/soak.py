"""Half load for hours, with restarts: memory, file descriptors and series must stay flat.

    python -m tests.faults.soak --minutes 120 --rate 500 --restarts 4

Prints what was measured every minute, and at the end the slope of each figure an hour, from the second quarter of
each worker's life on.  The status is 1 where SQL does not hold exactly what was sent.
"""

import argparse
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tests.conftest import Running
from tests.faults.oracle import Sent, reference, send, stored, stream
from tests.faults.runner import Surroundings, drain
from tests.parts import Kafka, Postgres, temporary_folder, wait_until

SECONDS = 5.0


@dataclass(frozen=True)
class Sample:
    """One look at a worker: seconds of its life, bytes in memory, open files, series on /metrics."""

    age: float
    memory: int
    files: int
    series: int


def look(running: Running, started: float) -> Sample:
    pid = running.process.pid
    memory = next(
        int(line.split()[1]) * 1024
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    series = sum(not line.startswith("#") for line in running.get("/metrics")[1].splitlines())
    return Sample(time.monotonic() - started, memory, files, series)


def slopes(lives: list[list[Sample]]) -> str:
    """The slope an hour of each figure, over what is left of each life without its first quarter."""
    told = []
    for name, unit in (("memory", 1e6), ("files", 1.0), ("series", 1.0)):
        found = []
        for life in lives:
            kept = life[len(life) // 4 :]
            ages = np.array([sample.age for sample in kept]) / 3600
            values = np.array([getattr(sample, name) for sample in kept]) / unit
            found.append(np.polyfit(ages, values, 1)[0])
        told.append(f"{name} {np.mean(found):+.2f}{' MB' if unit > 1 else ''} an hour")
    return ", ".join(told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--restarts", type=int, default=4)
    options = parser.parse_args()
    folder = temporary_folder("soak-")
    postgres = Postgres(folder / "pg")
    with Kafka(folder / "kafka") as kafka:
        around = Surroundings.make(0, kafka, postgres, folder)
        try:
            return soak(around, kafka, options.minutes * 60, options.rate, options.restarts + 1)
        finally:
            around.close()
            postgres.close()
            shutil.rmtree(folder, ignore_errors=True)


def soak(around: Surroundings, kafka: Kafka, seconds: float, rate: int, lives: int) -> int:
    topics = {kind: topic for topic, kind in around.kafka.kinds.items()}
    begun, sent, seen = datetime.now(UTC), list[Sent](), list[list[Sample]]()
    for life in range(lives):
        started = time.monotonic()
        worker = around.start()
        running = Running(
            worker, f"http://127.0.0.1:{around.ports[-1]}", around.folder / f"{around.seed}-{life}.log"
        )
        wait_until(running.is_ready, 60, "the worker is ready")
        seen.append([])
        while time.monotonic() - started < seconds / lives:
            wave = stream(1000 * life + len(sent), int(rate * SECONDS), 2, begun)
            at = time.monotonic()
            send(wave, topics, kafka.bootstrap)
            sent += wave
            time.sleep(max(0.0, SECONDS - (time.monotonic() - at)))
            seen[-1].append(look(running, started))
            if len(seen[-1]) % 12 == 0:
                print(f"{len(sent)} messages, {seen[-1][-1]}", flush=True)  # noqa: T201
        if life + 1 < lives:
            assert running.stop() == 0
    expected = reference(sent, topics, begun)
    drain(around, expected, [worker])
    differences = expected.differences(stored(around.url))
    print(f"{len(sent)} messages, {len(expected.documents)} documents: {differences or 'exact'}")  # noqa: T201
    print(slopes(seen))  # noqa: T201
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())

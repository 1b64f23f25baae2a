"""Run at half load for hours, with restarts: memory, file descriptors and metric series must not grow.

    python -m tools.soak --minutes 120 --rate 500 --restarts 4

Prints a measurement every minute, and at the end each figure's slope per hour; the first quarter of each
worker's life does not count. Exits with 1 if the database does not match the input.
"""

import argparse
import sys
import time
from datetime import UTC, datetime

import numpy as np

from tests.faults.contents import read_database
from tests.faults.oracle import Reference, generate_messages, send
from tests.faults.sandbox import (
    PARTITIONS,
    START_SECONDS,
    ResourceSample,
    Sandbox,
    log_line,
    sample_resources,
    start_parts,
    wait_until_drained,
)
from tests.parts import wait_until

SECONDS = 5.0


def describe_slopes(lives: list[list[ResourceSample]]) -> str:
    """Each figure's slope per hour. The first quarter of each worker's life is left out."""
    lines = []
    for name, unit in (("memory", 1e6), ("files", 1.0), ("series", 1.0)):
        per_life = []
        for life in lives:
            steady = life[len(life) // 4 :]
            ages = np.array([sample.age for sample in steady]) / 3600
            values = np.array([getattr(sample, name) for sample in steady]) / unit
            per_life.append(np.polyfit(ages, values, 1)[0])
        lines.append(
            f"{name} {np.mean(per_life):+.2f}{' MB' if unit > 1 else ''} per hour "
            f"({', '.join(f'{slope:+.2f}' for slope in per_life)})"
        )
    return "; ".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--restarts", type=int, default=4)
    options = parser.parse_args()
    with start_parts("soak-") as (kafka, postgres, folder):
        sandbox = Sandbox.make(
            0, kafka, postgres.create_database(), folder, MONITOR_STREAM__BATCH_DOCUMENTS="512"
        )
        try:
            return soak(sandbox, options.minutes * 60, options.rate, options.restarts + 1)
        finally:
            sandbox.close()


def soak(sandbox: Sandbox, seconds: float, rate: int, lives: int) -> int:
    oracle, waves, samples = Reference(sandbox.topics, brief=True), 0, list[list[ResourceSample]]()
    expected = oracle.read([], datetime.now(UTC))
    for life in range(lives):
        started = time.monotonic()
        worker = sandbox.start()
        wait_until(worker.is_ready, START_SECONDS, "the worker is ready")
        samples.append([])
        while time.monotonic() - started < seconds / lives:
            wave_started, now = time.monotonic(), datetime.now(UTC)
            waves += 1
            wave = generate_messages(waves, int(rate * SECONDS), PARTITIONS, now)
            send(wave, sandbox.topics, sandbox.kafka.bootstrap_servers)
            oracle.read(wave, now)
            time.sleep(max(0.0, SECONDS - (time.monotonic() - wave_started)))
            samples[-1].append(sample_resources(worker, started))
            if len(samples[-1]) % 12 == 0:
                log_line(f"{sum(expected.offsets.values())} messages, {samples[-1][-1]}")
        if life + 1 < lives:
            assert worker.stop() == 0
    wait_until_drained(sandbox, expected, [worker])
    differences = expected.differences(read_database(sandbox.url, brief=True))
    messages = sum(expected.offsets.values())
    log_line(f"{messages} messages, {len(expected.documents)} documents: {differences or 'exact'}")
    log_line(describe_slopes(samples))
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())

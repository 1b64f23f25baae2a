"""Half load for hours, with restarts: memory, file descriptors and series must stay flat.

    python -m tests.faults.soak --minutes 120 --rate 500 --restarts 4

Prints what was measured every minute, and at the end the slope of each figure an hour, from the second quarter of
each worker's life on.  The status is 1 where SQL does not hold exactly what was sent.
"""

import argparse
import sys
import time
from datetime import UTC, datetime

import numpy as np

from tests.faults.oracle import Reference, send, stored, stream
from tests.faults.stage import PARTITIONS, Sample, Stage, drain, look, parts, tell
from tests.parts import wait_until

SECONDS = 5.0


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
        told.append(
            f"{name} {np.mean(found):+.2f}{' MB' if unit > 1 else ''} an hour "
            f"({', '.join(f'{slope:+.2f}' for slope in found)})"
        )
    return "; ".join(told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--restarts", type=int, default=4)
    options = parser.parse_args()
    with parts("soak-") as (kafka, postgres, folder):
        stage = Stage.make(
            0, kafka, postgres.create_database(), folder, MONITOR_STREAM__BATCH_DOCUMENTS="512"
        )
        try:
            return soak(stage, options.minutes * 60, options.rate, options.restarts + 1)
        finally:
            stage.close()


def soak(stage: Stage, seconds: float, rate: int, lives: int) -> int:
    oracle, waves, seen = Reference(stage.topics, brief=True), 0, list[list[Sample]]()
    expected = oracle.read([], datetime.now(UTC))
    for life in range(lives):
        started = time.monotonic()
        worker = stage.start()
        wait_until(worker.is_ready, 60, "the worker is ready")
        seen.append([])
        while time.monotonic() - started < seconds / lives:
            at, now = time.monotonic(), datetime.now(UTC)
            waves += 1
            wave = stream(waves, int(rate * SECONDS), PARTITIONS, now)
            send(wave, stage.topics, stage.kafka.bootstrap_servers)
            oracle.read(wave, now)
            time.sleep(max(0.0, SECONDS - (time.monotonic() - at)))
            seen[-1].append(look(worker, started))
            if len(seen[-1]) % 12 == 0:
                tell(f"{sum(expected.offsets.values())} messages, {seen[-1][-1]}")
        if life + 1 < lives:
            assert worker.stop() == 0
    drain(stage, expected, [worker])
    differences = expected.differences(stored(stage.url, brief=True))
    messages = sum(expected.offsets.values())
    tell(f"{messages} messages, {len(expected.documents)} documents: {differences or 'exact'}")
    tell(slopes(seen))
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())

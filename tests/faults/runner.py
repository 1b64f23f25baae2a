"""Pulls the plug again and again, and reads in SQL that every document counts exactly once.

    python -m tests.faults.runner --seeds 100 --first-seed 1

Each run has its own topics and database on a real Kafka and a real PostgreSQL.  Worker processes are killed, as
kill -9 does, at a step of a batch's life that the seed draws; then one works the rest off, and SQL is compared with
what a plain loop over the messages gives.  The last line has the totals; the status is 1 where anything differs.
"""

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.oracle import Reference, send, stored, stream
from tests.faults.stage import PARTITIONS, Stage, drain, parts
from tests.faults.worker import FAILPOINTS
from tests.parts import Kafka, Postgres

DOCUMENTS = 600
KILL_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    seed: int
    kills: list[str]
    cuts: int
    documents: int
    differences: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        told = ", ".join(f"{name} {n}" for name, n in self.differences.items()) or "exact"
        return (
            f"seed {self.seed}: {told}; {self.documents} documents; {', '.join(self.kills)}; "
            f"{self.cuts} cuts; {self.seconds:.0f} s"
        )


def one(seed: int, kafka: Kafka, postgres: Postgres, folder: Path) -> Outcome:
    """One seeded run, to its end."""
    started, draw, now = time.monotonic(), random.Random(seed), datetime.now(UTC)
    stage = Stage.make(seed, kafka, postgres.create_database(), folder)
    messages = stream(seed, DOCUMENTS, PARTITIONS, now)
    expected = Reference(stage.topics).read(messages, now)
    half, kills = draw.randrange(len(messages)), list[str]()
    with ExitStack() as ending:
        ending.callback(stage.close)
        line = ending.enter_context(stage.cut(0.1)) if draw.random() < 0.3 else None
        send(messages[:half], stage.topics, kafka.bootstrap)
        for _ in range(draw.choice([1, 2, 2, 3])):
            kills.append(_kill_once(stage, draw))
        send(messages[half:], stage.topics, kafka.bootstrap)
        workers = [stage.start() for _ in range(draw.choice([1, 1, 2]))]
        drain(stage, expected, workers)
        differences = expected.differences(stored(stage.url))
        cuts = sum(line.cuts.values()) if line else 0
    return Outcome(seed, kills, cuts, len(expected.documents), differences, time.monotonic() - started)


def _kill_once(stage: Stage, draw: random.Random) -> str:
    """Start a worker that kills itself, perhaps beside another one; what was done, in words."""
    failpoint, passages = draw.choice(FAILPOINTS), draw.choice([1, 1, 2, 5])
    beside = stage.start() if draw.random() < 0.25 else None
    process = stage.start(failpoint, str(passages)).process
    try:
        status = process.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        # Nothing was left for it to do: a kill at any other moment.
        process.kill()
        process.wait(10)
        return f"{failpoint} not reached, killed idle"
    finally:
        if beside is not None:
            beside.process.kill()
            beside.process.wait(10)
    if status != -9:
        raise AssertionError(f"seed {stage.seed}: the worker ended with {status} instead of being killed")
    return f"{failpoint} x{passages}" + (" beside another" if beside else "")


def run(seeds: range, jobs: int) -> list[Outcome]:
    """All runs, `jobs` at a time, on one Kafka and one PostgreSQL."""
    with parts("faults-") as (kafka, postgres, folder), ThreadPoolExecutor(jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda seed: one(seed, kafka, postgres, folder), seeds):
            print(outcome, flush=True)  # noqa: T201
            outcomes.append(outcome)
        return outcomes


def totals(outcomes: list[Outcome]) -> str:
    sums = Counter[str]()
    for outcome in outcomes:
        sums.update(outcome.differences)
    lost = sum(n for name, n in sums.items() if name.endswith("lost"))
    doubled = sum(n for name, n in sums.items() if name.endswith("extra"))
    mismatches = sum(n for name, n in sums.items() if name.endswith("differ"))
    kills = sum(len(outcome.kills) for outcome in outcomes)
    return (
        f"runs {len(outcomes)}, kills {kills}, cuts {sum(o.cuts for o in outcomes)}, "
        f"documents {sum(o.documents for o in outcomes)}, "
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

"""Kill workers again and again, and check in SQL that every document is counted exactly once.

    python -m tools.faults --seeds 100 --first-seed 1

Each run has its own topics and database on a real Kafka and a real PostgreSQL. It kills workers, as `kill -9`
does, at a step of a batch that the seed selects, and adds some of the hazards of `tests.faults.hazards`.
Then a worker processes the rest. In some runs the list of entities changes meanwhile, and commands that link
or classify the past again are killed and started again. The database is compared with the result of a plain
loop over the messages, and what left for Kafka with the database. The last line has the totals. Exits with 1
if anything differs, or if a worker took more memory than it may.
"""

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.changes import Changes
from tests.faults.contents import Contents, read_database, read_offsets, wrong_histories
from tests.faults.hazards import (
    Hazard,
    HazardousMessages,
    draw_hazards,
    freeze_leases,
    missing_outgoing,
    read_only_failover,
    truncate_log,
)
from tests.faults.oracle import InputMessage, Reference, generate_messages, send
from tests.faults.sandbox import (
    PARTITIONS,
    Patience,
    Sandbox,
    sample_resources,
    start_parts,
    wait_until_drained,
)
from tests.faults.stories import wrong_stories
from tests.faults.worker import FAILPOINTS
from tests.parts import Kafka, Postgres

DOCUMENTS = 600
# A worker that has written everything reaches its failpoint within this time, or not at all.
IDLE_SECONDS = 8.0
# The most memory that a worker may ever use here, with its classifier of no weight.
PEAK_BYTES = 450_000_000


@dataclass(frozen=True)
class Outcome:
    """The result of one run. `peak` is the largest memory of a worker, in bytes."""

    seed: int
    kills: list[str]
    cuts: int
    documents: int
    differences: dict[str, int]
    seconds: float
    hazards: frozenset[Hazard] = frozenset()
    peak: int = 0

    def __str__(self) -> str:
        summary = ", ".join(f"{name} {n}" for name, n in self.differences.items()) or "exact"
        happened = [*self.kills, *sorted(self.hazards)]
        return (
            f"seed {self.seed}: {summary}; {self.documents} documents; {', '.join(happened)}; "
            f"{self.cuts} cuts; peak {self.peak / 1e6:.0f} MB; {self.seconds:.0f} s"
        )


def run_seed(seed: int, kafka: Kafka, postgres: Postgres, folder: Path) -> Outcome:
    """One complete run; everything random in it comes from `seed`."""
    started, draw, now = time.monotonic(), random.Random(seed), datetime.now(UTC)
    sandbox = Sandbox.make(seed, kafka, postgres.create_database(), folder)
    hazards = draw_hazards(random.Random(f"hazards {seed}"))
    first, second = _generate(seed, draw, hazards, now)
    reference, kills = Reference(sandbox.topics), list[str]()
    changes, moments = Changes(sandbox, reference, now), random.Random(f"moments {seed}")
    change_between_kills = moments.random() < 0.5
    with ExitStack() as ending:
        ending.callback(sandbox.close)
        cuts: dict[str, int] = {}
        if Hazard.CUTS in hazards:
            cuts = ending.enter_context(sandbox.unreliable_database(0.1)).cuts
        if Hazard.POOLER in hazards:
            ending.enter_context(sandbox.pooled_database())
        expected = reference.read(first, now, send(first, sandbox.topics, kafka.bootstrap))
        for _ in range(draw.choice([1, 2, 2, 3])):
            kills.append(_kill_once(sandbox, draw, expected))
        if Hazard.GAZETTEER in hazards and change_between_kills:
            changes.change_gazetteer()
            kills.append(_kill_once(sandbox, moments, expected))
        if Hazard.TRUNCATED_LOG in hazards:
            _drain_and_truncate(sandbox, expected)
        if Hazard.FROZEN_LEASE in hazards:
            freeze_leases(sandbox.url)
        expected = reference.read(second, now, send(second, sandbox.topics, kafka.bootstrap))
        workers = [sandbox.start() for _ in range(draw.choice([1, 1, 2]))]
        if Hazard.READ_ONLY in hazards:
            ending.enter_context(read_only_failover(sandbox.url, after=draw.uniform(2, 8), seconds=3))
        if Hazard.GAZETTEER in hazards and not change_between_kills:
            time.sleep(moments.uniform(2, 8))
            changes.change_gazetteer()
        if Hazard.BACKFILL in hazards:
            changes.kill_backfill(moments.randrange(2, 8))
        wait_until_drained(sandbox, expected, workers)
        differences = _rewrite_and_compare(sandbox, reference, changes, hazards, moments)
        differences |= missing_outgoing(expected, sandbox, kafka.bootstrap)
        kills += changes.kills
        peak = max(sample_resources(worker, started).peak for worker in workers)
        if peak > PEAK_BYTES:
            differences["memory bound broken, differ"] = 1
    seconds = time.monotonic() - started
    return Outcome(
        seed, kills, sum(cuts.values()), len(expected.documents), differences, seconds, hazards, peak
    )


def _rewrite_and_compare(
    sandbox: Sandbox,
    reference: Reference,
    changes: Changes,
    hazards: frozenset[Hazard],
    moments: random.Random,
) -> dict[str, int]:
    """Link and classify the past again, if these are hazards of the run. Returns how the database differs."""
    if Hazard.BACKFILL in hazards:
        changes.backfill()
    differences = Counter(reference.compare(read_database(sandbox.url)))
    if Hazard.RELABEL in hazards:
        changes.relabel(moments.randrange(2, 8))
        differences.update(reference.compare(read_database(sandbox.url)))
    if hazards & {Hazard.BACKFILL, Hazard.RELABEL}:
        differences["recounted rows differ"] = changes.wrong_rows()
    differences.update(wrong_histories(sandbox.url))
    differences.update(wrong_stories(sandbox.url))
    return {name: number for name, number in differences.items() if number}


def _generate(
    seed: int, draw: random.Random, hazards: frozenset[Hazard], now: datetime
) -> tuple[list[InputMessage], list[InputMessage]]:
    """The messages before and after the kills. Each part ends with a document in each partition."""
    messages = generate_messages(seed, DOCUMENTS, PARTITIONS, now)
    half = draw.randrange(1, len(messages))
    parts = (messages[:half], messages[half:])
    first, second = (
        HazardousMessages(random.Random(f"{seed} {number}"), PARTITIONS, now).add_to(part, hazards, earlier)
        for number, (part, earlier) in enumerate(zip(parts, ((), parts[0]), strict=True))
    )
    return first, second


def _drain_and_truncate(sandbox: Sandbox, expected: Contents) -> None:
    worker = sandbox.start()
    wait_until_drained(sandbox, expected, [worker])
    worker.stop()
    truncate_log(sandbox)


def _kill_once(sandbox: Sandbox, draw: random.Random, expected: Contents) -> str:
    """Start a worker that kills itself, sometimes next to a second worker. Returns a description."""
    failpoint, passages = draw.choice(FAILPOINTS), draw.choice([1, 1, 2, 5])
    second_worker = sandbox.start() if draw.random() < 0.25 else None
    process = sandbox.start(failpoint, str(passages)).process
    try:
        status = _wait_for_end(process, sandbox, expected)
    finally:
        if second_worker is not None:
            second_worker.process.kill()
            second_worker.process.wait(10)
    if status is None:
        return f"{failpoint} not reached, killed idle"
    if status != -9:
        raise AssertionError(f"seed {sandbox.seed}: the worker ended with {status} instead of being killed")
    return f"{failpoint} x{passages}" + (" next to another" if second_worker else "")


def _wait_for_end(process: subprocess.Popen[bytes], sandbox: Sandbox, expected: Contents) -> int | None:
    """The exit status; None if it had to be killed: it did not reach its failpoint, and nothing moved."""
    patience, idle = Patience(), Patience(IDLE_SECONDS)
    while not patience.is_out(offsets := read_offsets(sandbox.url)):
        if idle.is_out(offsets) and offsets == expected.offsets:
            break
        with suppress(subprocess.TimeoutExpired):
            return process.wait(1)
    process.kill()
    process.wait(10)
    return None


def _run_or_report(seed: int, kafka: Kafka, postgres: Postgres, folder: Path) -> Outcome:
    """One run; if it fails, its reason counts as a difference, and the other runs go on."""
    try:
        return run_seed(seed, kafka, postgres, folder)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return Outcome(seed, [], 0, 0, {f"{error}, differ": 1}, 0.0)


def run(seeds: range, jobs: int) -> list[Outcome]:
    """Run all seeds, `jobs` at a time, on one Kafka and one PostgreSQL."""
    with start_parts("faults-") as (kafka, postgres, folder), ThreadPoolExecutor(jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda seed: _run_or_report(seed, kafka, postgres, folder), seeds):
            print(outcome, flush=True)
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
    hazards = Counter(hazard for outcome in outcomes for hazard in outcome.hazards)
    return (
        f"runs {len(outcomes)}, kills {kills}, cuts {sum(o.cuts for o in outcomes)}, "
        f"{', '.join(f'{hazard} {hazards[hazard]}' for hazard in Hazard)}, "
        f"peak {max(o.peak for o in outcomes) / 1e6:.0f} MB, "
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
    print(totals(outcomes))
    return int(any(outcome.differences for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

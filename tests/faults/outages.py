"""The broker gone for minutes, then the database frozen for minutes, under a steady feed.

    python -m tests.faults.outages --broker-minutes 3 --database-minutes 2

Prints what the monitor said of itself meanwhile, how soon it went on, and whether SQL is exact at the end.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from stream.nouns import Kind
from tests.conftest import Running
from tests.faults.oracle import Sent, reference, send, stored, stream
from tests.faults.runner import Surroundings, drain
from tests.parts import Kafka, Postgres, temporary_folder, wait_until

COUNT = 3000


def tell(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)  # noqa: T201


def memory(running: Running) -> int:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--broker-minutes", type=float, default=3)
    parser.add_argument("--database-minutes", type=float, default=2)
    options = parser.parse_args()
    folder = temporary_folder("outages-")
    postgres = Postgres(folder / "pg")
    with Kafka(folder / "kafka") as kafka:
        around = Surroundings.make(0, kafka, postgres, folder)
        try:
            return outages(around, kafka, folder / "pg", options.broker_minutes, options.database_minutes)
        except BaseException:
            tell((folder / "0-0.log").read_text()[-4000:])
            raise
        finally:
            around.close()
            postgres.close()
            shutil.rmtree(folder, ignore_errors=True)


def outages(around: Surroundings, kafka: Kafka, data: Path, broker: float, database: float) -> int:
    topics: dict[Kind, str] = {kind: topic for topic, kind in around.kafka.kinds.items()}
    begun, sent = datetime.now(UTC), list[Sent]()
    worker = around.start()
    running = Running(worker, f"http://127.0.0.1:{around.ports[0]}", around.folder / "0-0.log")
    wait_until(running.is_ready, 60, "the worker is ready")

    def wave(seed: int) -> None:
        messages = stream(seed, COUNT, 2, begun)
        send(messages, topics, kafka.bootstrap)
        sent.extend(messages)

    def caught_up() -> float:
        started = time.monotonic()
        drain(around, reference(sent, topics, begun), [worker])
        return time.monotonic() - started

    wave(1)
    tell(f"at work; caught up after {caught_up():.1f} s, {memory(running)} MB")
    kafka.stop()
    time.sleep(broker * 60)
    tell(f"broker gone for {broker:g} min: readyz {running.get('/readyz')}, {memory(running)} MB")
    kafka.start()
    wave(2)
    tell(f"broker back: caught up after {caught_up():.1f} s, ready {running.is_ready()}")

    wave(3)
    processes = [int((data / "postmaster.pid").read_text().split()[0])]
    processes += [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and parent(entry) == processes[0]
    ]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(database * 60)
    tell(f"database frozen for {database:g} min: readyz {running.get('/readyz')}, {memory(running)} MB")
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    tell(f"database back: caught up after {caught_up():.1f} s")
    differences = reference(sent, topics, begun).differences(stored(around.url))
    tell(f"{len(sent)} messages: {differences or 'exact'}; stopped with status {running.stop()}")
    return int(bool(differences))


def parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main())

"""Memory whatever waits: floods of tiny messages, and texts as long as the broker takes them.

    python -m tests.faults.bounds --rate 50000 --seconds 10

Each phase has a worker of its own; printed is what its memory was at most, and whether SQL is exact.  The status is
1 where it is not.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from stream.domain.documents import Kind
from tests.faults.oracle import Reference, Sent, stored
from tests.faults.stage import PARTITIONS, Stage, drain, look, parts, tell
from tests.parts import LARGE, Kafka, Postgres, wait_until

SETTINGS = {"MONITOR_STREAM__BATCH_DOCUMENTS": "512", "MONITOR_STREAM__BATCH_SECONDS": "0.25"}


def tiny(rate: int, seconds: float) -> Iterator[list[Sent]]:
    """A tenth of a second's worth at a time."""
    number = 0
    for _ in range(int(10 * seconds)):
        stamp, wave = datetime.now(UTC).isoformat(), []
        for _ in range(rate // 10):
            number += 1
            value = b'{"id":"%d","text":"gold up %d","published_at":"%s"}' % (number, number, stamp.encode())
            wave.append(Sent(Kind.NEWS, number % PARTITIONS, value))
        yield wave


def long_texts(count: int, characters: int, tag: str) -> Iterator[list[Sent]]:
    """Words of about five characters, so that 500,000 characters are 100,000 tokens."""
    for number in range(count):
        text = ("shares of the bank fall " * (characters // 24 + 1))[:characters]
        stamp = datetime.now(UTC).isoformat()
        value = json.dumps({"id": f"{tag}-{number}", "text": text, "published_at": stamp}).encode()
        yield [Sent(Kind.NEWS, number % PARTITIONS, value, "too_large" if len(value) > 1_000_000 else None)]


def phase(name: str, stage: Stage, waves: Iterator[list[Sent]], classifier: str) -> bool:
    """Send, work off, compare; whether anything differs."""
    oracle, worker, most = Reference(stage.topics, brief=True), stage.start(classifier), [0]
    wait_until(worker.is_ready, 60, "the worker is ready")
    begun, before = time.monotonic(), look(worker, 0)
    sending = {"bootstrap.servers": stage.kafka.bootstrap_servers, "message.max.bytes": 12_000_000,
               "queue.buffering.max.messages": 1_000_000, "linger.ms": 20}  # fmt: skip
    producer, over = Producer(sending), threading.Event()

    def watch() -> None:
        while not over.wait(1.0) and worker.process.poll() is None:
            most[0] = max(most[0], int(worker.metric("sentiment_consumer_lag_messages") or 0))

    watching = threading.Thread(target=watch)
    watching.start()
    expected, messages, size = oracle.read([], datetime.now(UTC)), 0, 0
    for wave in waves:
        for sent in wave:
            while True:
                try:
                    producer.produce(stage.topics[sent.kind], sent.value, partition=sent.partition)
                    break
                except BufferError:
                    producer.poll(0.05)
            messages, size = messages + 1, size + len(sent.value or b"")
        producer.poll(0)
        expected = oracle.read(wave, datetime.now(UTC))
    producer.flush()
    sending_took = time.monotonic() - begun
    drain(stage, expected, [worker], 900)
    took, after = time.monotonic() - begun, look(worker, 0)
    over.set()
    watching.join()
    found = stored(stage.url, brief=True)
    if classifier == "shipped":  # its labels are its own
        found.documents = {key: expected.documents.get(key) for key in found.documents}
        found.aggregates = expected.aggregates
    differences = expected.differences(found)
    tell(
        f"{name}: {messages} messages, {size / 1e6:.0f} MB, sent in {sending_took:.0f} s, worked off in {took:.0f} s, "
        f"{most[0]} waited at most; {before.memory / 1e6:.0f} MB before, {after.peak / 1e6:.0f} at most, "
        f"{after.memory / 1e6:.0f} after; {differences or 'exact'}"
    )
    assert worker.stop() == 0
    return bool(differences)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--phases", type=int, nargs="*", default=range(5))
    options = parser.parse_args()
    with parts("bounds-", LARGE) as (kafka, postgres, folder):
        return run(kafka, postgres, folder, options)


def run(kafka: Kafka, postgres: Postgres, folder: Path, options: argparse.Namespace) -> int:
    rate, seconds = options.rate, options.seconds
    phases = [
        ("tiny, a tenth as long", tiny(rate, seconds / 10), "stand-in"),
        ("tiny", tiny(rate, seconds), "stand-in"),
        ("900 kB each", long_texts(400, 900_000, "large"), "stand-in"),
        ("10 MB each", long_texts(40, 10_000_000, "huge"), "stand-in"),
        ("100,000 tokens each, the shipped classifier", long_texts(400, 500_000, "long"), "shipped"),
    ]
    differ = False
    for number in options.phases:
        name, waves, classifier = phases[number]
        stage = Stage.make(number, kafka, postgres.create_database(), folder, **SETTINGS)
        try:
            differ |= phase(name, stage, waves, classifier)
        finally:
            stage.close()
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())

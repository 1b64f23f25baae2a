"""Measure memory under overload: floods of tiny messages, and texts as long as the broker accepts.

    python -m tools.bounds --rate 50000 --seconds 10

Each phase runs its own worker and prints the worker's peak memory and whether the database matches the input.
Exits with 1 if it does not match.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from stream.domain.documents import Kind
from tests.faults.contents import read_database
from tests.faults.oracle import InputMessage, Reference
from tests.faults.sandbox import (
    PARTITIONS,
    START_SECONDS,
    Sandbox,
    log_line,
    sample_resources,
    start_parts,
    wait_until_drained,
)
from tests.parts import LARGE, Kafka, Postgres, wait_until

SETTINGS = {"MONITOR_STREAM__BATCH_DOCUMENTS": "512", "MONITOR_STREAM__BATCH_SECONDS": "0.25"}


def tiny(rate: int, seconds: float) -> Iterator[list[InputMessage]]:
    """Short messages, in waves of 100 ms each."""
    number = 0
    for _ in range(int(10 * seconds)):
        timestamp, wave = datetime.now(UTC).isoformat(), []
        for _ in range(rate // 10):
            number += 1
            value = b'{"id":"%d","text":"gold up %d","published_at":"%s"}' % (
                number,
                number,
                timestamp.encode(),
            )
            wave.append(InputMessage(Kind.NEWS, number % PARTITIONS, value))
        yield wave


def long_texts(count: int, characters: int, tag: str) -> Iterator[list[InputMessage]]:
    """Texts of words with about five characters: 500,000 characters are 100,000 tokens."""
    for number in range(count):
        text = ("shares of the bank fall " * (characters // 24 + 1))[:characters]
        timestamp = datetime.now(UTC).isoformat()
        value = json.dumps({"id": f"{tag}-{number}", "text": text, "published_at": timestamp}).encode()
        yield [
            InputMessage(
                Kind.NEWS, number % PARTITIONS, value, "too_large" if len(value) > 1_000_000 else None
            )
        ]


def phase(name: str, sandbox: Sandbox, waves: Iterator[list[InputMessage]], classifier: str) -> bool:
    """Send the messages, wait for the worker, compare. Returns True if they differ."""
    oracle, worker, highest_lag = Reference(sandbox.topics, brief=True), sandbox.start(classifier), [0]
    wait_until(worker.is_ready, START_SECONDS, "the worker is ready")
    started, before = time.monotonic(), sample_resources(worker, 0)
    producer_config = {
        "bootstrap.servers": sandbox.kafka.bootstrap_servers,
        "message.max.bytes": 12_000_000,
        "queue.buffering.max.messages": 1_000_000,
        "linger.ms": 20,
    }
    producer, finished = Producer(producer_config), threading.Event()

    def watch_lag() -> None:
        while not finished.wait(1.0) and worker.process.poll() is None:
            highest_lag[0] = max(highest_lag[0], int(worker.metric("sentiment_consumer_lag_messages") or 0))

    watcher = threading.Thread(target=watch_lag)
    watcher.start()
    expected, messages, size = oracle.read([], datetime.now(UTC)), 0, 0
    for wave in waves:
        for message in wave:
            while True:
                try:
                    producer.produce(sandbox.topics[message.kind], message.value, partition=message.partition)
                    break
                except BufferError:
                    producer.poll(0.05)
            messages, size = messages + 1, size + len(message.value or b"")
        producer.poll(0)
        expected = oracle.read(wave, datetime.now(UTC))
    producer.flush()
    sending_took = time.monotonic() - started
    wait_until_drained(sandbox, expected, [worker])
    took, after = time.monotonic() - started, sample_resources(worker, 0)
    finished.set()
    watcher.join()
    actual = read_database(sandbox.url, brief=True)
    if classifier == "shipped":  # the reference uses the stand-in's labels, so compare only identities
        same = {key: expected.documents.get(key) for key in actual.documents}
        actual = replace(expected, documents=same, dead=actual.dead, offsets=actual.offsets)
    differences = expected.differences(actual)
    log_line(
        f"{name}: {messages} messages, {size / 1e6:.0f} MB, "
        f"sent in {sending_took:.0f} s, processed in {took:.0f} s, "
        f"highest lag {highest_lag[0]}; {before.memory / 1e6:.0f} MB before, {after.peak / 1e6:.0f} peak, "
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
    with start_parts("bounds-", LARGE) as (kafka, postgres, folder):
        return run(kafka, postgres, folder, options)


def run(kafka: Kafka, postgres: Postgres, folder: Path, options: argparse.Namespace) -> int:
    rate, seconds = options.rate, options.seconds
    phases = [
        ("tiny, short", tiny(rate, seconds / 10), "stand-in"),
        ("tiny", tiny(rate, seconds), "stand-in"),
        ("900 kB each", long_texts(400, 900_000, "large"), "stand-in"),
        ("10 MB each", long_texts(40, 10_000_000, "huge"), "stand-in"),
        ("100,000 tokens each, the shipped classifier", long_texts(400, 500_000, "long"), "shipped"),
    ]
    differs = False
    for number in options.phases:
        name, waves, classifier = phases[number]
        sandbox = Sandbox.make(number, kafka, postgres.create_database(), folder, **SETTINGS)
        try:
            differs |= phase(name, sandbox, waves, classifier)
        finally:
            sandbox.close()
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())

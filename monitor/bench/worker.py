"""Measures a monitor in a process of its own: start-up time, memory, and latency."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import SecretStr
from sqlalchemy import func, select

from monitor.bench.pipeline import STALLED_SECONDS, in_profile, make_message, send_documents
from monitor.runtime.settings import PREFIX, Settings
from stream.domain.errors import BrokerError
from stream.kafka.security import client_options
from stream.kafka.settings import KafkaSettings
from stream.storage import database, schema

SETTING_PARTS = ("kafka", "database", "stream", "models")
POLL_SECONDS = 0.02
# The documents that are due within one tick are sent as one batch of at most so many bytes.
TICK_SECONDS, MAX_BATCH_BYTES = 0.01, 500_000


def backlog(settings: Settings, texts: Sequence[str], documents: int) -> dict[str, Any]:
    """One worker that starts for the first time, with nothing cached, and `documents` waiting in Kafka.

    Returns the seconds from its start to the first document in SQL, its memory in MB after each quarter of
    the documents, and its peak memory.
    """
    before = _count(settings)
    send_documents(settings, texts, documents, f"backlog-{time.time_ns()}")
    with tempfile.TemporaryDirectory() as cache, _monitor(settings, XDG_CACHE_HOME=cache) as process:
        started = time.perf_counter()
        _wait(settings, before + 1, process)
        found: dict[str, Any] = {"start_to_first_document_seconds": round(time.perf_counter() - started, 2)}
        quarters = []
        for quarter in range(1, 5):
            _wait(settings, before + documents * quarter // 4, process)
            quarters.append(_megabytes(process, "VmRSS"))
        return found | {
            "memory_megabytes": quarters,
            "memory_at_most_megabytes": _megabytes(process, "VmHWM"),
        }


def latency(settings: Settings, texts: Sequence[str], rate: float, seconds: float) -> dict[str, Any]:
    """One worker in the latency profile: milliseconds from sending a document to its SQL commit, p50 and p99.

    Sends `rate` documents per second for `seconds`, after a warm-up of the same length that is not measured.
    During it the worker meets every batch size, as a monitor that runs for months has.
    """
    in_latency = in_profile(settings, "latency", int(4 * rate))
    before = _count(settings)
    with _monitor(in_latency) as process:
        send_documents(in_latency, texts, 1, f"first-{time.time_ns()}")
        _wait(in_latency, before + 1, process)
        _measure_latencies(in_latency, texts, rate, seconds)
        latencies = sorted(_measure_latencies(in_latency, texts, rate, seconds))
    found = {"latency_rate": round(rate, 1)}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        found[f"latency_{name}_milliseconds"] = round(1000 * latencies[int(share * (len(latencies) - 1))], 1)
    return found


@contextmanager
def _monitor(settings: Settings, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`monitor run` with these settings, and further environment variables."""
    other_variables = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "run"],
            env=other_variables | _environment(settings) | environ,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
            if process.poll() is not None:
                log.seek(0)
                raise BrokerError(f"the monitor ended: {log.read().decode(errors='replace')[-500:]}")
        finally:
            process.terminate()
            process.wait(60)


def _environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables; rules and receivers are the defaults."""
    variables = {f"{PREFIX}HTTP__PORT": "0", f"{PREFIX}LOG__LEVEL": "warning"}
    for part in SETTING_PARTS:
        for name, value in getattr(settings, part):
            if value is None:
                continue
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            text = json.dumps(plain) if isinstance(plain, tuple) else str(plain)
            variables[f"{PREFIX}{part.upper()}__{name.upper()}"] = text
    return variables


def _count(settings: Settings) -> int:
    engine = database.connect(settings.database)
    try:
        with database.reading(engine) as connection:
            return connection.scalar(select(func.count()).select_from(schema.documents)) or 0
    finally:
        engine.dispose()


def _wait(settings: Settings, documents: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until so many are in SQL.  Raises BrokerError if the process ends or makes no progress."""
    seen, moved = -1, time.monotonic()
    while seen < documents:
        if (count := _count(settings)) > seen:
            seen, moved = count, time.monotonic()
        if process.poll() is not None or time.monotonic() - moved > STALLED_SECONDS:
            raise BrokerError(f"the monitor stopped at {seen} of {documents} documents")
        time.sleep(0.1)


def _megabytes(process: "subprocess.Popen[bytes]", field: str) -> int | None:
    """A field of /proc/PID/status in MB; None on systems without it."""
    path = Path(f"/proc/{process.pid}/status")
    if not path.exists():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return int(lines[field].split()[0]) // 1024


def _measure_latencies(settings: Settings, texts: Sequence[str], rate: float, seconds: float) -> list[float]:
    """For each document, the seconds from sending it until its partition's offset in SQL is past it."""
    sent: dict[tuple[int, int], float] = {}
    arrived: list[float] = []
    stopping = threading.Event()
    watcher = threading.Thread(
        target=_watch_offsets, args=(settings, sent, arrived, stopping), name="bench-watch"
    )
    watcher.start()
    try:
        number = asyncio.run(_send(settings.kafka, texts, rate, seconds, sent))
        deadline = time.monotonic() + STALLED_SECONDS
        while len(arrived) < number and time.monotonic() < deadline:
            time.sleep(0.1)
    except KafkaError as error:
        raise BrokerError(f"{settings.kafka.bootstrap_servers}: {error}") from error
    finally:
        stopping.set()
        watcher.join()
    if len(arrived) < number:
        raise BrokerError(f"{number - len(arrived)} of {number} documents did not arrive")
    return arrived


async def _send(
    kafka: KafkaSettings,
    texts: Sequence[str],
    rate: float,
    seconds: float,
    sent: dict[tuple[int, int], float],
) -> int:
    """Send documents at that rate, those of one tick to one partition; returns how many.

    `sent` gets the time when each was due, by partition and offset.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers,
        acks="all",
        max_batch_size=MAX_BATCH_BYTES,
        **client_options(kafka),
    )
    await producer.start()
    try:
        partitions = itertools.cycle(sorted(await producer.partitions_for(kafka.news)))
        tag, started, number, answers = time.time_ns(), time.perf_counter(), 0, []

        def record_sent(first: int, past: int, answer: "asyncio.Future[Any]") -> None:
            if not answer.cancelled() and answer.exception() is None:
                position = answer.result()
                for at, document in enumerate(range(first, past), position.offset):
                    sent[position.partition, at] = started + document / rate

        while (elapsed := time.perf_counter() - started) < seconds:
            first, batch = number, producer.create_batch()
            for document in range(first, int(elapsed * rate)):
                _, value = make_message(texts, tag, document, datetime.now(UTC))
                if batch.append(key=None, value=value, timestamp=None) is None:
                    break  # the rest goes with the next batch
                number = document + 1
            if number > first:
                answers.append(await producer.send_batch(batch, kafka.news, partition=next(partitions)))
                answers[-1].add_done_callback(partial(record_sent, first, number))
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.gather(*answers)
    finally:
        await producer.stop()
    return number


def _watch_offsets(
    settings: Settings, sent: dict[tuple[int, int], float], arrived: list[float], stopping: threading.Event
) -> None:
    """Move from `sent` to `arrived`, with their latencies, the documents that are in SQL."""
    engine = database.connect(settings.database)
    table = schema.offsets
    query = select(table.c.kafka_partition, table.c.next_offset)
    query = query.where(table.c.kafka_topic == settings.kafka.news)
    while not stopping.wait(POLL_SECONDS):
        with database.reading(engine) as connection:
            ends = {row.kafka_partition: row.next_offset for row in connection.execute(query)}
        now = time.perf_counter()
        for key in [key for key in list(sent) if key[1] < ends.get(key[0], 0)]:
            arrived.append(now - sent.pop(key))
    engine.dispose()

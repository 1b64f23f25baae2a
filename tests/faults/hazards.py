"""Hazards beside kills: what Kafka, producers and PostgreSQL do to a worker in production.

`HazardousMessages` mixes messages into a stream. The functions act on the database or on Kafka while
workers run, or between two of them.
"""

import json
import random
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import httpx
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.engine import make_url

from stream.domain.documents import Kind
from stream.storage import schema
from stream.storage.outbox import KAFKA_PREFIX
from tests.conftest import Running
from tests.faults.contents import Contents
from tests.faults.oracle import BOMB_REASON, Delivery, InputMessage
from tests.faults.sandbox import ROOT, START_SECONDS, Patience, Sandbox

# How long a command may take, and the reader of a topic may wait for one message.
COMMAND_SECONDS, READ_SECONDS = 300.0, 60.0
LEASES = ("alerts", "outbox")
COMMAND = re.compile(r"monitor (offsets [^\n\"`;]*)")


class Hazard(StrEnum):
    """What happens in a run beside the kills."""

    ABORTED = "aborted transactions"
    TOMBSTONES = "tombstones"
    GIANTS = "giants"
    BOMBS = "decompression bombs"
    TRUNCATED_LOG = "truncated log"
    FROZEN_LEASE = "frozen lease"
    READ_ONLY = "read-only failover"
    POOLER = "PgBouncer"
    CUTS = "broken connections"
    CORRECTED = "corrected stories"
    GAZETTEER = "changed gazetteer"
    BACKFILL = "killed backfill"
    RELABEL = "killed relabel"


def draw_hazards(draw: random.Random) -> frozenset[Hazard]:
    """Each hazard happens in a third of the runs.

    A pooler keeps read-only connections of its own, which only its administrator can drop, and it takes the
    place of the proxy that breaks connections.
    """
    hazards = {hazard for hazard in Hazard if draw.random() < 1 / 3}
    if Hazard.POOLER in hazards:
        hazards -= {Hazard.READ_ONLY, Hazard.CUTS}
    if Hazard.BACKFILL in hazards:  # it links again what the gazetteer of before has linked
        hazards.add(Hazard.GAZETTEER)
    return frozenset(hazards)


@dataclass(frozen=True)
class HazardousMessages:
    """Draws the messages of a run's hazards. No two of them are the same document."""

    draw: random.Random
    partitions: int
    now: datetime

    def add_to(
        self,
        messages: Sequence[InputMessage],
        hazards: frozenset[Hazard],
        earlier: Sequence[InputMessage] = (),
    ) -> list[InputMessage]:
        """The stream with hazardous messages among its own, and a closing document in each partition.

        Stories of the stream and of `earlier` ones may be corrected.

        A partition that ends with an aborted transaction has offsets that no reader ever gets: the closing
        documents make the last offset of each partition known.
        """
        stream = list(messages)
        corrected = self._corrected([*earlier, *messages]) if Hazard.CORRECTED in hazards else ()
        for message in (*self._added(hazards), *corrected):
            stream.insert(self.draw.randrange(len(stream)), message)
        places = [(kind, partition) for kind in Kind for partition in range(self.partitions)]
        return stream + [replace(self._document(), kind=kind, partition=n) for kind, n in places]

    def _added(self, hazards: frozenset[Hazard]) -> Iterator[InputMessage]:
        if Hazard.ABORTED in hazards:
            yield from (replace(self._document(), delivery=Delivery.ABORTED) for _ in range(12))
        if Hazard.TOMBSTONES in hazards:
            yield from (self._message(None) for _ in range(60))
        if Hazard.GIANTS in hazards:
            yield from (self._giant() for _ in range(8))
        if Hazard.BOMBS in hazards:
            yield from 2 * [InputMessage(Kind.NEWS, 0, None, BOMB_REASON, Delivery.BOMB)]

    def _corrected(self, messages: Sequence[InputMessage]) -> Iterator[InputMessage]:
        """Newer versions of documents, on any partition: the newest one stays, in whatever order they are read.

        An hour that is over says when a version was published: one in the future would be left out.
        """
        documents = [one for one in messages if one.value and one.reason is None]
        for original in self.draw.choices(documents, k=80):
            body = json.loads(original.value or b"")
            version = f"{self.draw.getrandbits(64):x}"
            text = self.draw.choice(
                [f"$AB shares {version}", f"bank oil {version} gold", f"{int(version, 16)} %"]
            )
            at = self.now - timedelta(seconds=self.draw.uniform(0, 3600))
            newer = {"title" if "title" in body else "text": text, "updated_at": at.isoformat()}
            value = json.dumps(body | newer).encode()
            yield replace(original, partition=self.draw.randrange(self.partitions), value=value)

    def _giant(self) -> InputMessage:
        """A document whose optional fields, or whose only word, are far larger than what may leave."""
        large = {"url": "https://example.org/" + "x" * 300_000, "author": "y" * 100_000, "lang": "z" * 5_000}
        one_word = {"title": "", "text": "w" * 400_000}
        fields: dict[str, Any] = self.draw.choice([large, {"symbols": ["AB"] * 20_000}, one_word])
        return self._document(**fields)

    def _document(self, **fields: object) -> InputMessage:
        published_at = self.now - timedelta(seconds=self.draw.uniform(0, 3600))
        name = f"{self.draw.getrandbits(64):x}"
        body = {
            "id": name,
            "source": "hazard",
            "title": f"shares {name}",
            "published_at": published_at.isoformat(),
        }
        return self._message(json.dumps(body | fields).encode())

    def _message(self, value: bytes | None) -> InputMessage:
        return InputMessage(self.draw.choice(list(Kind)), self.draw.randrange(self.partitions), value)


def freeze_leases(url: str) -> None:
    """Leave every lease with a holder that is gone, until tomorrow, as a host with a wrong clock does."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(schema.leases.delete())
        rows = [{"name": name, "holder": "gone:1", "expires_at": tomorrow} for name in LEASES]
        connection.execute(schema.leases.insert(), rows)
    engine.dispose()


@contextmanager
def read_only_failover(url: str, after: float, seconds: float) -> Iterator[None]:
    """After some seconds, break all connections of monitors; those made within the next `seconds` stay read-only for ever."""
    ended = threading.Event()

    def fail_over() -> None:
        ended.wait(after)
        _alter(url, "SET default_transaction_read_only = on", terminate=True)
        ended.wait(seconds)
        _alter(url, "RESET default_transaction_read_only")

    thread = threading.Thread(target=fail_over)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _alter(url: str, change: str, *, terminate: bool = False) -> None:
    """Change a database by a connection to another one of the same server."""
    name = make_url(url).database
    engine = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" {change}'))
        if terminate:
            end = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = :name AND application_name = 'sentiment-monitor'"
            )
            connection.execute(text(end), {"name": name})
    engine.dispose()


def truncate_log(sandbox: Sandbox) -> None:
    """Let SQL be ahead of the log of one partition, as after an unclean leader election, and mend it as a worker's refusal says.

    All messages sent so far must be processed. Raises AssertionError if a worker does not refuse, or if the
    command that it names does not mend it.
    """
    engine = create_engine(sandbox.url)
    with engine.begin() as connection:
        ahead = schema.offsets.c.next_offset + 50
        one = schema.offsets.c.kafka_topic == sandbox.kafka.news, schema.offsets.c.kafka_partition == 0
        connection.execute(schema.offsets.update().where(*one).values(next_offset=ahead))
    engine.dispose()
    for _ in range(2):
        worker = sandbox.start()
        if not _refuses_to_start(worker):
            return
        log = worker.log.read_text()
        commands = COMMAND.findall(log)
        if not commands:
            raise AssertionError(f"seed {sandbox.seed}: the refusal names no command: {log[-2000:]}")
        _monitor(sandbox, shlex.split(commands[-1]))
    raise AssertionError(f"seed {sandbox.seed}: the worker still refuses")


def _refuses_to_start(worker: Running) -> bool:
    """Wait until the worker has ended with an error, or is ready and then stopped. Raises AssertionError if it
    does neither."""
    started = time.monotonic()
    while worker.process.poll() is None and time.monotonic() - started < START_SECONDS:
        if _is_ready(worker):
            worker.stop()
            return False
        time.sleep(0.2)
    if not worker.process.returncode:
        state = "runs and is not ready" if worker.process.returncode is None else "ended without an error"
        raise AssertionError(f"SQL is ahead of Kafka and a worker {state}: {worker.log.read_text()[-2000:]}")
    return True


def _is_ready(worker: Running) -> bool:
    try:
        return worker.is_ready()
    except httpx.TransportError:  # it does not listen yet
        return False


def _monitor(sandbox: Sandbox, words: Sequence[str]) -> None:
    """Run a command as an operator does: again, while Kafka still counts a killed worker as a member."""
    started = time.monotonic()
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "monitor", *words],
            env=sandbox.environment() | {"MONITOR_DATABASE__URL": sandbox.url},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if not done.returncode:
            return
        if "stop every monitor" not in done.stderr or time.monotonic() - started > COMMAND_SECONDS:
            raise AssertionError(f"monitor {shlex.join(words)} ended with {done.returncode}: {done.stderr}")


def missing_outgoing(expected: Contents, sandbox: Sandbox, bootstrap: str) -> dict[str, int]:
    """Wait until the outbox is empty, and count the predictions and dead letters that never left.

    A message may leave twice, after a kill. Returns only what is missing, by name.
    """
    topics = (sandbox.kafka.predictions, sandbox.kafka.dead_letters)
    _wait_until_sent(sandbox.url, [KAFKA_PREFIX + topic for topic in topics])
    predictions, dead_letters = (_read_topic(topic, bootstrap) for topic in topics)
    documents = {value["key"] for value in predictions}
    positions = {(value["topic"], value["partition"], value["offset"]) for value in dead_letters}
    counts = {
        "predictions lost": len(expected.documents.keys() - documents),
        "predictions extra": len(documents - expected.documents.keys()),
        "dead letters lost": len(expected.dead.keys() - positions),
        "dead letters extra": len(positions - expected.dead.keys()),
    }
    return {name: n for name, n in counts.items() if n}


def _wait_until_sent(url: str, targets: Sequence[str]) -> None:
    """It does not fail when nothing moves any more: what did not leave is counted."""
    engine, patience = create_engine(url), Patience()
    query = select(func.count()).where(schema.outbox.c.target.in_(targets))

    def waiting() -> int:
        with engine.connect() as connection:
            return connection.execute(query).scalar_one()

    while (number := waiting()) and not patience.is_out(number):
        time.sleep(0.3)
    engine.dispose()


def _read_topic(topic: str, bootstrap: str) -> list[dict[str, Any]]:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "faults", "enable.partition.eof": False})
    values = list[dict[str, Any]]()
    for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
        position = TopicPartition(topic, partition, 0)
        _, end = consumer.get_watermark_offsets(position, timeout=30)
        consumer.assign([position])
        last = -1
        while last + 1 < end:
            message = consumer.poll(READ_SECONDS)
            assert message is not None and message.error() is None, f"{topic} ends before {end}"
            offset, value = message.offset(), message.value()
            assert offset is not None and isinstance(value, bytes)
            last = offset
            values.append(json.loads(value))
    consumer.close()
    return values

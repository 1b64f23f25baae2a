"""Transactional producers: what is aborted or still open never happened, and does not count as lag."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer
from sqlalchemy import create_engine, text

from tests.conftest import Running, Scene
from tests.parts import wait_until

Send = Callable[[str, list[Any]], None]


def ids(scene: Scene) -> set[str]:
    """The ids of the stored documents."""
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        found = set(connection.scalars(text("SELECT id FROM documents")))
    engine.dispose()
    return found


def next_offset(scene: Scene) -> int:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT max(next_offset) FROM offsets")).scalar_one()
    engine.dispose()
    return int(found or 0)


class Transactions:
    """A transactional producer of news."""

    def __init__(self, scene: Scene, name: str = "tests") -> None:
        self._topic = scene.kafka.news
        self._producer = Producer(
            {
                "bootstrap.servers": scene.kafka.bootstrap_servers,
                "transactional.id": f"{name}-{self._topic}",
                "log_level": 0,
            }
        )
        self._producer.init_transactions(30)

    def begin(self, *names: str) -> None:
        """Start a transaction and let the broker have these messages."""
        self._producer.begin_transaction()
        stamp = datetime.now(UTC).isoformat()
        for name in names:
            message = {"id": name, "published_at": stamp, "text": f"Shares of company {name} rise."}
            self._producer.produce(self._topic, json.dumps(message))
        self._producer.flush(30)

    def commit(self) -> None:
        self._producer.commit_transaction(30)

    def abort(self) -> None:
        self._producer.abort_transaction(30)


def names(letter: str) -> list[str]:
    return [f"{letter}{number}" for number in range(5)]


@pytest.fixture
def one_partition(scene: Scene) -> Scene:
    scene.environ["MONITOR_KAFKA__PARTITIONS"] = "1"
    scene.prepare()
    return scene


def lag(monitor: Running, scene: Scene) -> float | None:
    return monitor.metric("sentiment_consumer_lag_messages", kafka_topic=scene.kafka.news)


def test_aborted_and_open_transactions_are_neither_stored_nor_replayed_nor_lag(one_partition: Scene) -> None:
    scene, before = one_partition, datetime.now(UTC) - timedelta(minutes=1)
    producer = Transactions(scene)
    producer.begin(*names("a"))
    producer.abort()
    producer.begin(*names("b"))
    producer.commit()
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: ids(scene) == set(names("b")), 60, "the committed documents, and no others")
    wait_until(lambda: lag(monitor, scene) == 0, 30, "no lag behind the last marker")
    wait_until(lambda: next_offset(scene) == 12, 30, "the offset behind the last marker")

    producer.begin(*names("c"))
    other = Transactions(scene, "other")
    other.begin(*names("d"))
    other.commit()
    time.sleep(5)
    assert ids(scene) == set(names("b")), "what follows an open transaction waits for its end"
    assert lag(monitor, scene) == 0, "nobody can read further"
    held = monitor.metric("sentiment_transaction_open_timestamp_seconds", kafka_topic=scene.kafka.news)
    assert held is not None and 3 < time.time() - held < 60
    replayed = scene.command("replay", "--from", before.isoformat())
    assert b"5 messages read, 0 documents restored" in replayed.stdout, replayed.stderr.decode()

    producer.abort()
    wait_until(lambda: ids(scene) == {*names("b"), *names("d")}, 30, "what was committed")
    wait_until(lambda: lag(monitor, scene) == 0, 30, "no lag")
    wait_until(
        lambda: monitor.metric("sentiment_transaction_open_timestamp_seconds") is None, 30, "nothing is held"
    )
    producer.begin(*names("e"))
    producer.abort()
    wait_until(lambda: next_offset(scene) == 30, 30, "the offset behind aborted messages")
    wait_until(lambda: lag(monitor, scene) == 0, 30, "no lag behind aborted messages")
    assert monitor.stop() == 0
    again = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: lag(again, scene) == 0, 30, "no lag after a restart either")
    assert again.stop() == 0
    (shown,) = [
        row
        for row in json.loads(scene.command("offsets", "show", "--json").stdout)
        if row["topic"] == scene.kafka.news
    ]
    assert (shown["stored"], shown["log_end"], shown["problem"]) == (30, 30, None)

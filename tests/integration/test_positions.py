"""Lag while the database is away and right after a start; partitions that are added; logs that are cut."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.structs import OffsetAndMetadata, TopicPartition
from sqlalchemy import create_engine, text

from monitor.demo.sample import SampleFeed
from tests.conftest import Running, Scene, calm, execute, need, news_offsets
from tests.parts import Kafka, wait_until

Send = Callable[[str, list[Any]], None]
LAG = "sentiment_consumer_lag_messages"


def document_count(scene: Scene) -> int:
    return int(execute(scene, "SELECT count(*) FROM documents")[0][0])


def lags(monitor: Running, scene: Scene) -> dict[str, float | None]:
    return {
        str(number): monitor.metric(LAG, kafka_topic=scene.kafka.news, partition=str(number))
        for number in range(8)
    }


def test_the_lag_grows_while_the_database_is_away(scene: Scene, sent: Send) -> None:
    scene.prepare()
    feed = SampleFeed("away")
    sent(scene.kafka.news, calm(feed, 50))
    # A small limit on what is fetched, so that fetching pauses at once.
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__IN_HAND_BYTES="1000000")
    wait_until(lambda: document_count(scene) == 50, 60, "the documents")
    engine = create_engine(scene.database_url)
    with engine.connect() as blocking:
        blocking.execute(text("LOCK TABLE offsets IN ACCESS EXCLUSIVE MODE"))
        sent(scene.kafka.news, calm(feed, 3000))
        wait_until(lambda: monitor.metric(LAG, kafka_topic=scene.kafka.news) == 3000, 30, "all of it is lag")
        sent(scene.kafka.news, calm(feed, 2000))
        wait_until(lambda: monitor.metric(LAG, kafka_topic=scene.kafka.news) == 5000, 30, "the lag grows")
    engine.dispose()
    wait_until(lambda: document_count(scene) == 5050, 90, "all documents")
    wait_until(lambda: monitor.metric(LAG, kafka_topic=scene.kafka.news) == 0, 30, "no lag")
    assert monitor.stop() == 0


def test_the_lag_is_never_zero_at_a_start_with_a_backlog(scene: Scene, sent: Send) -> None:
    scene.prepare()
    sent(scene.kafka.news, calm(SampleFeed("backlog"), 12_000))
    engine = create_engine(scene.database_url)
    seen: list[float] = []
    with engine.connect() as blocking:
        blocking.execute(text("LOCK TABLE offsets IN EXCLUSIVE MODE"))
        monitor = scene.start(module="tests.faults.worker")
        for _ in range(50):
            if (value := monitor.metric(LAG, kafka_topic=scene.kafka.news)) is not None:
                seen.append(value)
            time.sleep(0.2)
    engine.dispose()
    assert seen and min(seen) > 0 and seen[-1] == 12_000, seen
    assert monitor.stop() == 0


def test_new_partitions_are_read_soon_and_a_stopped_worker_goes_on(scene: Scene, sent: Send) -> None:
    scene.prepare()
    feed, expected = SampleFeed("new"), 0
    workers = [
        scene.start(
            module="tests.faults.worker",
            MONITOR_KAFKA__METADATA_SECONDS="5",
            MONITOR_STREAM__STUCK_SECONDS="40",
        )
        for _ in range(2)
    ]
    admin = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers)
    admin.create_partitions({scene.kafka.news: 8})
    admin.close()
    producer = KafkaProducer(bootstrap_servers=scene.kafka.bootstrap_servers)

    def send_to_all(number: int) -> None:
        nonlocal expected
        for partition in range(8):
            for message in calm(feed, number):
                producer.send(scene.kafka.news, json.dumps(message).encode(), partition=partition)
        producer.flush()
        expected += 8 * number

    send_to_all(20)
    wait_until(lambda: document_count(scene) == expected, 45, "the documents of the new partitions")

    def shown() -> set[str]:
        return {
            number for worker in workers for number, value in lags(worker, scene).items() if value is not None
        }

    wait_until(lambda: len(shown()) == 8, 20, "the lag of every partition")

    workers[0].process.send_signal(signal.SIGSTOP)
    send_to_all(20)
    time.sleep(60)
    workers[0].process.send_signal(signal.SIGCONT)
    send_to_all(20)
    wait_until(lambda: document_count(scene) == expected, 90, "all documents")
    time.sleep(5)
    assert [worker.process.poll() for worker in workers] == [None, None]
    producer.close()
    assert [worker.stop() for worker in workers] == [0, 0]


@pytest.fixture
def lone_broker(tmp_path: Path) -> Iterator[Kafka]:
    """A broker of this test alone, which it may stop and whose log it may cut."""
    with need(lambda: Kafka(tmp_path / "kafka")) as broker:
        yield broker


@pytest.fixture
def cut_scene(scene: Scene, lone_broker: Kafka) -> Scene:
    scene.kafka = scene.kafka.model_copy(
        update={"bootstrap_servers": lone_broker.bootstrap, "partitions": 1, "group": scene.kafka.group}
    )
    scene.environ |= {
        "MONITOR_KAFKA__BOOTSTRAP_SERVERS": lone_broker.bootstrap,
        "MONITOR_KAFKA__PARTITIONS": "1",
    }
    scene.prepare()
    return scene


def cut_log(broker: Kafka, topic: str, keep: int) -> None:
    """Cut the stopped broker's log of a partition to its first batches, as a crash without fsync does.

    Each batch must hold one message.
    """
    folder = broker.folder / "data" / f"{topic}-0"
    segment = folder / "00000000000000000000.log"
    data, at = segment.read_bytes(), 0
    for _ in range(keep):
        at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
    segment.write_bytes(data[:at])
    for file in (*folder.glob("*.index"), *folder.glob("*.timeindex"), *folder.glob("*.snapshot")):
        file.unlink()
    for name in (".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "replication-offset-checkpoint"):
        (broker.folder / "data" / name).unlink(missing_ok=True)


def send_one_by_one(scene: Scene, messages: list[Any]) -> None:
    producer = KafkaProducer(bootstrap_servers=scene.kafka.bootstrap_servers)
    for message in messages:
        producer.send(scene.kafka.news, json.dumps(message).encode()).get(20)
    producer.close()


def test_a_log_that_was_cut_and_has_grown_again_past_the_offset_in_sql_is_refused(
    cut_scene: Scene, lone_broker: Kafka
) -> None:
    scene, feed = cut_scene, SampleFeed("cut")
    send_one_by_one(scene, calm(feed, 30))
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: document_count(scene) == 30, 60, "the documents")
    assert monitor.stop() == 0
    assert execute(scene, "SELECT next_offset, leader_epoch IS NULL FROM offsets") == [(30, False)]

    lone_broker.stop(signal.SIGTERM)
    cut_log(lone_broker, scene.kafka.news, 20)
    lone_broker.start()
    send_one_by_one(scene, calm(feed, 25))

    refused = scene.command("run")
    error, name = refused.stderr.decode(), f"{scene.kafka.news}:0"
    assert refused.returncode == 1 and "the log was cut at 20" in error, error
    assert f"monitor offsets reset {name} --to 20" in error
    done = scene.command("offsets", "reset", name, "--to", "20")
    assert done.returncode == 0, done.stderr.decode()
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: document_count(scene) == 55, 60, "every document, those that were cut off too")
    assert monitor.stop() == 0


def test_a_log_that_is_cut_while_a_monitor_runs_ends_it(cut_scene: Scene, lone_broker: Kafka) -> None:
    scene, feed = cut_scene, SampleFeed("cut running")
    send_one_by_one(scene, calm(feed, 30))
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: document_count(scene) == 30, 60, "the documents")
    lone_broker.stop(signal.SIGTERM)
    cut_log(lone_broker, scene.kafka.news, 20)
    lone_broker.start()
    send_one_by_one(scene, calm(feed, 25))
    wait_until(lambda: monitor.process.poll() is not None, 60, "the end of the process")
    assert monitor.process.poll() == 1
    log = monitor.log.read_text()
    assert "the log was cut at 20" in log and "monitor offsets reset" in log
    assert document_count(scene) == 30, "nothing of the new log is written"


def test_messages_that_expire_while_a_monitor_is_behind_end_it(cut_scene: Scene) -> None:
    scene, feed = cut_scene, SampleFeed("expired running")
    send_one_by_one(scene, calm(feed, 10))
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: document_count(scene) == 10, 60, "the documents")
    os.kill(monitor.process.pid, signal.SIGSTOP)
    send_one_by_one(scene, calm(feed, 20))
    admin = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(scene.kafka.news, 0): 25})
    admin.close()
    os.kill(monitor.process.pid, signal.SIGCONT)
    # What the client had fetched before it stood still may still be written.
    wait_until(lambda: monitor.process.poll() is not None or document_count(scene) == 30, 60, "the end")
    if document_count(scene) < 30:
        log = monitor.log.read_text()
        assert monitor.process.poll() == 1 and "deleted before they were read" in log
        assert "monitor offsets skip" in log


def test_an_old_commit_that_kafka_no_longer_holds_is_no_loss(cut_scene: Scene) -> None:
    scene, feed = cut_scene, SampleFeed("old commit")
    send_one_by_one(scene, calm(feed, 30))
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: document_count(scene) == 30, 60, "the documents")
    assert monitor.stop() == 0
    admin, partition = (
        KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers),
        TopicPartition(scene.kafka.news, 0),
    )
    admin.delete_records({partition: 25})
    moved = admin.alter_group_offsets(scene.kafka.group, {partition: OffsetAndMetadata(20, "", -1)})
    admin.close()
    assert not moved[partition].errno
    shown = news_offsets(scene)
    assert (shown["committed"], shown["log_start"], shown["problem"]) == (20, 25, None)
    send_one_by_one(scene, calm(feed, 5))
    monitor = scene.start(module="tests.faults.worker", MONITOR_STREAM__HEARTBEAT_SECONDS="0")
    wait_until(lambda: document_count(scene) == 35, 60, "the new documents")
    assert "Kafka does not hold offset 20" in monitor.log.read_text()
    assert monitor.stop() == 0

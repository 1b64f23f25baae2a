"""A database that was restored from a backup or is new: no message is skipped unless the operator says so."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient
from kafka.structs import TopicPartition
from sqlalchemy import create_engine, text

from monitor.demo.sample import SampleFeed
from tests.conftest import Scene, calm, execute, news_offsets, read_topic
from tests.parts import wait_until


def document_count(scene: Scene) -> int:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        documents = connection.execute(text("SELECT count(*) FROM documents")).scalar_one()
    engine.dispose()
    return int(documents)


def empty_database(scene: Scene) -> None:
    """Put the database into the state of an old backup: the documents and the offsets are gone."""
    engine = create_engine(scene.database_url)
    with engine.begin() as connection:
        for table in ("documents", "aggregates", "offsets"):
            connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()


def test_a_restored_database_is_refused_until_the_operator_decides(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    feed = SampleFeed("restored")
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(60)])
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: document_count(scene) == 60, 60, "the documents")
    running = scene.command("offsets", "rewind")
    assert b"nothing to do" in running.stdout, running.stderr.decode()
    assert monitor.stop() == 0

    empty_database(scene)
    refused = scene.command("run")
    assert refused.returncode == 1
    error_text = refused.stderr.decode()
    assert "60 messages would be skipped" in error_text and "monitor offsets rewind" in error_text
    shown = json.loads(scene.command("offsets", "show", "--json").stdout)
    assert sum(row["committed"] or 0 for row in shown) == 60 and {row["stored"] for row in shown} == {None}

    rewound = scene.command("offsets", "rewind")
    assert rewound.returncode == 0 and b"will be read again" in rewound.stdout
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: document_count(scene) == 60, 60, "all documents again")
    assert monitor.stop() == 0

    empty_database(scene)
    accepted = scene.command("offsets", "accept")
    assert accepted.returncode == 0 and b"skipped for good" in accepted.stdout
    monitor = scene.start(module="tests.faults.worker")
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(5)])
    wait_until(lambda: document_count(scene) == 5, 60, "the documents sent since")
    assert monitor.stop() == 0


Send = Callable[[str, list[Any]], None]


@pytest.fixture
def one_partition(scene: Scene) -> Scene:
    """Topics of one partition, so that offsets are known."""
    scene.kafka = scene.kafka.model_copy(update={"partitions": 1})
    scene.environ["MONITOR_KAFKA__PARTITIONS"] = "1"
    scene.prepare()
    return scene


def read_all(scene: Scene, number: int) -> None:
    """Let a monitor read so many documents, and stop it."""
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: document_count(scene) == number, 60, f"{number} documents")
    assert monitor.stop() == 0


def delete_before(scene: Scene, offset: int) -> None:
    """Kafka's retention has deleted the messages before an offset of news:0."""
    admin = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(scene.kafka.news, 0): offset})
    admin.close()


def doctor_says(scene: Scene, check: str) -> dict[str, Any]:
    findings = json.loads(scene.command("doctor", "--json").stdout)
    return next(finding for finding in findings if finding["check"] == check)


def test_a_log_that_ends_before_the_offset_in_sql_is_refused_and_a_reset_mends_it(
    one_partition: Scene, sent: Send
) -> None:
    scene, feed = one_partition, SampleFeed("truncated")
    sent(scene.kafka.news, calm(feed, 100))
    read_all(scene, 100)
    execute(scene, "UPDATE offsets SET next_offset = next_offset + 50")

    refused = scene.command("run")
    error = refused.stderr.decode()
    assert refused.returncode == 1 and "Kafka holds offsets 0 up to 100, but SQL is at 150" in error
    name = f"{scene.kafka.news}:0"
    assert f"monitor offsets reset {name} --to 100" in error
    assert "SQL is at 150" in doctor_says(scene, "offsets")["detail"]
    assert "TRUNCATED" in scene.command("offsets", "show").stdout.decode()
    shown = news_offsets(scene)
    assert (shown["problem"], shown["log_start"], shown["log_end"]) == ("truncated", 0, 100)

    beyond = scene.command("offsets", "reset", name, "--to", "101")
    assert beyond.returncode == 1 and b"--to must be among them" in beyond.stderr
    done = scene.command("offsets", "reset", name, "--to", "0")
    assert done.returncode == 0, done.stderr.decode()
    assert doctor_says(scene, "offsets")["ok"]
    sent(scene.kafka.news, calm(feed, 60))
    read_all(scene, 160)


def test_messages_that_expired_unread_are_refused_and_a_skip_continues_without_them(
    one_partition: Scene, sent: Send
) -> None:
    scene, feed = one_partition, SampleFeed("expired")
    sent(scene.kafka.news, calm(feed, 20))
    read_all(scene, 20)
    sent(scene.kafka.news, calm(feed, 30))
    delete_before(scene, 20)
    assert doctor_says(scene, "offsets")["ok"], "everything that was deleted had been read"
    delete_before(scene, 40)

    refused = scene.command("run")
    error, name = refused.stderr.decode(), f"{scene.kafka.news}:0"
    assert refused.returncode == 1 and "up to 20 messages were deleted before they were read" in error
    words = ("offsets", "skip", name, "--from", "20", "--to", "39")
    assert "monitor " + " ".join(words) in error
    assert not doctor_says(scene, "offsets")["ok"]
    done = scene.command(*words, "--why", "the outage")
    assert done.returncode == 0, done.stderr.decode()
    read_all(scene, 30)
    ((offset, reason, detail),) = execute(scene, "SELECT kafka_offset, reason, detail FROM dead_letters")
    assert (offset, reason) == (20, "skipped") and "offsets 20 to 39 (20): the outage" in detail
    ((_, letter),) = read_topic(scene.kafka.bootstrap_servers, scene.kafka.dead_letters, 1)
    assert (letter["reason"], letter["topic"], letter["offset"]) == ("skipped", scene.kafka.news, 20)


def test_a_skip_steps_over_exactly_the_range_that_is_named(one_partition: Scene, sent: Send) -> None:
    scene, feed = one_partition, SampleFeed("skip")
    sent(scene.kafka.news, calm(feed, 10))
    read_all(scene, 10)
    sent(scene.kafka.news, calm(feed, 10))
    name = f"{scene.kafka.news}:0"

    def skip(*words: str) -> tuple[int, str]:
        done = scene.command("offsets", "skip", *words)
        return done.returncode, (done.stdout + done.stderr).decode()

    unclear = [
        ((name,), 2, "--from"),
        ((name, "--from", "10"), 2, "--to"),
        ((name, "--from", "12", "--to", "10"), 2, "--to 10 is before --from 12"),
        ((scene.kafka.news, "--from", "10", "--to", "10"), 2, "TOPIC:PARTITION was expected"),
        (("nowhere:0", "--from", "10", "--to", "10"), 1, "'nowhere' is not read"),
        ((f"{scene.kafka.news}:7", "--from", "10", "--to", "10"), 1, "no such partition"),
        ((name, "--from", "12", "--to", "13"), 1, "skip them too with --from 10"),
        ((name, "--from", "0", "--to", "9"), 1, "nothing to skip"),
        ((name, "--from", "10", "--to", "20"), 1, "the log ends before offset 20"),
    ]
    for words, status, what in unclear:
        returned, output = skip(*words)
        assert returned == status and what in output, (words, output)
    assert execute(scene, "SELECT next_offset FROM offsets") == [(10,)]

    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: document_count(scene) == 20, 60, "all documents")
    sent(scene.kafka.news, calm(feed, 5))
    returned, output = skip(name, "--from", "20", "--to", "21")
    assert returned == 1 and ("stop every monitor" in output or "nothing to skip" in output)
    assert monitor.stop() == 0
    sent(scene.kafka.news, calm(feed, 5))
    returned, output = skip(name, "--from", "20", "--to", "26")
    assert (returned, "offsets 25 to 26" in output) == (0, True), output
    read_all(scene, 28)


def test_replay_restores_lost_documents_while_the_stream_runs(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    feed, before = SampleFeed("lost"), datetime.now(UTC) - timedelta(minutes=1)
    sent(scene.kafka.news, [*[feed.calm(datetime.now(UTC)).message for _ in range(60)], b"no JSON"])
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: document_count(scene) == 60, 60, "the documents")
    engine = create_engine(scene.database_url)
    with engine.begin() as connection:
        some = "SELECT source, id FROM documents ORDER BY id LIMIT 20"
        connection.execute(text(f"DELETE FROM documents WHERE (source, id) IN ({some})"))
    engine.dispose()
    replayed = scene.command("replay", "--from", before.isoformat())
    summary = replayed.stdout.decode()
    assert replayed.returncode == 0, replayed.stderr.decode()
    assert "61 messages read, 20 documents restored, 1 cannot be read, 0 stories corrected" in summary
    assert "0 rows of the aggregates corrected" not in summary, (
        "the sums still included the deleted documents"
    )
    assert document_count(scene) == 60
    again = scene.command("replay", "--from", before.isoformat()).stdout.decode()
    assert "0 documents restored" in again and "0 rows of the aggregates corrected" in again

    relabelled = scene.command("relabel", "--from", before.isoformat())
    assert relabelled.returncode == 0 and b"40 documents classified by monitor-" in relabelled.stdout
    recounted = scene.command("replay", "--from", before.isoformat(), "--recount-only")
    assert b"0 rows of the aggregates corrected" in recounted.stdout
    assert monitor.stop() == 0

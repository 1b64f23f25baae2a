"""A database that was restored from a backup or is new: no message is skipped unless the operator says so."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import create_engine, text

from monitor.demo.sample import SampleFeed
from tests.conftest import Scene
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
    assert sum(row["committed"] for row in shown) == 60 and {row["stored"] for row in shown} == {None}

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
    assert "61 messages read, 20 documents restored, 1 cannot be read" in summary
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

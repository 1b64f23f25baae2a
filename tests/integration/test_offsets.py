"""A database that was restored from an older state, or is new: nothing is left out without being asked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import create_engine, text

from monitor.demo.sample import SampleFeed
from tests.conftest import Scene
from tests.parts import wait_until


def count(scene: Scene) -> int:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM documents")).scalar_one()
    engine.dispose()
    return int(found)


def forget(scene: Scene) -> None:
    """The database as a backup of earlier had it: the last documents and what was read of them are gone."""
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
    wait_until(lambda: count(scene) == 60, 60, "the documents")
    running = scene.command("offsets", "rewind")
    assert b"nothing to do" in running.stdout, running.stderr.decode()
    assert monitor.stop() == 0

    forget(scene)
    refused = scene.command("run")
    assert refused.returncode == 1
    told = refused.stderr.decode()
    assert "60 messages would be left out" in told and "monitor offsets rewind" in told
    shown = json.loads(scene.command("offsets", "show", "--json").stdout)
    assert sum(row["committed"] for row in shown) == 60 and {row["stored"] for row in shown} == {None}

    rewound = scene.command("offsets", "rewind")
    assert rewound.returncode == 0 and b"will be read again" in rewound.stdout
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: count(scene) == 60, 60, "all of them again")
    assert monitor.stop() == 0

    forget(scene)
    accepted = scene.command("offsets", "accept")
    assert accepted.returncode == 0 and b"left out for good" in accepted.stdout
    monitor = scene.start(module="tests.faults.worker")
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(5)])
    wait_until(lambda: count(scene) == 5, 60, "what came since")
    assert monitor.stop() == 0


def test_documents_that_the_database_lost_are_read_again_while_the_stream_runs(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    feed, before = SampleFeed("lost"), datetime.now(UTC) - timedelta(minutes=1)
    sent(scene.kafka.news, [*[feed.calm(datetime.now(UTC)).message for _ in range(60)], b"no JSON"])
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: count(scene) == 60, 60, "the documents")
    engine = create_engine(scene.database_url)
    with engine.begin() as connection:
        some = "SELECT source, id FROM documents ORDER BY id LIMIT 20"
        connection.execute(text(f"DELETE FROM documents WHERE (source, id) IN ({some})"))
    engine.dispose()
    replayed = scene.command("replay", "--from", before.isoformat())
    told = replayed.stdout.decode()
    assert replayed.returncode == 0, replayed.stderr.decode()
    assert "61 messages read, 20 documents restored, 1 cannot be read" in told
    assert "0 rows of the aggregates corrected" not in told, "the sums still had the lost ones"
    assert count(scene) == 60
    again = scene.command("replay", "--from", before.isoformat()).stdout.decode()
    assert "0 documents restored" in again and "0 rows of the aggregates corrected" in again

    relabelled = scene.command("relabel", "--from", before.isoformat())
    assert relabelled.returncode == 0 and b"40 documents classified by monitor-" in relabelled.stdout
    recounted = scene.command("replay", "--from", before.isoformat(), "--recount-only")
    assert b"0 rows of the aggregates corrected" in recounted.stdout
    assert monitor.stop() == 0

"""A database that was restored from an older state, or is new: nothing is left out without being asked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import create_engine, text

from monitor.sample import SampleFeed
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


def test_a_restored_database_is_refused_until_it_was_said_what_to_do(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    feed = SampleFeed("restored")
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(60)])
    monitor = scene.start()
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
    monitor = scene.start()
    wait_until(lambda: count(scene) == 60, 60, "all of them again")
    assert monitor.stop() == 0

    forget(scene)
    accepted = scene.command("offsets", "accept")
    assert accepted.returncode == 0 and b"left out for good" in accepted.stdout
    monitor = scene.start()
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(5)])
    wait_until(lambda: count(scene) == 5, 60, "what came since")
    assert monitor.stop() == 0

"""Record batches that cannot be read, on a real broker: the monitor steps over them and lives."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from stream.storage import schema
from tests.batches import GZIP, LZ4, MIB, SNAPPY, ZSTD, batch, bomb, produce
from tests.conftest import Running, Scene, read_topic
from tests.parts import Kafka, wait_until

# Eight times kafka.max_batch_bytes.
MEMORY_KB = 8 * 32_768


@pytest.fixture
def one_partition(scene: Scene) -> Scene:
    scene.environ |= {"MONITOR_KAFKA__PARTITIONS": "1"}
    scene.prepare()
    return scene


def message(name: str) -> bytes:
    text = {"id": name, "title": f"Profit of {name} doubles", "published_at": datetime.now(UTC).isoformat()}
    return json.dumps(text).encode()


def peak_kb(monitor: Running) -> int:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{monitor.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def rows(scene: Scene, *columns: Any) -> list[tuple[Any, ...]]:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(select(*columns))]
    engine.dispose()
    return sorted(found)


def ids(scene: Scene) -> set[str]:
    return {row[0] for row in rows(scene, schema.documents.c.id)}


def refused(scene: Scene) -> list[tuple[int, str]]:
    return [tuple(r) for r in rows(scene, schema.dead_letters.c.kafka_offset, schema.dead_letters.c.reason)]


def send(scene: Scene, batches: Sequence[bytes]) -> None:
    for one in batches:
        assert produce(scene.kafka.bootstrap_servers, scene.kafka.news, one) == 0


def test_bombs_are_stepped_over_with_little_memory_and_after_a_restart_too(one_partition: Scene) -> None:
    scene = one_partition
    bombs = [
        bomb(ZSTD, 1900 * MIB),
        bomb(GZIP, 256 * MIB),
        bomb(LZ4, 512 * MIB),
        bomb(SNAPPY, 64 * MIB),
    ]
    just_below = [bomb(ZSTD, 30 * MIB)] * 12
    monitor = scene.start(module="tests.faults.worker")
    before = peak_kb(monitor)
    for number, one in enumerate(bombs):
        send(scene, [batch([message(f"g{number}")], codec=number % 5), one])
    send(scene, [*just_below, batch([message("last")], ZSTD)])
    wait_until(lambda: "last" in ids(scene), 90, "the message behind the bombs")
    assert ids(scene) == {"g0", "g1", "g2", "g3", "last"}
    letters = refused(scene)
    assert [offset for offset, reason in letters if reason == "batch_too_large"] == [1, 3, 5, 7]
    assert sum(reason == "too_large" for _, reason in letters) == 12
    assert peak_kb(monitor) - before < MEMORY_KB
    (key, letter), *_ = [
        (key, value)
        for key, value in read_topic(scene.kafka.bootstrap_servers, scene.kafka.dead_letters, 16)
        if value["offset"] == 1
    ]
    assert str(key).startswith(f"{scene.kafka.news}[0]@1..1") and letter["first_offset"] == 1
    for words in ("offsets 1 to 1", "zstd", "kafka.max_batch_bytes", "monitor replay --from"):
        assert words in letter["detail"]
    assert monitor.get("/readyz")[0] == 200 and monitor.stop() == 0

    engine = create_engine(scene.database_url)
    with engine.begin() as connection:  # as if the process had been killed before the first bomb was noted
        connection.execute(schema.offsets.update().values(next_offset=1))
    engine.dispose()
    assert scene.command("offsets", "rewind").returncode == 0
    send(scene, [batch([message("later")])])
    again = scene.start(module="tests.faults.worker")
    wait_until(lambda: "later" in ids(scene), 60, "a message after the restart")
    assert again.stop() == 0


def test_batches_damaged_on_the_brokers_disk_are_refused_and_replay_reads_the_others(
    one_partition: Scene, kafka: Kafka
) -> None:
    scene = one_partition
    for codec in range(5):
        send(scene, [batch([message(f"g{codec}a"), message(f"g{codec}b")], codec)])
    send(scene, [batch([message("SPOILED"), message("its neighbour")]), bomb(ZSTD, 500 * MIB)])
    send(scene, [batch([message("after")], LZ4)])
    segment = kafka.folder / "data" / f"{scene.kafka.news}-0" / f"{0:020}.log"
    stored = segment.read_bytes()
    with segment.open("r+b") as file:
        file.seek(stored.index(b"SPOILED"))
        file.write(b"spoiled")
    monitor = scene.start(module="tests.faults.worker")
    wait_until(lambda: "after" in ids(scene), 60, "the message behind the damaged batch")
    good = {f"g{codec}{letter}" for codec in range(5) for letter in "ab"} | {"after"}
    assert ids(scene) == good
    assert refused(scene) == [(11, "undecodable_batch"), (12, "batch_too_large")]
    assert monitor.metric("sentiment_missing_offsets_total") == 0
    assert monitor.stop() == 0

    engine = create_engine(scene.database_url)
    with engine.begin() as connection:
        connection.execute(schema.documents.delete().where(schema.documents.c.id != "after"))
    engine.dispose()
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    done = scene.command("replay", "--from", since)
    assert done.returncode == 0, done.stderr.decode()
    assert ids(scene) == good, "replay reads every codec"

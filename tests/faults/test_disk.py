"""Disks that are full: under SQLite, and under the log."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream.storage import database
from stream.storage.settings import DatabaseSettings
from tests.conftest import need
from tests.faults.oracle import Reference, send, stored, stream
from tests.faults.stage import PARTITIONS, Stage, drain
from tests.parts import Kafka, PartMissing, wait_until


def mount(folder: Path) -> Path:
    """A disk of its own, of sixteen megabytes."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        raise PartMissing(f"no disk can be mounted: {done.stderr.decode()}")
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    made = need(lambda: mount(tmp_path / "disk"))
    yield made
    subprocess.run(["umount", str(made)], check=True)


def test_a_full_disk_under_sqlite_is_waited_out_and_told_of(kafka: Kafka, disk: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{disk}/monitor.db"
    database.upgrade(DatabaseSettings.model_validate({"url": url}))
    stage = Stage.make(0, kafka, url, tmp_path)
    now = datetime.now(UTC)
    messages = stream(5, 600, PARTITIONS, now)
    expected = Reference(stage.topics).read(messages, now)
    try:
        worker = stage.start()
        wait_until(worker.is_ready, 60, "the worker is ready")
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        send(messages, stage.topics, kafka.bootstrap)
        wait_until(lambda: "full" in worker.get("/readyz")[1], 60, "the full disk is told of")
        assert worker.get("/readyz")[0] == 503
        (disk / "filler").unlink()
        drain(stage, expected, [worker])
        assert expected.differences(stored(url)) == {}
        wait_until(worker.is_ready, 30, "the worker is ready again")
        assert worker.stop() == 0
    finally:
        stage.close()


def test_a_log_that_cannot_be_written_is_counted_and_harms_nothing(kafka: Kafka, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/monitor.db"
    database.upgrade(DatabaseSettings.model_validate({"url": url}))
    stage = Stage.make(0, kafka, url, tmp_path)
    now = datetime.now(UTC)
    messages = stream(6, 300, PARTITIONS, now)
    (tmp_path / "0-0.log").symlink_to("/dev/full")
    try:
        worker = stage.start()
        send(messages, stage.topics, kafka.bootstrap)
        expected = Reference(stage.topics).read(messages, now)
        drain(stage, expected, [worker])
        assert expected.differences(stored(url)) == {}
        assert worker.metric("sentiment_log_lines_lost_total")
        assert worker.stop() == 0
    finally:
        stage.close()

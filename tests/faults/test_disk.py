"""A full disk under SQLite and under the log file."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream.storage import database
from stream.storage.settings import DatabaseSettings
from tests.conftest import need
from tests.faults.contents import read_database
from tests.faults.oracle import Reference, generate_messages, send
from tests.faults.sandbox import PARTITIONS, Sandbox, wait_until_drained
from tests.parts import Kafka, PartMissing, wait_until


def mount(folder: Path) -> Path:
    """Mount a separate 16 MB file system."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        raise PartMissing(f"cannot mount a file system: {done.stderr.decode()}")
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = need(lambda: mount(tmp_path / "disk"))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_the_monitor_waits_while_the_disk_of_sqlite_is_full_and_reports_it(
    kafka: Kafka, disk: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{disk}/monitor.db"
    database.upgrade(DatabaseSettings.model_validate({"url": url}))
    sandbox = Sandbox.make(0, kafka, url, tmp_path)
    now = datetime.now(UTC)
    messages = generate_messages(5, 600, PARTITIONS, now)
    expected = Reference(sandbox.topics).read(messages, now)
    try:
        worker = sandbox.start()
        wait_until(worker.is_ready, 60, "the worker is ready")
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        send(messages, sandbox.topics, kafka.bootstrap)
        wait_until(lambda: "full" in worker.get("/readyz")[1], 60, "readyz reports the full disk")
        assert worker.get("/readyz")[0] == 503
        (disk / "filler").unlink()
        wait_until_drained(sandbox, expected, [worker])
        assert expected.differences(read_database(url)) == {}
        wait_until(worker.is_ready, 30, "the worker is ready again")
        assert worker.stop() == 0
    finally:
        sandbox.close()


def test_log_lines_that_cannot_be_written_are_counted_and_processing_continues(
    kafka: Kafka, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/monitor.db"
    database.upgrade(DatabaseSettings.model_validate({"url": url}))
    sandbox = Sandbox.make(0, kafka, url, tmp_path)
    now = datetime.now(UTC)
    messages = generate_messages(6, 300, PARTITIONS, now)
    (tmp_path / "0-0.log").symlink_to("/dev/full")
    try:
        worker = sandbox.start()
        send(messages, sandbox.topics, kafka.bootstrap)
        expected = Reference(sandbox.topics).read(messages, now)
        wait_until_drained(sandbox, expected, [worker])
        assert expected.differences(read_database(url)) == {}
        assert worker.metric("sentiment_log_lines_lost_total")
        assert worker.stop() == 0
    finally:
        sandbox.close()

"""The image: built, and its daemon at work amid the tests' Kafka and PostgreSQL."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from monitor.demo.sample import SampleFeed
from tests.conftest import Running, Scene, need
from tests.image import Image
from tests.parts import free_port, temporary_folder, wait_until


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = temporary_folder("image-")
    try:
        yield need(lambda: Image(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def contained(image: Image, scene: Scene) -> Iterator[Callable[..., list[str]]]:
    """The command line that runs something in a container of the image, amid the tests' Kafka and PostgreSQL."""
    container = image.container()
    host = Path(str(make_url(scene.database_url).query["host"]))
    host.chmod(0o755)
    settings = {key: value for key, value in scene.environ.items() if key.startswith("MONITOR_")}
    own = [word for key, value in settings.items() for word in ("--env", f"{key}={value}")]

    def command(*words: str, port: int = 9108) -> list[str]:
        port_words = ("--env", f"MONITOR_HTTP__PORT={port}", "-v", f"{host}:{host}:rw")
        return image.command("run", *own, *port_words, container, "--", *words)

    yield command
    image.buildah("rm", container)


def written(image: Image, contained: Callable[..., list[str]]) -> set[str]:
    """Files that the monitor's user owns, outside of /tmp."""
    find = "find / -xdev -user 10001 -type f -not -path '/tmp/*' -not -path '/proc/*'"
    done = subprocess.run(contained("sh", "-c", find), check=False, capture_output=True, env=image.environ)
    return set(done.stdout.decode().split())


def daemon_pid() -> int:
    """The monitor inside the container; buildah itself passes no signals on."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:1] == [b"/opt/monitor/bin/python3"] and b"run" in words:
                return int(entry.name)
    raise AssertionError("no monitor runs in the container")


@pytest.mark.timeout(1500)
def test_the_image_builds_and_its_daemon_runs_as_an_unprivileged_user(
    image: Image,
    contained: Callable[..., list[str]],
    scene: Scene,
    sent: Callable[[str, list[Any]], None],
    tmp_path: Path,
) -> None:
    config = image.inspect()
    assert config["User"] == "10001" and config["Healthcheck"]["Test"] == ["CMD", "monitor", "healthy"]
    who = subprocess.run(contained("id", "-u"), check=True, capture_output=True, env=image.environ)
    assert who.stdout.strip() == b"10001"
    built = "import importlib.util as i, shutil; print(bool(i.find_spec('models.backends.native._native')), shutil.which('g++'))"
    found = subprocess.run(
        contained("python3", "-c", built), check=True, capture_output=True, env=image.environ, cwd="/"
    )
    assert found.stdout.split() == [b"True", b"None"]
    for words in (("topics", "create"), ("db", "upgrade"), ("rules", "check", "/dev/null")):
        done = subprocess.run(
            contained("monitor", *words), check=False, capture_output=True, env=image.environ
        )
        assert (done.returncode == 0) is (words[0] != "rules"), done.stderr.decode()

    before = written(image, contained)
    port, log = free_port(), tmp_path / "container.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            contained("monitor", "run", port=port), stdout=out, stderr=subprocess.STDOUT, env=image.environ
        )
    scene.processes.append(process)
    running = Running(process, f"http://127.0.0.1:{port}", log)
    wait_until(running.is_ready, 120, "the monitor in the container is ready")
    assert '"message": "monitor running: model ' in log.read_text()
    feed = SampleFeed("image")
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(100)])
    wait_until(lambda: running.metric("sentiment_documents_total", outcome="ok"), 60, "documents are judged")
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM documents")).scalar()
    engine.dispose()
    healthy = subprocess.run(
        contained("monitor", "healthy", port=port), check=False, capture_output=True, env=image.environ
    )
    assert healthy.returncode == 0 and b"alive" in healthy.stdout
    assert written(image, contained) == before, "compose.yaml gives it a read-only root"
    os.kill(daemon_pid(), 15)
    assert process.wait(60) == 0, log.read_text()[-2000:]
    gone = subprocess.run(
        contained("monitor", "healthy", port=port), check=False, capture_output=True, env=image.environ
    )
    assert gone.returncode == 1

"""The endpoint, the log, the sample feed and the loops of the roof."""

import gc
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from monitor.demo.sample import COMMENTS, NEWS, SampleFeed
from monitor.runtime.daemon import tuned_interpreter
from monitor.runtime.http import Endpoint
from monitor.runtime.log import JsonFormatter
from monitor.runtime.settings import HttpSettings, SettingsError
from monitor.runtime.tasks import Loop, Watchdog
from stream.domain.documents import printable
from stream.domain.errors import StoreUnavailable
from stream.kafka.settings import KafkaSettings
from stream.metrics import StreamMetrics
from tests.conftest import ROOT

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def get(url: str) -> tuple[int, str]:
    answer = httpx.get(url, timeout=5)
    return answer.status_code, answer.text


def test_the_endpoint_serves_metrics_health_and_readiness() -> None:
    registry, troubles = CollectorRegistry(), ["no broker answers"]
    Counter("things", "Things", registry=registry).inc(3)
    endpoint = Endpoint(HttpSettings(port=0), registry, lambda: troubles, lambda path: None)
    try:
        assert "things_total 3.0" in get(f"{endpoint.url}/metrics")[1]
        assert get(f"{endpoint.url}/healthz")[0] == 200
        assert get(f"{endpoint.url}/readyz") == (503, '{"ready": false, "troubles": ["no broker answers"]}\n')
        troubles.clear()
        assert get(f"{endpoint.url}/readyz")[0] == 200
        assert get(f"{endpoint.url}/else")[0] == 404
        port = int(endpoint.url.rsplit(":", 1)[1])
        with pytest.raises(SettingsError, match="cannot be used"):
            Endpoint(HttpSettings(port=port), registry, list, lambda path: None)
    finally:
        endpoint.close()


def test_a_json_log_line_is_one_object_whatever_it_says() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "f", 1, "odd %s", ('"\n',), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == 'odd "\n'
    assert json.loads(line)["level"] == "warning"


def test_a_log_that_is_full_at_the_very_end_does_not_change_the_exit_status() -> None:
    code = (
        "import sys; from monitor.runtime import log; from monitor.runtime.settings import LogSettings; log.set_up(LogSettings());"
        "sys.stderr.reconfigure(line_buffering=False, write_through=False); sys.stderr.write('no line')"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], check=False, stderr=full, cwd=ROOT)
    assert done.returncode == 0


def test_the_sample_feed_is_varied_stamped_and_tells_the_same_story_twice() -> None:
    feeds = [list(SampleFeed("run").history(NOW, timedelta(minutes=15), 2.0)) for _ in range(2)]
    assert feeds[0] == feeds[1]
    messages = [sample.message for sample in feeds[0]]
    assert len(messages) == 1800
    assert len({m["id"] for m in messages}) == 1800
    stamps = [datetime.fromisoformat(str(m["published_at"])) for m in messages]
    assert stamps == sorted(stamps)
    assert NOW - timedelta(minutes=15) <= stamps[0] and stamps[-1] <= NOW
    assert len({m.get("title") or m.get("text") for m in messages}) > 700
    assert len(NEWS) + len(COMMENTS) >= 70


def test_a_headline_cannot_steer_the_terminal() -> None:
    assert printable("up\x1b[2J \x07 5%\n[bold]") == "up [2J   5% [bold]"


class Steps:
    """What a loop calls: raises the given errors one after another."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors, self.done = list(errors), threading.Event()

    def __call__(self) -> None:
        if not self.errors:
            self.done.set()
            return
        error = self.errors.pop(0)
        if error:
            raise error


def test_a_loop_waits_out_an_absent_database_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    steps, stopping, failures = (
        Steps(StoreUnavailable("gone"), StoreUnavailable("gone"), None),
        threading.Event(),
        [],
    )
    loop = Loop("alerts", 0.01, steps, stopping, failures.append)
    loop.start()
    assert steps.done.wait(5)
    stopping.set()
    loop.join(5)
    assert failures == []
    said = [record.message for record in caplog.records]
    assert said == ["alerts: waiting: gone", "alerts: goes on"]


def test_any_other_error_of_a_loop_ends_the_monitor() -> None:
    failures: list[BaseException] = []
    error = ZeroDivisionError()
    loop = Loop("alerts", 0.01, Steps(error), threading.Event(), failures.append)
    loop.start()
    loop.join(5)
    assert failures == [error]


@dataclass
class SeenWorker:
    """What the watchdog sees of a worker: joined and last moved so many seconds ago."""

    joined_at: float | None = 0.0
    last_batch_at: float | None = None
    observed_at: float | None = field(default_factory=time.monotonic)
    waiting: dict[tuple[str, int], int] = field(default_factory=dict)
    caught_up: dict[tuple[str, int], float] = field(default_factory=dict)


class SeenStore:
    def ping(self) -> None:
        """Answers at once."""


class SeenPipeline:
    trouble: str | None = None


BACKLOG = {("news", 0): 5, ("news", 1): 0}


@pytest.fixture
def listening() -> Iterator[KafkaSettings]:
    """A broker as far as a probe can tell."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield KafkaSettings(bootstrap_servers=f"127.0.0.1:{server.getsockname()[1]}")


def watchdog(worker: SeenWorker, kafka: KafkaSettings, pipeline: object = None) -> Watchdog:
    made: Any = Watchdog
    parts = (worker, pipeline or SeenPipeline(), SeenStore(), kafka, StreamMetrics(), 0.05)
    return cast(Watchdog, made(*parts))


def look_twice(dog: Watchdog) -> None:
    dog.once()
    time.sleep(0.1)
    dog.once()


STUCK = [
    ("messages wait and no batch ends", SeenWorker(waiting=BACKLOG), "5 messages wait and no batch"),
    ("the group is never joined", SeenWorker(joined_at=None), "was not joined"),
    ("the worker stopped looking at itself", SeenWorker(observed_at=0.0), "no batch was committed"),
]


@pytest.mark.parametrize(("what", "worker", "said"), STUCK, ids=[case[0] for case in STUCK])
def test_the_watchdog_ends_what_is_stuck(
    what: str, worker: SeenWorker, said: str, listening: KafkaSettings
) -> None:
    worker.observed_at = worker.observed_at and time.monotonic() + 1000
    with pytest.raises(RuntimeError, match=said):
        look_twice(watchdog(worker, listening))


def test_the_watchdog_lets_rest_and_wait(listening: KafkaSettings) -> None:
    nobody = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    fresh, pipeline = time.monotonic() + 1000, SeenPipeline()
    pipeline.trouble = "database: gone"
    look_twice(watchdog(SeenWorker(observed_at=fresh), listening))
    look_twice(watchdog(SeenWorker(observed_at=fresh, waiting=BACKLOG, last_batch_at=fresh), listening))
    look_twice(watchdog(SeenWorker(waiting=BACKLOG), nobody))
    look_twice(watchdog(SeenWorker(waiting=BACKLOG), listening, pipeline))


def test_a_database_that_froze_is_away_until_it_answers(listening: KafkaSettings) -> None:
    dog = watchdog(SeenWorker(waiting=BACKLOG), listening)
    dog._answered_at = time.monotonic() - 60
    look_twice(dog)
    assert dog.database_away
    dog.ask_database()
    assert not dog.database_away


def test_the_lag_of_a_partition_that_was_given_away_is_no_longer_shown(listening: KafkaSettings) -> None:
    worker = SeenWorker(observed_at=time.monotonic() + 1000, last_batch_at=time.monotonic() + 1000)
    dog = watchdog(worker, listening)
    for worker.waiting, shown in ((BACKLOG, {"0", "1"}), ({("news", 1): 3}, {"1"})):
        dog.once()
        (family,) = dog._metrics.lag.collect()
        assert {sample.labels["partition"] for sample in family.samples} == shown


def test_the_lag_of_a_broker_that_is_away_is_not_known() -> None:
    nobody = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    dog = watchdog(SeenWorker(waiting=BACKLOG, caught_up={("news", 0): 7.0}), nobody)
    dog.once()
    assert dog._metrics.lag.collect()[0].samples == []
    assert [sample.value for sample in dog._metrics.caught_up.collect()[0].samples] == [7.0]


def test_the_interpreter_is_tuned_for_the_stream_alone() -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    with tuned_interpreter():
        assert gc.get_threshold()[0] > before[0][0] and sys.getswitchinterval() < before[1]
        assert gc.get_freeze_count() > before[2]
    assert (gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()) == before

"""The endpoint, the log, the sample feed and the loops of the roof."""

import json
import logging
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Counter

from monitor.http import Endpoint
from monitor.live import printable
from monitor.log import JsonFormatter
from monitor.loops import Loop
from monitor.sample import COMMENTS, NEWS, SampleFeed
from monitor.settings import HttpSettings, SettingsError
from stream.errors import StoreUnavailable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_endpoint_serves_metrics_health_and_readiness() -> None:
    registry, troubles = CollectorRegistry(), ["no broker answers"]
    Counter("things", "Things", registry=registry).inc(3)
    endpoint = Endpoint(HttpSettings(port=0), registry, lambda: troubles)
    try:
        assert "things_total 3.0" in get(f"{endpoint.url}/metrics")[1]
        assert get(f"{endpoint.url}/healthz")[0] == 200
        assert get(f"{endpoint.url}/readyz") == (503, '{"ready": false, "troubles": ["no broker answers"]}\n')
        troubles.clear()
        assert get(f"{endpoint.url}/readyz")[0] == 200
        assert get(f"{endpoint.url}/else")[0] == 404
        port = int(endpoint.url.rsplit(":", 1)[1])
        with pytest.raises(SettingsError, match="cannot be used"):
            Endpoint(HttpSettings(port=port), registry, list)
    finally:
        endpoint.close()


def test_a_json_log_line_is_one_object_whatever_it_says() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "f", 1, "odd %s", ('"\n',), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == 'odd "\n'
    assert json.loads(line)["level"] == "warning"


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

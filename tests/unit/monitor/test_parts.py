"""The HTTP endpoint, the log and the tuned interpreter."""

import gc
import json
import logging
import platform
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from monitor.runtime.build import BuildMetrics, program_version
from monitor.runtime.http import Endpoint
from monitor.runtime.interpreter import tuned_interpreter
from monitor.runtime.log import JsonFormatter
from monitor.runtime.settings import HttpSettings, SettingsError
from stream.domain.documents import printable
from tests.conftest import ROOT


def get(url: str) -> tuple[int, str]:
    answer = httpx.get(url, timeout=5)
    return answer.status_code, answer.text


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
        assert get(f"{endpoint.url}/else")[0] == 503, "the monitor is starting"
        port = int(endpoint.url.rsplit(":", 1)[1])
        with pytest.raises(SettingsError, match="cannot be used"):
            Endpoint(HttpSettings(port=port), CollectorRegistry(), list)
    finally:
        endpoint.close()


def test_a_json_log_line_is_one_object_whatever_the_message_contains() -> None:
    record = logging.LogRecord("a.b", logging.WARNING, "f", 1, "odd %s", ('"\n',), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == 'odd "\n'
    assert json.loads(line)["level"] == "warning"


def test_a_full_disk_at_exit_does_not_change_the_exit_status() -> None:
    code = (
        "import sys; from monitor.runtime import log; from monitor.runtime.settings import LogSettings; log.set_up(LogSettings());"
        "sys.stderr.reconfigure(line_buffering=False, write_through=False); sys.stderr.write('no line')"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], check=False, stderr=full, cwd=ROOT)
    assert done.returncode == 0


def test_the_log_hides_the_internal_messages_of_faust_but_not_its_errors() -> None:
    """In a process of its own, because it changes the log of the whole process."""
    code = (
        "import logging; from monitor.runtime import log; from monitor.runtime.settings import LogSettings\n"
        "from stream.kafka.faust_driver import BundleConsumer\n"
        "log.set_up(LogSettings())\n"
        "BundleConsumer.logger.info('[^-BundleConsumer]: Starting...')\n"
        "BundleConsumer.logger.error('Faust failed')\n"
        "logging.getLogger('stream.worker').info('ours')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert [line.split(": ", 1)[1] for line in done.stderr.splitlines()] == ["Faust failed", "ours"]


def test_a_headline_cannot_send_control_codes_to_the_terminal() -> None:
    assert printable("up\x1b[2J \x07 5%\n[bold]") == "up [2J   5% [bold]"


def test_the_interpreter_is_tuned_only_while_the_stream_runs() -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    with tuned_interpreter():
        assert gc.get_threshold()[0] > before[0][0] and sys.getswitchinterval() < before[1]
        assert gc.get_freeze_count() > before[2]
    assert (gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()) == before


def test_the_versions_that_run_are_a_metric() -> None:
    registry = CollectorRegistry()
    build = BuildMetrics(registry)
    versions = {"version": program_version(), "python": platform.python_version()}
    assert registry.get_sample_value("sentiment_build_info", versions | {"model": ""}) == 1
    build.show_model("house-1")
    assert registry.get_sample_value("sentiment_build_info", versions | {"model": "house-1"}) == 1
    assert registry.get_sample_value("sentiment_build_info", versions | {"model": ""}) is None

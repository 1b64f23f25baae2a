"""The HTTP port, the log and the signals of real monitors, as load balancers, proxies and operators meet them."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from monitor.demo.sample import SampleFeed
from tests.conftest import SURGE_RULES, Desk, Running, Scene
from tests.parts import Receiver, free_port, wait_until

Send = Callable[[str, list[Any]], None]
IDLE_CONNECTIONS = 1_500
# A monitor without a model, which starts sooner.
STAND_IN = ("tests.faults.worker", "stand-in")


def log_lines(monitor: Running) -> list[dict[str, Any]]:
    """Every line of the log; each must be JSON."""
    return [json.loads(line) for line in monitor.log.read_text().splitlines()]


def logged(monitor: Running, text: str) -> int:
    return sum(text in line["message"] for line in log_lines(monitor))


def connect(monitor: Running) -> socket.socket:
    address = urlsplit(monitor.url)
    return socket.create_connection((address.hostname, address.port), timeout=5)


@pytest.fixture
def many_files() -> None:
    """The test opens more sockets than a shell's usual limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * IDLE_CONNECTIONS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * IDLE_CONNECTIONS, hard), hard))


@pytest.mark.usefixtures("many_files")
def test_idle_clients_and_probes_neither_stop_the_monitor_nor_write_past_its_log(
    scene: Scene, sent: Send
) -> None:
    scene.environ |= {"MONITOR_LOG__FORMAT": "json", "MONITOR_HTTP__HEADER_SECONDS": "2"}
    scene.prepare()
    monitor = begin(scene, *STAND_IN, MONITOR_HTTP__MAX_CONNECTIONS="100")
    wait_until(monitor.is_ready, 60, "the monitor is ready")
    soft, hard = resource.prlimit(monitor.process.pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536), "the monitor raised it at its start"
    # Without a cap on connections these few files would be used up.
    resource.prlimit(monitor.process.pid, resource.RLIMIT_NOFILE, (400, 400))
    lines = len(log_lines(monitor))
    feed, done, slowest = SampleFeed("idle"), 0.0, 0.0
    with ExitStack() as stack:
        for data in (b"", b"GET /metrics HTTP/1.1\r\n", b"\x16\x03\x01\x02\0", b"\0" * 100):
            for _ in range(IDLE_CONNECTIONS // 4):
                sock = stack.enter_context(connect(monitor))
                try:
                    sock.sendall(data)
                except ConnectionError:
                    continue
        for _ in range(15):
            sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message])
            done += 1
            for path in ("/healthz", "/readyz", "/metrics"):
                began = time.monotonic()
                status, text = monitor.get(path)
                slowest = max(slowest, time.monotonic() - began)
                assert status == 200, text
            time.sleep(0.5)
        wait_until(lambda: monitor.metric("sentiment_documents_total", kind="news") == done, 30, "documents")
        assert (monitor.metric("process_open_fds") or 0) < 400
    assert slowest < 5
    assert (monitor.metric("sentiment_http_refused_total", reason="evicted") or 0) > 500
    new = [line["message"] for line in log_lines(monitor)[lines:]]
    assert [line for line in new if "max_connections" not in line and "partitions" not in line] == []
    assert logged(monitor, "http.max_connections") == 1
    assert monitor.stop() == 0


def test_sighup_reads_rules_and_log_level_again_and_other_signals_end_nothing(scene: Scene) -> None:
    config, rules = scene.folder / "monitor.toml", scene.folder / "rules.yaml"
    config.write_text('[log]\nformat = "json"\nlevel = "warning"\n')
    rules.write_text(SURGE_RULES)
    scene.environ |= {"MONITOR_CONFIG": str(config), "MONITOR_ALERTS__RULES": str(rules)}
    scene.prepare()
    monitor = begin(scene, *STAND_IN, MONITOR_ALERTS__INTERVAL_SECONDS="0.5")
    wait_until(monitor.is_ready, 60, "the monitor is ready")
    assert logged(monitor, "monitor running") == 0

    def hang_up() -> None:
        monitor.process.send_signal(signal.SIGHUP)

    config.write_text('[log]\nformat = "json"\nlevel = "info"\n')
    hang_up()
    wait_until(lambda: logged(monitor, "reload: log level info") == 1, 10, "the new level")
    wait_until(lambda: logged(monitor, "loaded 1 rules") == 1, 10, "the rules, although the file is the same")

    config.write_text('[log]\nlevel = "loud"\n')
    rules.write_text("rules: [{name: broken}]")
    hang_up()
    wait_until(lambda: logged(monitor, "reload: the log level stays") == 1, 10, "the settings' error")
    wait_until(lambda: logged(monitor, "the rule file has errors") >= 1, 10, "the rule file's error")

    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGCONT, signal.SIGWINCH):
        monitor.process.send_signal(number)
    config.unlink()
    hang_up()
    wait_until(lambda: logged(monitor, "cannot be read") == 1, 10, "the missing file")
    for _ in range(20):
        hang_up()
    time.sleep(1)
    assert monitor.is_ready()
    hang_up()
    assert monitor.stop() == 0
    assert "Traceback" not in monitor.log.read_text()


def test_sigterm_while_the_model_loads_ends_the_process_at_once(scene: Scene) -> None:
    scene.environ |= {"MONITOR_LOG__FORMAT": "json"}
    scene.prepare()
    monitor = begin(scene, "monitor", "run")
    wait_until(lambda: monitor.get("/healthz")[0] == 200, 60, "the port answers")
    monitor.process.send_signal(signal.SIGHUP)
    assert monitor.get("/readyz")[0] == 503
    assert monitor.stop() == 0
    assert [line["message"] for line in log_lines(monitor)] == ["stopped while starting"]


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.3, 1.0, 2.0, 4.0])
def test_sigterm_while_the_stream_starts_ends_cleanly(scene: Scene, seconds: float) -> None:
    """It joins the group in these seconds."""
    scene.environ |= {"MONITOR_LOG__FORMAT": "json"}
    scene.prepare()
    monitor = begin(scene, *STAND_IN)
    wait_until(lambda: logged(monitor, "monitor running"), 60, "the stream starts")
    time.sleep(seconds)
    assert monitor.stop() == 0
    assert [line for line in log_lines(monitor) if line["level"] in ("error", "critical")] == []
    assert "loop is closed" not in monitor.log.read_text()


def test_a_second_sigterm_and_a_sighup_while_stopping_change_nothing(scene: Scene) -> None:
    scene.environ |= {"MONITOR_LOG__FORMAT": "json"}
    scene.prepare()
    monitor = begin(scene, *STAND_IN)
    wait_until(monitor.is_ready, 60, "the monitor is ready")
    monitor.process.send_signal(signal.SIGTERM)
    while monitor.process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            monitor.process.send_signal(number)
        time.sleep(0.05)
    assert monitor.process.wait() == 0, monitor.log.read_text()
    assert logged(monitor, "stopping") == 1 and "Traceback" not in monitor.log.read_text()


def test_a_port_in_use_is_one_clear_error_in_the_log(scene: Scene) -> None:
    scene.environ |= {"MONITOR_LOG__FORMAT": "json"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        scene.environ["MONITOR_HTTP__PORT"] = str(taken.getsockname()[1])
        done = scene.command("run")
    assert done.returncode == 2
    (line,) = map(json.loads, done.stderr.splitlines())
    assert line["level"] == "critical" and "MONITOR_HTTP__PORT" in line["message"]


def test_a_dead_proxy_in_the_environment_keeps_neither_pages_nor_health_checks_from_this_machine(
    desk: Callable[[str, Mapping[str, str]], Desk], receiver: Receiver
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), dead)
    channel = f"json://127.0.0.1:{receiver.server_port}/channel"
    room = desk(
        SURGE_RULES,
        proxies
        | {"NO_PROXY": "intranet.example"}
        | {
            "MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url}),
            "MONITOR_ALERTS__CHANNELS": json.dumps({"chat": channel}),
            "MONITOR_MODELS__BACKEND": "packed",
        },
    )
    port = urlsplit(room.monitor.url).port
    room.scene.environ["MONITOR_HTTP__PORT"] = str(port)
    for words in (("healthy",), ("healthy", "--ready")):
        done = room.scene.command(*words)
        assert done.returncode == 0, done.stderr.decode()
    room.surge()
    wait_until(lambda: any("state" in page for page in receiver.taken), 60, "the webhook's page")
    wait_until(
        lambda: any("message" in page and "type" in page for page in receiver.taken), 30, "the channel's"
    )
    assert room.monitor.stop() == 0


def begin(scene: Scene, *words: str, **environ: str) -> Running:
    """A monitor that may not be ready yet."""
    port, log = free_port(), Path(scene.folder / "begun.log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            env=scene.environ | {"MONITOR_HTTP__PORT": str(port)} | environ,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    scene.processes.append(process)
    return Running(process, f"http://127.0.0.1:{port}", log)


@pytest.fixture(autouse=True)
def no_proxy_for_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own requests go straight, whatever the machine's environment says."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert httpx.Client().trust_env

"""The operator's walk of docs/operations.md, over a real Kafka, PostgreSQL and processes.

Each trouble is seen in `monitor status`, in the metrics and in an alert, and is mended by a documented command.
"""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from kafka import KafkaProducer
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from monitor.cli.main import main
from tests.conftest import ROOT, Running, Scene, execute, need
from tests.parts import Postgres, Receiver, program, wait_until

RULES_FOLDER = ROOT / "docker" / "prometheus"
STEP = 30
# What promtool's clock shows when the second scrape is made: gaps before it, so that no time is below zero.
SCRAPED_AT = 3600
APART = 2.5
MESSAGES, REFUSED = 120, 20
PYTHON = (sys.executable, "-m")
PAGING_RULE = """
rules:
  - {name: sour, type: threshold, watch: negative_share, topics: all, threshold: 0, window: 1h, min_documents: 5,
     severity: page}
"""


class Walk:
    """The scene, and the ways to look at it that an operator has."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._promtool = need(lambda: program("promtool"))

    def start(self, **environ: str) -> Running:
        running = self.scene.start(module="tests.faults.slow", **environ)
        self.scene.environ["MONITOR_HTTP__PORT"] = running.url.rpartition(":")[2]
        return running

    def command(self, *words: str) -> tuple[int, str]:
        """Run `monitor ...` in this process, which is quicker."""
        environ = {"MONITOR_CONFIG": None, **self.scene.environ}
        done = CliRunner().invoke(main, list(words), env=environ, catch_exceptions=False)
        return done.exit_code, done.output

    def status(self) -> dict[str, Any]:
        done = CliRunner().invoke(main, ["status", "--json"], env=self.scene.environ, catch_exceptions=False)
        return dict(json.loads(done.stdout))

    def problems(self) -> str:
        """What is wrong and what to do, as `monitor status` says it."""
        answer = self.status()
        return "\n".join(f"{problem['what']}: {problem['what_to_do']}" for problem in answer["problems"])

    def sees(self, problem: str) -> None:
        wait_until(lambda: problem in self.problems(), 30, f"{problem!r} in the status")

    def fires(
        self,
        alert: str,
        running: Running | None,
        minutes: float,
        meanwhile: Callable[[], object] = lambda: time.sleep(APART),
    ) -> bool:
        """Whether the shipped Prometheus rule fires if the metrics go on for so long as they do now.

        Each series is drawn on along two scrapes, between which `meanwhile` happens.  Without a process its
        target is down.
        """
        lines = ['      - {series: \'up{job="sentiment-monitor", instance="a"}\', values: "0x200"}']
        if running is not None:
            first, before = time.time(), {_key(sample): sample.value for sample in _samples(running)}
            meanwhile()
            span = first, time.time()
            lines = [_series(sample, before, span) for sample in _samples(running) if _key(sample) in before]
        firing = f'ALERTS{{alertname="{alert}", alertstate="firing"}}'
        at = f"{SCRAPED_AT + round(60 * minutes)}s"
        test = [
            f"rule_files: [{RULES_FOLDER}/monitor.rules.yaml]",
            f"evaluation_interval: {STEP}s",
            "tests:",
            f"  - interval: {STEP}s",
            "    input_series:",
            *lines,
            "    promql_expr_test:",
            f"      - {{expr: 'count({firing}) > bool 0', eval_time: {at}, exp_samples: [{{labels: '{{}}', value: 1}}]}}",
        ]
        file = self.scene.folder / f"{alert}.yaml"
        file.write_text("\n".join(test))
        done = subprocess.run(
            [self._promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or "got:" in done.stdout + done.stderr, done.stdout + done.stderr
        return done.returncode == 0


def _samples(running: Running) -> list[Sample]:
    families: Iterator[Metric] = text_string_to_metric_families(running.get("/metrics")[1])
    return [sample for family in families for sample in family.samples if not sample.name.endswith("_bucket")]


def _key(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))


def _series(sample: Sample, before: dict[Any, float], span: tuple[float, float]) -> str:
    labels = {**sample.labels, "job": "sentiment-monitor", "instance": "a"}
    name = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    value, slope = sample.value, (sample.value - before[_key(sample)]) / (span[1] - span[0]) * STEP
    if sample.name.endswith(("_timestamp_seconds", "start_time_seconds")):
        value -= span[1] - SCRAPED_AT
    after = (
        " ".join(["NaN"] * 60)
        if math.isnan(value)
        else f"{value:.3f}{slope if slope == slope else 0:+.3f}x60"
    )
    return f"      - {{series: '{sample.name}{{{name}}}', values: \"_x{SCRAPED_AT // STEP - 1} {after}\"}}"


def news(number: int, source: str = "wire") -> list[dict[str, Any]]:
    published = datetime.now(UTC).isoformat()
    return [
        {
            "id": f"{source}-{n}",
            "source": source,
            "title": f"Shares of company {n} move",
            "published_at": published,
        }
        for n in range(number)
    ]


def send(scene: Scene, messages: list[dict[str, Any]], seconds_old: float = 0) -> None:
    producer = KafkaProducer(bootstrap_servers=scene.kafka.bootstrap_servers)
    made = round((time.time() - seconds_old) * 1000)
    for number, message in enumerate(messages):
        value = json.dumps(message).encode()
        producer.send(scene.kafka.news, value, partition=number % 3, timestamp_ms=made)
    producer.flush()
    producer.close()


def documents(scene: Scene) -> int:
    return int(execute(scene, "SELECT count(*) FROM documents")[0][0])


@pytest.fixture
def walk(scene: Scene) -> Walk:
    rules = scene.folder / "rules.yaml"
    rules.write_text(PAGING_RULE)
    scene.environ |= {
        "MONITOR_ALERTS__RULES": str(rules),
        "MONITOR_ALERTS__INTERVAL_SECONDS": "1",
        "MONITOR_ALERTS__LEASE_SECONDS": "600",
        "MONITOR_KAFKA__SESSION_SECONDS": "6",
        "MONITOR_STREAM__HEARTBEAT_SECONDS": "0",
        "MONITOR_STREAM__BATCH_DOCUMENTS": "4",
    }
    scene.prepare()
    return Walk(scene)


@pytest.mark.timeout(600)
def test_an_operator_walks_through_every_trouble(walk: Walk, receiver: Receiver, postgres: Postgres) -> None:
    receiver.status = 503
    walk.scene.environ["MONITOR_ALERTS__WEBHOOKS"] = json.dumps({"desk": receiver.url})
    backup = copy_database(walk.scene, postgres)
    second = a_lagging_worker(walk)
    third = a_stuck_lease(walk, second)
    fourth = a_full_outbox(walk, third)
    fifth = a_refused_batch(walk, fourth)
    a_restored_database(walk, fifth, backup)


def copy_database(scene: Scene, postgres: Postgres) -> str:
    """A backup of the database, while nobody uses it."""
    name = scene.database_url.rpartition("/")[2].partition("?")[0]
    postgres.psql(f"CREATE DATABASE backup_{name} TEMPLATE {name};")
    return postgres.url(f"backup_{name}")


def a_lagging_worker(walk: Walk) -> Running:
    slow = walk.start(SLOW_SECONDS="3")
    assert not walk.problems()
    send(walk.scene, news(MESSAGES), seconds_old=600)
    walk.sees("messages wait, some for more than 120 s")
    assert f":{slow.process.pid} reads it" in walk.problems()
    owners = {row["owner"] for row in json.loads(walk.command("offsets", "show", "--json")[1])}
    assert len(owners) == 1
    wait_until(lambda: slow.metric("sentiment_consumer_lag_messages"), 20, "the lag as a metric")
    assert (slow.metric("sentiment_in_hand_bytes", kafka_topic=walk.scene.kafka.news) or 0) > 0
    assert walk.fires("SentimentLagging", slow, minutes=4)

    quick = walk.start()
    assert slow.stop() == 0  # SIGTERM, as documented: the others read its partitions
    wait_until(lambda: documents(walk.scene) == MESSAGES, 60, "the documents")
    wait_until(lambda: quick.metric("sentiment_consumer_lag_messages") == 0, 20, "no lag")
    assert "messages wait" not in walk.problems()
    assert not walk.fires("SentimentLagging", quick, minutes=2)
    return quick


def a_stuck_lease(walk: Walk, holder: Running) -> Running:
    standby = walk.start()
    wait_until(lambda: "alerts" in leases_of(walk, holder), 30, "the lease of the alerts")
    holder.process.send_signal(signal.SIGKILL)
    walk.sees("and is not in the consumer group")
    (name,) = [worker["name"] for worker in walk.status()["workers"] if worker["partitions"] is None]
    assert name.endswith(f":{holder.process.pid}") and f"`monitor leases release {name}`" in walk.problems()
    assert standby.metric("sentiment_lease_held", lease="alerts") == 0
    assert (
        standby.metric("sentiment_lease_expires_timestamp_seconds", lease="alerts") or 0
    ) > time.time() + 60
    assert walk.fires("SentimentAlertsNotEvaluated", standby, minutes=5)

    code, output = walk.command("leases", "release", name)
    assert code == 0 and "alerts: released" in output
    wait_until(lambda: "alerts" in leases_of(walk, standby), 20, "the lease is taken over")
    assert "is not in the consumer group" not in walk.problems()
    assert not walk.fires("SentimentAlertsNotEvaluated", standby, minutes=2)
    return standby


def leases_of(walk: Walk, running: Running) -> list[str]:
    workers = walk.status()["workers"]
    return [
        lease
        for worker in workers
        for lease in worker["leases"]
        if worker["name"].endswith(f":{running.process.pid}")
    ]


def a_full_outbox(walk: Walk, monitor: Running) -> Running:
    walk.sees("for webhook:desk, and the oldest has waited since")
    assert "HTTP 503" in walk.problems()
    assert (monitor.metric("sentiment_outbox_target_entries", target="webhook:desk") or 0) >= 1
    assert walk.fires("SentimentOutboxStuck", monitor, minutes=8)

    # The receiver is gone for good: it is removed from the settings.
    assert monitor.stop() == 0
    del walk.scene.environ["MONITOR_ALERTS__WEBHOOKS"]
    after = walk.start(MONITOR_STREAM__ALLOWED_NEWS_SOURCES='["wire"]')
    assert "`monitor outbox drop webhook:desk`" in walk.problems()
    wait_until(lambda: after.metric("sentiment_outbox_unconfigured_entries"), 20, "what nobody sends")
    assert walk.fires("SentimentOutboxUnconfigured", after, minutes=20)
    code, output = walk.command("outbox", "drop", "webhook:desk")
    assert code == 0, output
    wait_until(lambda: after.metric("sentiment_outbox_unconfigured_entries") == 0, 20, "nothing is left")
    assert not walk.problems()
    return after


def a_refused_batch(walk: Walk, monitor: Running) -> Running:
    def refuse() -> None:
        send(walk.scene, news(REFUSED, "agency"))
        wait_until(lambda: refused(monitor) == REFUSED, 30, "the dead letters")

    assert walk.fires("SentimentDeadLetters", monitor, minutes=5, meanwhile=refuse)
    assert f"{REFUSED} messages were refused in 24 hours: source_not_allowed {REFUSED}" in walk.problems()
    assert walk.status()["dead_letters"] == {"source_not_allowed": REFUSED}
    listed = walk.command("dead-letters", "list", "--reason", "source_not_allowed", "--unsent")[1]
    assert listed.count("source_not_allowed") == REFUSED

    # The source may send: the setting is changed, and the monitor restarted.
    assert monitor.stop() == 0
    after = walk.start(MONITOR_STREAM__ALLOWED_NEWS_SOURCES='["wire", "agency"]')
    walk.scene.environ["MONITOR_STREAM__ALLOWED_NEWS_SOURCES"] = '["wire", "agency"]'
    code, output = walk.command("dead-letters", "send", "--reason", "source_not_allowed")
    assert code == 0, output
    wait_until(lambda: documents(walk.scene) == MESSAGES + REFUSED, 30, "what was refused")
    assert walk.status()["dead_letters"] == {} and not walk.problems()
    assert not walk.fires("SentimentDeadLetters", after, minutes=2)
    return after


def refused(monitor: Running) -> float | None:
    return monitor.metric("sentiment_dead_letters_total", reason="source_not_allowed")


def a_restored_database(walk: Walk, monitor: Running, backup: str) -> None:
    assert monitor.stop() == 0
    walk.scene.environ["MONITOR_DATABASE__URL"] = walk.scene.database_url = backup
    refused = subprocess.run(
        [*PYTHON, "tests.faults.slow"],
        env=walk.scene.environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1 and "messages would be skipped" in refused.stderr
    assert "would be skipped" in walk.problems() and "`monitor offsets rewind`" in walk.problems()
    assert walk.status()["monitor"]["answers"] is False
    assert walk.fires("SentimentMonitorDown", None, minutes=4)

    code, output = walk.command("offsets", "rewind")
    assert code == 0 and "will be read again" in output
    again = walk.start()
    wait_until(lambda: documents(walk.scene) == MESSAGES + REFUSED, 60, "all documents again")
    wait_until(lambda: not walk.problems(), 20, "no problems")
    assert again.stop() == 0

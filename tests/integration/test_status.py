"""`monitor status` and what it shows, over a real Kafka and PostgreSQL: workers, owners, lag, leases, outbox."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaProducer

from monitor.demo.sample import SampleFeed
from tests.conftest import Running, Scene, calm, execute
from tests.parts import wait_until

Send = Callable[[str, list[Any]], None]


def status(scene: Scene, running: Running | None = None) -> dict[str, Any]:
    """The answer of `monitor status --json`, which asks the port of this monitor if one is given."""
    if running is not None:
        scene.environ["MONITOR_HTTP__PORT"] = running.url.rpartition(":")[2]
    done = scene.command("status", "--json")
    answer = dict(json.loads(done.stdout))
    assert done.returncode == int(bool(answer["problems"])), done.stderr.decode()
    return answer


def text_of(answer: dict[str, Any]) -> str:
    return "\n".join(f"{problem['what']}: {problem['what_to_do']}" for problem in answer["problems"])


def send_old(scene: Scene, messages: list[Any], seconds: float) -> None:
    """Send comments that were made so long ago."""
    producer = KafkaProducer(bootstrap_servers=scene.kafka.bootstrap_servers)
    made = round((time.time() - seconds) * 1000)
    for message in messages:
        producer.send(scene.kafka.comments, json.dumps(message).encode(), partition=0, timestamp_ms=made)
    producer.flush()
    producer.close()


def test_status_and_offsets_show_every_worker_and_what_it_owns_also_while_none_runs(
    scene: Scene, sent: Send
) -> None:
    scene.prepare()
    idle = status(scene)
    assert idle["workers"] == [] and idle["monitor"]["answers"] is False and idle["monitor"]["ready"] is None
    assert "no worker is in the consumer group" in text_of(idle)
    assert {row["lag"] for row in idle["partitions"]} == {0} and len(idle["partitions"]) == 6

    first = scene.start(module="tests.faults.worker")
    second = scene.start(module="tests.faults.worker")
    sent(scene.kafka.news, calm(SampleFeed("status"), 30))
    wait_until(
        lambda: execute(scene, "SELECT count(*) FROM documents WHERE source <> 'monitor-heartbeat'")[0][0] == 30,
        60,
        "the documents",
    )  # fmt: skip
    wait_until(lambda: len(status(scene, first)["workers"]) == 2, 30, "both workers")
    busy = status(scene, first)
    names = {f":{worker.process.pid}" for worker in (first, second)}
    assert {f":{worker['name'].rpartition(':')[2]}" for worker in busy["workers"]} == names
    assert sorted(p for worker in busy["workers"] for p in worker["partitions"]) == sorted(
        f"{topic}[{n}]" for topic in (scene.kafka.news, scene.kafka.comments) for n in range(3)
    )
    assert {"alerts"} <= {lease["name"] for lease in busy["leases"] if lease["held"]}
    assert busy["monitor"]["ready"] and busy["monitor"]["rebalances"] >= 1 and busy["problems"] == []
    assert {(topic["breaker_open"], topic["in_hand_bytes"]) for topic in busy["monitor"]["topics"]} == {
        (False, 0)
    }
    assert datetime.fromisoformat(busy["database"]["last_document_at"]) <= datetime.now(UTC)

    shown = json.loads(scene.command("offsets", "show", "--json").stdout)
    assert {row["owner"] for row in shown} == {worker["name"] for worker in busy["workers"]}
    plain = scene.command("offsets", "show").stdout.decode()
    assert plain.splitlines()[0].split()[:2] == ["partition", "log"] and "2 workers in the group" in plain
    assert all(running.stop() == 0 for running in (first, second))

    send_old(scene, calm(SampleFeed("later"), 7), seconds=600)
    stopped = status(scene)
    assert stopped["monitor"]["answers"] is False and stopped["workers"] == []
    assert f"{scene.kafka.comments}[0]: up to 7 messages wait" in text_of(stopped)
    assert sum(row["lag"] for row in stopped["partitions"]) == 7


def test_without_a_database_or_a_broker_the_rest_is_shown_and_unknown_is_null(scene: Scene) -> None:
    scene.prepare()
    scene.environ["MONITOR_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    no_broker = status(scene)
    assert no_broker["kafka"]["answers"] is False and no_broker["partitions"] is None
    assert no_broker["database"]["answers"] is True and no_broker["leases"] == []
    scene.environ["MONITOR_KAFKA__BOOTSTRAP_SERVERS"] = scene.kafka.bootstrap_servers
    scene.environ["MONITOR_DATABASE__URL"] = "postgresql+psycopg://monitor@127.0.0.1:1/none"
    no_database = status(scene)
    assert no_database["kafka"]["answers"] is True and no_database["workers"] == []
    for unknown in ("leases", "outbox", "partitions"):
        assert no_database[unknown] is None
    assert "the database does not answer" in text_of(no_database)
    plain = scene.command("status")
    assert plain.returncode == 1 and b"database  unknown" in plain.stdout

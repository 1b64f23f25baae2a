"""Commands that an operator runs (demo, doctor, feed), outages, and several workers at once."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from sqlalchemy import create_engine, func, select

from models.settings import SHIPPED_WEIGHTS
from monitor.demo.sample import SampleFeed
from stream.kafka.settings import KafkaSettings
from stream.storage import schema
from tests.conftest import ROOT, Scene, need
from tests.parts import Kafka, Postgres, free_port, wait_until


def documents(scene: Scene) -> int:
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        rows = connection.execute(select(func.count()).select_from(schema.documents)).scalar_one()
    engine.dispose()
    return int(rows)


def findings(scene: Scene, **environ: str) -> dict[str, tuple[bool, str]]:
    scene.environ |= environ
    done = scene.command("doctor", "--json")
    results = {finding["check"]: (finding["ok"], finding["detail"]) for finding in json.loads(done.stdout)}
    assert done.returncode == (0 if all(ok for ok, _ in results.values()) else 1)
    assert b"Traceback" not in done.stderr
    return results


def test_the_doctor_finds_no_problem_in_a_prepared_scene(scene: Scene) -> None:
    assert "run `monitor topics create`" in findings(scene)["broker"][1]
    assert "run `monitor db upgrade`" in findings(scene)["database"][1]
    assert scene.command("topics", "create").returncode == 0
    assert "run `monitor db upgrade`" in findings(scene)["offsets"][1]
    scene.prepare()
    results = findings(scene)
    assert {check: detail for check, (ok, detail) in results.items() if not ok} == {}
    checks = {"settings", "model", "rules", "database", "labels", "clock", "broker", "offsets", "languages"}
    assert results.keys() == checks | {
        "entities",
        "publishers",
        "second opinion",
        "calendars",
        "mutes",
        "outbox",
        "receivers",
        "files",
    }


def test_the_doctor_reports_what_is_down_invalid_or_damaged(scene: Scene) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    damaged = Path(shutil.copytree(SHIPPED_WEIGHTS, scene.folder / "weights"))
    (damaged / "en" / "model.safetensors").write_bytes(b"\0" * 1000)
    results = findings(
        scene,
        MONITOR_KAFKA__BOOTSTRAP_SERVERS=nobody,
        MONITOR_DATABASE__URL=f"postgresql+psycopg://me:hunter2@{nobody}/x",
        MONITOR_MODELS__WEIGHTS=str(damaged),
    )
    assert not results["broker"][0] and f"no broker answers at {nobody}" in results["broker"][1]
    assert not results["database"][0] and "database.url" in results["database"][1]
    assert not results["model"][0] and "model.safetensors is damaged" in results["model"][1]
    assert "hunter2" not in str(results)
    wrong = findings(scene, MONITOR_DATABASE__URL="postgres://nonsense")
    assert list(wrong) == ["settings"]
    assert "MONITOR_DATABASE__URL" in wrong["settings"][1] and "allowed" in wrong["settings"][1]


def test_run_explains_what_to_do_when_tables_or_topics_are_missing(scene: Scene) -> None:
    done = scene.command("run")
    assert done.returncode == 1
    assert b"run `monitor db upgrade`" in done.stderr
    assert scene.command("db", "upgrade").returncode == 0
    done = scene.command("run")
    assert done.returncode == 1
    assert b"run `monitor topics create`" in done.stderr
    assert b"Traceback" not in done.stderr


def test_feed_reports_bad_rows_by_line_and_sends_the_rest(scene: Scene) -> None:
    scene.prepare()
    lines = [
        {"ts": 1653070860, "headline": "Rates rise"},
        {"headline": "No timestamp"},
        {"ts": 1653070861.5, "headline": "Rates fall"},
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    words = ("feed", "-", "--speed", "max", "--map", "title=headline,published_at=ts", "--source", "test")
    done = scene.command(*words, stdin=text)
    assert done.returncode == 1
    assert b"-:2: no published_at" in done.stderr
    assert done.stdout.startswith(f"2 sent to {scene.kafka.news}, 1 refused".encode())


VENDOR_ROWS = [
    {"id": "1", "title": "Brandt wins order", "symbols": "BRND,KLVN"},
    {"id": "2", "title": "Brandt wins order", "symbols": [{"name": "BRND", "exchange": "XX"}]},
    {"id": "3", "title": "Brandt wins order", "author": ["A. Reyes", "B. Sun"]},
    {"id": 4, "title": "Brandt wins order", "text": float("nan")},
    {"id": float("nan"), "title": "Brandt wins a first order"},
    {"id": float("nan"), "title": "Brandt wins a second order \ud83d"},
    {"id": "7", "title": "Brandt wins order", "published_at": None},
    {"id": "8", "title": ["Brandt wins order"]},
    {"id": 1520000000000000001.0, "title": "Brandt wins order"},
    {"id": "10", "title": "Brandt wins order", "published_at": 45000.4},
]


def test_what_feed_counts_as_sent_is_stored_and_what_it_refuses_is_no_dead_letter(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    monitor = scene.start()
    rows = [{"published_at": "2026-03-01T09:30:00Z", **row} for row in VENDOR_ROWS]
    done = scene.command(
        "feed", "-", "--speed", "max", "--json", stdin="\n".join(map(json.dumps, rows)).encode()
    )
    report = json.loads(done.stdout)
    assert (done.returncode, report["sent"], report["refused"]) == (1, 7, 3)
    assert [line for line in (8, 9, 10) if f"-:{line}: ".encode() in done.stderr] == [8, 9, 10]
    assert b"rows without a time: 1" in done.stderr
    sent(scene.kafka.news, [{"id": 11, "title": "Brandt wins order", "published_at": "2026-03-01T09:30:00Z"}])
    wait_until(lambda: documents(scene) == 8, 60, "the documents")
    engine = create_engine(scene.database_url)
    with engine.connect() as connection:
        table = schema.documents.c
        stored = {row.id: row for row in connection.execute(select(table.id, table.symbols, table.author))}
        letters = connection.execute(select(func.count()).select_from(schema.dead_letters)).scalar_one()
    engine.dispose()
    assert letters == 0
    assert {"1", "2", "3", "4", "7", "11"} < stored.keys() and len(stored) == 8
    assert list(stored["1"].symbols) == ["BRND", "KLVN"] and list(stored["2"].symbols) == ["BRND"]
    assert stored["3"].author == "A. Reyes, B. Sun"
    assert monitor.stop() == 0


def test_sigterm_under_load_drains_and_a_second_worker_takes_over_without_duplicates(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.prepare()
    feed, now = SampleFeed("two"), datetime.now(UTC)
    first = scene.start(MONITOR_STREAM__BATCH_DOCUMENTS="32")
    second = scene.start(MONITOR_STREAM__BATCH_DOCUMENTS="32")
    sent(scene.kafka.news, [feed.calm(now - timedelta(seconds=i)).message for i in range(600)])
    wait_until(lambda: documents(scene) >= 100, 60, "some documents")
    assert first.stop() == 0
    assert "did not finish" not in first.log.read_text()
    wait_until(lambda: documents(scene) == 600, 60, "all documents")
    wait_until(lambda: second.metric("sentiment_consumer_lag_messages") == 0, 20, "no lag")
    holders = {first.url, second.url}
    assert len(holders) == 2
    wait_until(lambda: second.metric("sentiment_mean_score") is not None, 40, "the second runs the alerts")
    assert second.stop() == 0


def test_transaction_markers_do_not_count_as_lag(scene: Scene) -> None:
    """They take offsets that no message ever fills."""
    scene.prepare()
    monitor, feed = scene.start(), SampleFeed("transaction")
    producer = KafkaProducer(
        bootstrap_servers=scene.kafka.bootstrap_servers, transactional_id=scene.kafka.news
    )
    producer.init_transactions()
    for _ in range(3):
        producer.begin_transaction()
        for _ in range(5):
            producer.send(
                scene.kafka.news, json.dumps(feed.calm(datetime.now(UTC)).message).encode(), partition=0
            )
        producer.commit_transaction()
    producer.close()
    wait_until(lambda: documents(scene) == 15, 60, "the documents")
    wait_until(lambda: monitor.metric("sentiment_consumer_lag_messages") == 0, 20, "no lag")
    assert monitor.stop() == 0


def test_the_monitor_survives_an_outage_of_the_database(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    """A lock on the offsets stands in for a database that does not answer in time."""
    scene.environ["MONITOR_DATABASE__LOCK_SECONDS"] = "1"
    scene.prepare()
    feed, now = SampleFeed("away"), datetime.now(UTC)
    monitor = scene.start()
    sent(scene.kafka.news, [feed.calm(now).message for _ in range(20)])
    wait_until(lambda: documents(scene) == 20, 60, "the first documents")
    engine = create_engine(scene.database_url)
    with engine.begin() as connection:
        connection.execute(select(schema.offsets).with_for_update())
        sent(scene.kafka.news, [feed.calm(now).message for _ in range(20)])
        wait_until(lambda: monitor.get("/readyz")[0] == 503, 30, "not ready")
        assert documents(scene) == 20
    engine.dispose()
    wait_until(lambda: documents(scene) == 40, 30, "the documents after it is back")
    wait_until(monitor.is_ready, 10, "ready again")
    assert (monitor.metric("sentiment_store_retries_total") or 0) >= 1
    assert monitor.stop() == 0


def test_stopping_while_the_database_is_unavailable_takes_only_seconds(
    scene: Scene, sent: Callable[[str, list[Any]], None]
) -> None:
    scene.environ["MONITOR_DATABASE__LOCK_SECONDS"] = "1"
    scene.prepare()
    feed, monitor = SampleFeed("stop"), scene.start()
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(5)])
    wait_until(lambda: documents(scene) == 5, 60, "the first documents")
    engine = create_engine(scene.database_url)
    with engine.begin() as connection:
        connection.execute(select(schema.offsets).with_for_update())
        sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(5)])
        wait_until(lambda: monitor.get("/readyz")[0] == 503, 30, "not ready")
        asked = time.monotonic()
        assert monitor.stop() == 0
        assert time.monotonic() - asked < 15
    engine.dispose()
    assert "Traceback" not in monitor.log.read_text()
    assert documents(scene) == 5
    monitor = scene.start()
    wait_until(lambda: documents(scene) == 10, 60, "the others after the next start")
    assert monitor.stop() == 0


def test_a_recreated_topic_ends_the_process_and_the_next_start_reads_all_of_it(
    scene: Scene, sent: Callable[[str, list[Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.prepare()
    feed, monitor = SampleFeed("recreated"), scene.start()
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(5)])
    wait_until(lambda: documents(scene) == 5, 60, "the first documents")
    admin = KafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap_servers)
    admin.delete_topics([scene.kafka.news])
    time.sleep(1)
    admin.create_topics([NewTopic(scene.kafka.news, 3, 1)])
    admin.close()
    assert monitor.process.wait(90) == 1
    assert "was deleted and created again" in monitor.log.read_text()
    sent(scene.kafka.news, [feed.calm(datetime.now(UTC)).message for _ in range(5)])
    monitor = scene.start()
    wait_until(lambda: documents(scene) == 10, 60, "the new topic's documents")
    assert monitor.stop() == 0


def test_the_monitor_survives_an_outage_of_the_broker(postgres: Postgres, tmp_path: Path) -> None:
    with need(lambda: Kafka(tmp_path / "kafka")) as broker:
        own = Scene(
            KafkaSettings(bootstrap_servers=broker.bootstrap, partitions=2),
            postgres.create_database(),
            tmp_path,
        )
        own.prepare()
        monitor, feed = own.start(), SampleFeed("broker")
        try:
            for count, outage in ((20, False), (40, True)):
                if outage:
                    broker.stop()
                    wait_until(lambda: monitor.get("/readyz")[0] == 503, 20, "not ready")
                    time.sleep(5)
                    broker.start()
                rows = [json.dumps(feed.calm(datetime.now(UTC)).message) for _ in range(20)]
                done = own.command("feed", "-", "--speed", "max", stdin="\n".join(rows).encode())
                assert done.returncode == 0, done.stderr.decode()
                wait_until(lambda n=count: documents(own) == n, 90, f"{count} documents")
            wait_until(monitor.is_ready, 10, "ready again")
            assert monitor.stop() == 0
        finally:
            own.close()


@pytest.mark.timeout(240)
def test_the_demo_fires_within_a_minute_and_resolves_within_three(tmp_path: Path) -> None:
    port = free_port()
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor", "demo", "--plain", "--state", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"MONITOR_HTTP__PORT": str(port)},
    )
    seen: dict[str, float] = {}
    assert process.stderr is not None
    try:
        for line in process.stderr:
            for event in ("FIRING", "RESOLVED"):
                if f"alert {event}" in line and event not in seen:
                    seen[event] = time.monotonic() - started
                    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
                    on = re.findall(r'sentiment_alert_state\{.*state="firing".*\} 1\.0', metrics)
                    assert bool(on) or event == "RESOLVED"
            if "RESOLVED" in seen or time.monotonic() - started > 200:
                break
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        process.communicate(timeout=30)
        assert time.monotonic() - asked < 10
    finally:
        process.kill()
    assert process.returncode == 0
    assert seen["FIRING"] < 90, "a minute from its start, and a slow machine's allowance"
    assert seen["RESOLVED"] < 200

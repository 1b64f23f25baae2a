"""What an operator sees of outbox, leases, schema and receivers: metrics, doctor and `monitor db current`."""

import json
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry
from sqlalchemy import text, update

from models.entities.gazetteer import Gazetteer
from monitor.cli.main import main
from monitor.health.problems import find_problems
from monitor.health.report import KafkaState, LocalState, Report, TopicState, Unanswered, ask_monitor
from monitor.runtime.settings import Settings
from monitor.runtime.status import ReadinessMetrics, Unready
from monitor.runtime.tasks.installation import InstallationWatch
from stream.domain.errors import StoreUnavailable
from stream.domain.records import OutboundMessage, Partition
from stream.kafka.admin import LogRange
from stream.kafka.settings import KafkaSettings
from stream.metrics import StreamMetrics
from stream.offsets import PartitionOffsets
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox, enqueue
from stream.storage.settings import DatabaseSettings
from tests import odd_receivers
from tests.parts import Receiver, free_port
from tests.unit.stream.samples import about, classified, write

NOW = datetime.now(UTC)


class Shown:
    """The metrics of an installation over this store, as a monitor with one webhook shows them."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self._metrics = StreamMetrics(self.registry).installation
        self._metrics.create_labels(["webhook:desk", "kafka:alerts"], ["alerts", "purge"])
        self.watch = self.over(store)

    def over(self, store: Store) -> InstallationWatch:
        return InstallationWatch(
            store=store,
            outbox=Outbox(store.engine),
            kafka=KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}"),
            holders=lambda: {"alerts": "me", "purge": "me"},
            metrics=self._metrics,
            clock=lambda: NOW,
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"sentiment_{name}", labels)

    def is_unknown(self, name: str, **labels: str) -> bool:
        value = self.value(name, **labels)
        return value is None or value != value


def test_outbox_leases_schema_and_the_last_document_are_metrics(store: Store) -> None:
    minute = timedelta(minutes=1)
    with database.writing(store.engine) as connection:
        enqueue(connection, [OutboundMessage("webhook:desk", b"1")] * 2, NOW - minute)
        enqueue(connection, [OutboundMessage("webhook:old-desk", b"1")] * 3, NOW - 2 * minute)
    Lease(store, "alerts", "me", 20).acquire()
    Lease(store, "purge", "another", 20).acquire()
    shown = Shown(store)
    assert shown.is_unknown("outbox_target_entries", target="webhook:desk"), "not read yet"
    shown.watch.look_at_database()
    assert shown.value("outbox_entries") == shown.value("outbox_target_entries", target="webhook:desk") == 2
    assert shown.value("outbox_target_entries", target="kafka:alerts") == 0
    due = shown.value("outbox_target_due_timestamp_seconds", target="webhook:desk")
    assert due == pytest.approx((NOW - minute).timestamp(), abs=0.01)
    assert shown.is_unknown("outbox_target_due_timestamp_seconds", target="kafka:alerts")
    assert shown.value("outbox_unconfigured_entries") == 3
    assert (shown.value("lease_held", lease="alerts"), shown.value("lease_held", lease="purge")) == (1, 0)
    until = shown.value("lease_expires_timestamp_seconds", lease="purge")
    assert until is not None and 0 < until - datetime.now(UTC).timestamp() <= 21
    assert shown.value("schema_revision") == int(database.latest_revision())
    assert shown.is_unknown("last_document_timestamp_seconds"), "there is none"


def test_what_cannot_be_read_is_unknown_and_not_zero(store: Store) -> None:
    shown = Shown(store)
    shown.watch.look_at_database()
    assert shown.value("outbox_unconfigured_entries") == 0
    shown.watch.look_at_group()
    assert shown.is_unknown("workers")
    gone = DatabaseSettings.model_validate({"url": "postgresql+psycopg://monitor@127.0.0.1:1/none"})
    with pytest.raises(StoreUnavailable):
        shown.over(Store(database.connect(gone), 60)).look_at_database()
    for name in ("outbox_entries", "outbox_unconfigured_entries", "schema_revision"):
        assert shown.is_unknown(name), name
    assert shown.is_unknown("lease_held", lease="alerts")


def test_the_reasons_for_not_being_ready_are_a_metric() -> None:
    registry, reasons = CollectorRegistry(), {Unready.BROKER: "no broker answers"}
    ReadinessMetrics(registry, lambda: reasons)
    values = {
        reason: registry.get_sample_value("sentiment_not_ready", {"reason": reason}) for reason in Unready
    }
    assert values == {reason: float(reason is Unready.BROKER) for reason in Unready}
    reasons.clear()
    assert registry.get_sample_value("sentiment_not_ready", {"reason": "broker"}) == 0


def call(*words: str, **environ: str) -> Result:
    clean = {"MONITOR_CONFIG": None, **environ}
    return CliRunner().invoke(main, list(words), env=clean, catch_exceptions=False)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'monitor.db'}"


def test_db_current_says_what_is_here_what_is_needed_and_what_to_run(url: str, tmp_path: Path) -> None:
    environ, needed = {"MONITOR_DATABASE__URL": url}, database.latest_revision()
    none = call("db", "current", **environ)
    assert none.exit_code == 1 and "no tables" in none.stdout and "run `monitor db upgrade`" in none.stdout
    assert not (tmp_path / "monitor.db").exists()
    database.upgrade(DatabaseSettings.model_validate({"url": url}), "0005")
    older = call("db", "current", **environ)
    assert older.exit_code == 1 and "the database is at 0005" in older.stdout
    assert f"this version needs {needed}: run `monitor db upgrade`" in older.stdout
    assert call("db", "upgrade", **environ).exit_code == 0
    same = call("db", "current", **environ)
    assert same.exit_code == 0 and "nothing to do" in same.stdout
    engine = database.connect(DatabaseSettings.model_validate({"url": url}))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    newer = json.loads(call("db", "current", "--json", **environ).stdout)
    assert newer == {
        "current": "9999",
        "needed": needed,
        "what_to_do": "run the version of the monitor that upgraded it",
    }


def findings(url: str, **environ: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds, by check; without a model, which would only take time."""
    done = call("doctor", "--json", MONITOR_DATABASE__URL=url, MONITOR_MODELS__WEIGHTS="none", **environ)
    return {each["check"]: each for each in json.loads(done.stdout)}


def test_the_doctor_names_file_and_line_of_a_wrong_publisher(url: str, tmp_path: Path) -> None:
    assert findings(url)["publishers"]["ok"]
    path = tmp_path / "publishers.csv"
    path.write_text("family,hosts,names\nacme,not a host,Acme\n")
    found = findings(url, MONITOR_STREAM__PUBLISHERS=str(path))["publishers"]
    assert not found["ok"] and f"{path}:2: host 'not a host' must be a domain" in found["detail"]


def test_the_doctor_says_how_many_texts_were_searched_with_another_list_of_entities(url: str) -> None:
    settings = DatabaseSettings.model_validate({"url": url})
    database.upgrade(settings)
    engine, version = database.connect(settings), Gazetteer.load().version
    now = datetime.now(UTC)
    for number, gazetteer in enumerate((version, version, "old")):
        item = classified(f"d{number}", number, at=now - timedelta(hours=1))
        write(Store(engine, 60), about(item, gazetteer=gazetteer))
    found = findings(url)["entities"]
    assert found["ok"] and f"list {version}; 1 texts of the last 30 days were searched" in found["detail"]
    assert "`monitor backfill entities --since 20" in found["detail"]
    with database.writing(engine) as connection:
        connection.execute(update(schema.documents).values(gazetteer=version))
    engine.dispose()
    assert "no text of the last 30 days was searched with another list" in findings(url)["entities"]["detail"]


def test_the_doctor_sees_receivers_that_do_not_answer_entries_nobody_sends_and_a_clock_ahead(
    url: str,
) -> None:
    settings = DatabaseSettings.model_validate({"url": url})
    database.upgrade(settings)
    with Receiver() as desk:
        alone = findings(url, MONITOR_ALERTS__WEBHOOKS=json.dumps({"desk": desk.url}))
        assert alone["receivers"]["ok"] and "desk can be reached" in alone["receivers"]["detail"]
        assert alone["outbox"]["ok"] and alone["clock"]["ok"]
        engine = database.connect(settings)
        with database.writing(engine) as connection:
            enqueue(connection, [OutboundMessage("webhook:old-desk", b"{}")], NOW)
            enqueue(connection, [OutboundMessage("webhook:desk", b"{}")], NOW - timedelta(minutes=9))
        write(Store(engine, 60), classified("d1", 0))
        with database.writing(engine) as connection:
            ahead = NOW + timedelta(hours=2)
            connection.execute(update(schema.documents).values(received_at=ahead))
        engine.dispose()
        webhooks = {"desk": desk.url, "gone": f"http://127.0.0.1:{free_port()}/secret-token"}
        found = findings(url, MONITOR_ALERTS__WEBHOOKS=json.dumps(webhooks))
    assert not found["receivers"]["ok"] and "gone: " in found["receivers"]["detail"]
    assert "secret-token" not in found["receivers"]["detail"] and "desk:" not in found["receivers"]["detail"]
    outbox = found["outbox"]
    assert not outbox["ok"] and "`monitor outbox drop webhook:old-desk`" in outbox["detail"]
    assert "the outbox holds 1 for webhook:desk" in outbox["detail"]
    assert not found["clock"]["ok"] and "set all clocks by NTP" in found["clock"]["detail"]


def test_the_help_of_the_doctor_names_all_that_it_checks(url: str) -> None:
    shown = " ".join(call("doctor", "--help").stdout.split())
    database.upgrade(DatabaseSettings.model_validate({"url": url}))
    assert [name for name in findings(url) if name not in shown] == []


def test_every_problem_of_offsets_and_of_readiness_says_what_to_do() -> None:
    partition, log = Partition("one", "news", 0), LogRange(50, 100)
    rows = [
        PartitionOffsets(partition, None, 120, log),
        PartitionOffsets(partition, None, 20, log),
        PartitionOffsets(partition, 90, 60, log),
    ]
    local = LocalState(False, ["no broker answers"], rebalances=None, topics=[])
    nothing = Unanswered("not asked")
    problems = find_problems(Report(Settings(), "", nothing, KafkaState(None, rows, {}), local))
    said = {problem.what_to_do for problem in problems if problem.what_to_do}
    assert len(said) == len(problems) == 5
    for command in ("offsets reset", "offsets skip", "offsets rewind", "doctor"):
        assert any(f"`monitor {command}" in remedy for remedy in said), command
    assert not any("`monitor" in problem.what for problem in problems)


def test_the_doctor_names_a_source_whose_texts_are_not_read(url: str) -> None:
    settings = DatabaseSettings.model_validate({"url": url})
    database.upgrade(settings)
    engine = database.connect(settings)
    store = Store(engine, 60)
    write(store, *[classified(f"d{number}", number) for number in range(30)])
    assert findings(url)["languages"]["ok"]
    with database.writing(engine) as connection:
        connection.execute(
            update(schema.documents).values(status="unsupported", received_at=datetime.now(UTC))
        )
    engine.dispose()
    found = findings(url)["languages"]
    assert not found["ok"] and "30 of 30 texts of 'wire' (news)" in found["detail"]
    assert findings(url, MONITOR_STREAM__UNSUPPORTED_SHARE="1")["languages"]["ok"]


def test_what_nobody_sends_is_dropped_and_what_somebody_sends_only_by_force(url: str) -> None:
    settings = DatabaseSettings.model_validate({"url": url})
    database.upgrade(settings)
    engine = database.connect(settings)
    with database.writing(engine) as connection:
        enqueue(
            connection,
            [OutboundMessage("webhook:old-desk", b"{}"), OutboundMessage("kafka:alerts", b"")],
            NOW,
        )
    environ = {"MONITOR_DATABASE__URL": url}
    assert "webhook:old-desk: 1 dropped" in call("outbox", "drop", "webhook:old-desk", **environ).stdout
    refused = call("outbox", "drop", "kafka:alerts", **environ)
    assert refused.exit_code == 2 and "--force" in refused.stderr
    assert "1 dropped" in call("outbox", "drop", "kafka:alerts", "--force", **environ).stdout
    assert Outbox(engine).by_target(NOW) == []
    assert call("leases", "release", "alerts", **environ).exit_code == 1
    Lease(Store(engine, 60), "alerts", "gone:1:abc", 600).acquire()
    assert "gone:1:abc held it" in call("leases", "release", "alerts", **environ).stdout
    engine.dispose()


def status(url: str, **environ: str) -> dict[str, Any]:
    environ = {"MONITOR_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", **environ}
    return dict(json.loads(call("status", "--json", MONITOR_DATABASE__URL=url, **environ).stdout))


def test_the_status_of_an_older_schema_says_what_to_run_and_what_is_unknown(url: str) -> None:
    database.upgrade(DatabaseSettings.model_validate({"url": url}), "0005")
    shown = status(url)
    assert shown["database"]["revision"] == "0005" and shown["leases"] is None and shown["workers"] is None
    assert "run `monitor db upgrade`" in [problem["what_to_do"] for problem in shown["problems"]]


def test_another_program_on_the_port_is_no_monitor(url: str) -> None:
    with Receiver() as other:  # it answers GET with an error page
        shown = status(url, MONITOR_HTTP__PORT=str(other.server_port))
        plain = call("status", MONITOR_DATABASE__URL=url, MONITOR_HTTP__PORT=str(other.server_port))
    assert shown["monitor"]["answers"] is False and shown["monitor"]["ready"] is None
    assert "is no monitor" in plain.stdout


class Says(Receiver):
    """Answers GET of /readyz and /metrics with these texts."""

    def __init__(self, readiness: str, metrics: str = "") -> None:
        super().__init__()
        self.answers = {"/readyz": readiness, "/metrics": metrics}
        self.RequestHandlerClass = _Says

    def local_state(self) -> LocalState | Unanswered:
        return ask_monitor(f"http://127.0.0.1:{self.server_port}", ["news"])


class _Says(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Says)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(server.answers[self.path.partition("?")[0]].encode())

    def log_message(self, format: str, *args: object) -> None:
        """No line for every request."""


READY = '{"ready": true, "troubles": []}'
IN_HAND = 'sentiment_in_hand_bytes{kafka_topic="news"}'


@pytest.mark.parametrize(
    ("readiness", "metrics"),
    [
        ("[]", ""),
        ("{}", ""),
        ("null", ""),
        ('{"status": "UP"}', ""),
        ('{"detail": "Not Found"}', ""),
        ('{"ready": true}', ""),
        ('{"ready": "yes", "troubles": []}', ""),
        ('{"ready": 1, "troubles": []}', ""),
        ('{"ready": false, "troubles": null}', ""),
        ('{"ready": false, "troubles": "starting"}', ""),
        ('{"ready": false, "troubles": [1]}', ""),
        ("[" * 200_000, ""),
        ('{"a":' * 200_000, ""),
        ("<html></html>", ""),
        (READY, "<html></html>"),
        (READY, f"{IN_HAND} +Inf\n"),
        (READY, f"{IN_HAND} -Inf\n"),
        (READY, "sentiment_partition_paused 1\n"),
        (READY, 'sentiment_partition_paused{kafka_topic="news"} 1\n'),
        (READY, 'sentiment_partition_paused{kafka_topic="news",partition="first"} 1\n'),
        (READY, 'le{ , =le=a_b{}="\\,\n'),
    ],
)  # fmt: skip
def test_whatever_another_program_says_is_no_monitor(readiness: str, metrics: str) -> None:
    with Says(readiness, metrics) as other:
        state = other.local_state()
    assert isinstance(state, Unanswered) and state.problem.endswith("is no monitor"), state


def test_what_the_monitor_of_this_machine_says_is_read() -> None:
    paused = 'sentiment_partition_paused{kafka_topic="news",partition="%d"} %d\n'
    metrics = f"{IN_HAND} 12\nsentiment_rebalances_total NaN\n" + paused % (3, 1) + paused % (2, 0)
    with Says('{"ready": false, "troubles": ["starting"]}', metrics) as monitor:
        state = monitor.local_state()
    topic = TopicState("news", breaker_open=None, in_hand_bytes=12, paused=[3])
    assert state == LocalState(False, ["starting"], rebalances=None, topics=[topic])


@pytest.mark.parametrize(
    "behaviour",
    [
        odd_receivers.endless_body, odd_receivers.drips_body, odd_receivers.drips_headers,
        odd_receivers.drips_continues, odd_receivers.never_answers,
    ],
)  # fmt: skip
def test_an_answer_without_end_holds_status_up_for_seconds_only(behaviour: odd_receivers.Behaviour) -> None:
    began = time.monotonic()
    with odd_receivers.OddReceiver(behaviour) as other:
        state = ask_monitor(other.url.rpartition("/")[0], ["news"], seconds=1)
    assert isinstance(state, Unanswered) and time.monotonic() - began < 8


def test_a_holder_that_is_gone_is_told_only_where_the_group_is_known(url: str) -> None:
    settings = DatabaseSettings.model_validate({"url": url})
    database.upgrade(settings)
    engine = database.connect(settings)
    Lease(Store(engine, 60), "alerts", "gone:1:abc", 600).acquire()
    engine.dispose()
    shown = status(url)
    (worker,) = shown["workers"]
    assert (worker["name"], worker["partitions"], worker["leases"]) == ("gone:1", None, ["alerts"])
    assert not any("gone:1" in problem["what"] for problem in shown["problems"]), "nobody knows"

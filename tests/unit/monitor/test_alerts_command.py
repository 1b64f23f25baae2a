"""`monitor alerts test` against stand-ins of the services, over real sockets and processes."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import create_engine, func, select

from stream.storage import database, schema
from stream.storage.settings import DatabaseSettings
from tests.parts import Alertmanager
from tests.stand_ins import CHANNELS, REFUSES, StandIns

WEBHOOKS = {"hook": "https://hook.example/page", "connector": "https://connector.example/IncomingWebhook"}
MANAGERS = {"alertmanager": "https://alertmanager.example"}
# Lark's client waits five seconds before each page.
NAMES = [*(name for name in CHANNELS if name != "lark"), *WEBHOOKS, *MANAGERS]


def settings_file(folder: Path, **parts: Mapping[str, str]) -> Path:
    """A settings file with these receivers; all of them if there are none."""
    chosen = parts or {
        "channels": {name: url for name, url in CHANNELS.items() if name in NAMES},
        "webhooks": WEBHOOKS,
        "alertmanagers": MANAGERS,
    }
    lines = ["[database]", f'url = "sqlite:///{folder / "monitor.db"}"']
    for part, urls in chosen.items():
        lines += [f"[alerts.{part}]", *(f"{name} = {json.dumps(url)}" for name, url in urls.items())]
    path = folder / "monitor.toml"
    path.write_text("\n".join(lines))
    return path


def call(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitor.cli.main", "alerts", "test", "-c", str(config), *words],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_every_receiver_gets_a_test_page_and_its_answer_is_shown(tmp_path: Path, services: StandIns) -> None:
    done = call(settings_file(tmp_path), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = {result["receiver"].partition(":")[2]: result for result in json.loads(done.stdout)}
    assert set(results) == set(NAMES) and len(results) >= 10
    assert {result["outcome"] for result in results.values()} == {"sent"}
    assert "Event processed" in results["pagerduty"]["answered"]
    assert results["dingtalk"]["answered"] == "HTTP 200"
    for name in NAMES:
        (sent,) = services.sent[name]
        assert "TEST" in json.dumps(sent.body), name
    assert services.sent["hook"][0].body["test"] is True
    labels = services.sent["alertmanager"][0].body[0]["labels"]
    assert labels == {
        "alertname": "monitor-alerts-test", "severity": "page", "test": "true", "topic": "test",
    }  # fmt: skip


def test_what_refuses_under_http_200_fails_the_test_and_no_secret_is_shown(
    tmp_path: Path, services: StandIns
) -> None:
    services.replies = {**REFUSES, "pagerduty": (429, "")}
    done = call(settings_file(tmp_path))
    assert done.returncode == 1
    lines = {line.split()[0].partition(":")[2]: line for line in done.stdout.splitlines()}
    assert set(lines) == set(NAMES)
    for name in NAMES:
        expected = (
            " failed " if name in ("pagerduty", "dingtalk", "wecom", "feishu", "rocketchat", "hook") else " "
        )
        assert expected in lines[name], lines[name]
    taken = {name for name, line in lines.items() if " sent " in line}
    assert taken == set(NAMES) - {*REFUSES, "pagerduty"}
    assert "errcode 310000" in lines["dingtalk"] and "keywords not in content" in lines["dingtalk"]
    assert "HTTP 429" in lines["pagerduty"] and " refused " in lines["telegram"]
    for url in [*CHANNELS.values(), *WEBHOOKS.values()]:
        secrets = [part for part in url.split("://")[1].replace("@", "/").split("/") if len(part) >= 20]
        assert not any(secret in done.stdout + done.stderr for secret in secrets)


def test_the_end_of_the_test_closes_its_incidents_also_those_of_an_earlier_test(
    tmp_path: Path, services: StandIns
) -> None:
    incidents = {name: services.incidents[name] for name in ("pagerduty", "opsgenie", "oncall")}
    config = settings_file(tmp_path, channels={name: CHANNELS[name] for name in incidents})
    assert call(config).returncode == 0
    assert all(len(each.open) == 1 for each in incidents.values())
    done = call(config, "--resolve", "--severity", "info")
    assert done.returncode == 0 and done.stdout.count("resolved") == 3
    assert all(not each.open and len(each.resolved) == 1 for each in incidents.values())
    assert services.sent["oncall"][1].body["message_type"] == "INFO"


def test_only_the_named_receivers_get_it(tmp_path: Path, services: StandIns) -> None:
    config = settings_file(tmp_path)
    assert call(config, "hook", "channel:slack").returncode == 0
    assert {name for name, requests in services.sent.items() if requests} == {"hook", "slack"}
    wrong = call(config, "slakc")
    assert (
        wrong.returncode == 2
        and "there is no receiver 'slakc'" in wrong.stderr
        and "channel:slack" in wrong.stderr
    )


def test_without_a_receiver_it_says_what_to_set(tmp_path: Path) -> None:
    path = tmp_path / "monitor.toml"
    path.write_text("")
    done = call(path)
    assert done.returncode == 1 and "alerts.webhooks" in done.stderr and "Traceback" not in done.stderr


def test_a_receiver_that_is_down_is_named_and_keeps_no_other_back(tmp_path: Path, services: StandIns) -> None:
    hooks = {"gone": "http://127.0.0.1:1/x", "hook": WEBHOOKS["hook"]}
    done = call(settings_file(tmp_path, webhooks=hooks))
    assert done.returncode == 1
    gone, taken = done.stdout.splitlines()
    assert gone.startswith("webhook:gone") and "ConnectError" in gone
    assert " sent " in taken and len(services.sent["hook"]) == 1


def test_the_outbox_and_the_alerts_stay_as_they_are(tmp_path: Path, services: StandIns) -> None:
    url = f"sqlite:///{tmp_path / 'monitor.db'}"
    database.upgrade(DatabaseSettings.model_validate({"url": url}))
    assert call(settings_file(tmp_path, webhooks=WEBHOOKS)).returncode == 0
    engine = create_engine(url)
    with engine.connect() as connection:
        for table in (schema.outbox, schema.alerts, schema.deliveries, schema.alert_transitions):
            assert connection.scalar(select(func.count()).select_from(table)) == 0
    engine.dispose()


def test_a_real_alertmanager_holds_the_test_alert_and_its_end(
    tmp_path: Path, alertmanager: Alertmanager
) -> None:
    config = settings_file(tmp_path, alertmanagers={"main": alertmanager.url})
    assert call(config).returncode == 0
    (alert,) = alertmanager.alerts()
    assert alert["labels"]["test"] == "true" and "TEST" in alert["annotations"]["summary"]
    assert call(config, "--resolve").returncode == 0
    assert alertmanager.alerts() == []

"""From a surge in Kafka through the real Alertmanager, with the shipped configuration, to its receiver."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.delivery.silences import OWN
from tests import odd_receivers
from tests.conftest import ROOT, SURGE_RULES, Desk, need
from tests.odd_receivers import OddReceiver
from tests.parts import Alertmanager, Receiver, program, wait_until

RULES = (
    SURGE_RULES
    + """\
    labels: {desk: banks}
    runbook: https://runbook.example/surge
"""
)


def test_one_page_and_one_resolve_even_if_alertmanager_monitor_and_receiver_are_restarted(
    desk: Callable[[str, Mapping[str, str]], Desk], receiver: Receiver, alertmanager: Alertmanager
) -> None:
    managers = json.dumps({"main": alertmanager.url})
    room = desk(
        RULES,
        {
            "MONITOR_ALERTS__RESEND_SECONDS": "2",
            "MONITOR_ALERTS__ALERTMANAGERS": managers,
            "MONITOR_ALERTS__INCIDENTS__CALM_SECONDS": "5",
        },
    )
    monitor, rules = room.monitor, room.scene.folder / "rules.yaml"
    room.surge()
    wait_until(lambda: receiver.taken, 60, "the notification")
    firing = receiver.taken[0]
    assert firing["status"] == "firing"
    labels, annotations = firing["alerts"][0]["labels"], firing["alerts"][0]["annotations"]
    assert labels["alertname"] == "surge" and labels["desk"] == "banks"
    assert annotations["runbook_url"] == "https://runbook.example/surge"
    assert (
        "Northgate Bank" in annotations["description"]
        and "chance" in annotations["uncertainty"]
        and annotations["sources"]
    )
    path = firing["alerts"][0]["generatorURL"].removeprefix(monitor.url)
    page = re.sub("</?mark>", "", monitor.get(path)[1])
    assert path == f"/incidents/{labels['incident']}" and "Northgate Bank" in page

    # A restart neither loses the alert nor sends the page again.
    receiver.__exit__()
    alertmanager.stop()
    monitor.process.kill()
    monitor.process.wait(10)
    alertmanager.start()
    monitor = room.scene.start()
    wait_until(alertmanager.alerts, 60, "Alertmanager gets the alert again")

    # A broken rule file changes nothing: the rules loaded before stay in use.
    rules.write_text("rules: [")
    wait_until(lambda: monitor.metric("sentiment_alert_rules_usable") == 0, 20, "the broken file is noticed")
    assert "the rule file has errors, keeping the rules loaded before" in monitor.log.read_text()

    with Receiver(port=receiver.server_port) as again:

        def ended() -> bool:
            room.calm()
            return bool(again.taken) and again.taken[-1]["status"] == "resolved"

        wait_until(ended, 90, "it is resolved")
        rules.write_text(RULES)
        wait_until(lambda: monitor.metric("sentiment_alert_rules_usable") == 1, 20, "the mended file is used")
        pages = [*receiver.taken, *again.taken]
    assert [page["status"] for page in pages].count("resolved") == 1
    assert {page["groupKey"] for page in pages} == {firing["groupKey"]}
    assert monitor.stop() == 0


def test_who_silences_the_incident_in_alertmanager_has_it_and_what_the_desk_keeps_quiet_is_silent_there(
    desk: Callable[[str, Mapping[str, str]], Desk], receiver: Receiver, alertmanager: Alertmanager
) -> None:
    room = desk(RULES, {"MONITOR_ALERTS__ALERTMANAGERS": json.dumps({"main": alertmanager.url})})
    room.surge()
    wait_until(alertmanager.alerts, 60, "the alert in Alertmanager")
    (alert,) = alertmanager.alerts()
    id_ = alert["labels"]["incident"]

    def silence(**labels: str) -> None:
        matchers = [{"name": name, "value": value, "isRegex": False} for name, value in labels.items()]
        ends = datetime.now(UTC) + timedelta(hours=1)
        body = {
            "matchers": matchers, "createdBy": "ann", "comment": "mine",
            "startsAt": datetime.now(UTC).isoformat(), "endsAt": ends.isoformat(),
        }  # fmt: skip
        httpx.post(f"{alertmanager.url}/api/v2/silences", json=body).raise_for_status()

    def incident() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(room.monitor.get(f"/api/v1/incidents/{id_}")[1])
        return found

    def own_silences() -> list[dict[str, Any]]:
        rows = json.loads(alertmanager.get("/api/v2/silences"))
        return [row for row in rows if row["createdBy"] == OWN and row["status"]["state"] == "active"]

    silence(alertname="surge", desk="banks")  # a mute of every incident of the rule
    silence(**alert["labels"])
    wait_until(lambda: incident()["incident"]["acknowledged_by"], 30, "the acknowledgement")
    (action,) = incident()["actions"]
    assert (action["by"], action["kind"]) == ("ann", "acknowledge")

    answer = httpx.post(f"{room.monitor.url}/api/v1/incidents/{id_}/quiet", json={"quiet": "30"})
    assert answer.status_code == 200, answer.text

    def names() -> set[str]:
        return {"+".join(sorted(m["name"] for m in row["matchers"])) for row in own_silences()}

    # One says that somebody has it, at this severity; the other that it is to be quiet.
    wait_until(lambda: names() == {"incident", "incident+severity"}, 30, "the desk's silences")
    httpx.post(f"{room.monitor.url}/api/v1/incidents/{id_}/close", json={"verdict": "old"}).raise_for_status()
    wait_until(lambda: not own_silences(), 30, "they are lifted")
    wait_until(lambda: incident()["incident"]["ended_at"], 30, "the end")
    assert room.monitor.stop() == 0


def test_receivers_that_drip_or_never_answer_delay_no_other_and_not_the_end(
    desk: Callable[[str, Mapping[str, str]], Desk], receiver: Receiver, alertmanager: Alertmanager
) -> None:
    with (
        OddReceiver(odd_receivers.drips_headers) as drips,
        OddReceiver(odd_receivers.never_answers) as silent,
        Receiver() as good,
    ):
        managers = {"drips": drips.url, "silent": silent.url, "main": alertmanager.url}
        webhooks = {"drips": drips.url, "silent": silent.url, "good": good.url}
        channels = {"drips": drips.url.replace("http", "json")}
        room = desk(
            SURGE_RULES,
            {
                "MONITOR_ALERTS__ALERTMANAGERS": json.dumps(managers),
                "MONITOR_ALERTS__WEBHOOKS": json.dumps(webhooks),
                "MONITOR_ALERTS__CHANNELS": json.dumps(channels),
                "MONITOR_ALERTS__CHANNEL_SECONDS": "60",
            },
        )
        room.surge()
        wait_until(lambda: good.taken, 20, "the page at the good webhook")
        wait_until(alertmanager.alerts, 5, "the alert in the good Alertmanager")
        wait_until(lambda: len(drips.requests) >= 3 and len(silent.requests) >= 2, 10, "the others are tried")
        monitor = room.monitor

        def failures() -> bool:
            counts = [
                monitor.metric("sentiment_pages_total", receiver=name, outcome="failed")
                for name in ("drips", "silent")
            ]
            return all(counts)

        wait_until(failures, 20, "what failed is counted")
        started = time.monotonic()
        assert monitor.stop() == 0
        assert time.monotonic() - started < 25, "the end waits for no receiver"
    assert "no complete answer within 5 s" in monitor.log.read_text()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "docker" / "prometheus").glob("*.rules.yaml")), ids=lambda p: p.stem
)
def test_every_prometheus_rule_is_tested_and_every_test_passes(file: Path) -> None:
    promtool = need(lambda: program("promtool"))
    tests = file.parent / "tests" / file.name.replace(".rules.", ".test.")
    for words in (["check", "rules", str(file)], ["test", "rules", str(tests)]):
        done = subprocess.run([promtool, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    alerts = [line.split("alert: ")[1] for line in file.read_text().splitlines() if "- alert: " in line]
    for alert in alerts:
        assert f"alertname: {alert}" in tests.read_text(), f"{alert} is not tested"


def test_a_rule_that_never_fires_fails_its_test(tmp_path: Path) -> None:
    promtool = need(lambda: program("promtool"))
    folder = ROOT / "docker" / "prometheus"
    shutil.copytree(folder / "tests", tmp_path / "tests")
    text = (folder / "monitor.rules.yaml").read_text()
    (tmp_path / "monitor.rules.yaml").write_text(text.replace("> 120", "> 120000"))
    words = [promtool, "test", "rules", str(tmp_path / "tests" / "monitor.test.yaml")]
    assert subprocess.run(words, check=False, capture_output=True).returncode != 0

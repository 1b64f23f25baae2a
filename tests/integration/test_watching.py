"""Prometheus and Grafana: a real monitor, scraped by the real Prometheus, and every panel's query asked."""

import importlib.util
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, text

from models.network.info import read_info
from models.settings import SHIPPED_WEIGHTS
from tests.conftest import ROOT, SURGE_RULES, Desk, need
from tests.parts import Alertmanager, Prometheus, Receiver, wait_until

DOCKER = ROOT / "docker"
DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
EVENTS_PANEL = "What the texts report"
# Grafana puts these in before it asks.
TIME_FILTER = re.compile(r"\$__timeFilter\((\w+)\)")
VARIABLES = {"$kind": "news|comment", "$__rate_interval": "1m", "$__interval": "5s"}


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build", DOCKER / "grafana" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def panels(file: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


def annotations(file: Path) -> list[dict[str, Any]]:
    """The annotations of a dashboard, in the form of panels."""
    entries = json.loads(file.read_text())["annotations"].get("list") or []
    return [{"title": entry["name"], "targets": [entry["target"]]} for entry in entries]


def test_the_shipped_dashboards_match_the_builder() -> None:
    made = builder().files()
    assert {file.name: file.read_text() for file in DASHBOARDS} == made


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_panel_has_a_description_and_a_unit(file: Path) -> None:
    for panel in panels(file):
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"] and panel["datasource"]["uid"] in ("prometheus", "postgres")


def test_grafana_is_provisioned_with_the_data_sources_and_folder_of_the_dashboards() -> None:
    folder = DOCKER / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "sentiment.yaml").read_text())["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    for file in DASHBOARDS:
        for panel in panels(file):
            assert by_uid[panel["datasource"]["uid"]]["type"] == panel["datasource"]["type"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "sentiment.yaml").read_text())["providers"]
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]


def watch(folder: Path, monitor_url: str, alertmanager: Alertmanager) -> Prometheus:
    """The shipped configuration and rules, at these addresses, and fast enough for a test."""
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager.url[7:]]}]
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "sentiment-monitor")
    del job["dns_sd_configs"], job["authorization"]
    job["static_configs"] = [{"targets": [monitor_url[7:]]}]
    rules = (DOCKER / "prometheus" / "monitor.rules.yaml").read_text()
    (folder / "monitor.rules.yaml").write_text(
        rules.replace("for: 2m", "for: 2s").replace("for: 1m", "for: 2s")
    )
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    return need(lambda: Prometheus(folder, folder / "prometheus.yaml"))


def test_every_panel_has_data_after_a_real_run_and_a_monitor_that_is_down_is_paged(
    desk: Callable[[str, Mapping[str, str]], Desk],
    receiver: Receiver,
    alertmanager: Alertmanager,
    tmp_path: Path,
) -> None:
    room = desk(
        SURGE_RULES + "watchlists:\n  ours: [XNAS:AAPL]\n",
        {
            "MONITOR_ALERTS__WATCHLIST": "ours",
            "MONITOR_ALERTS__WEBHOOKS": json.dumps({"desk": receiver.url}),
            "MONITOR_STREAM__HEARTBEAT_SECONDS": "1",
        },
    )
    prometheus = watch(tmp_path, room.monitor.url, alertmanager).start()
    try:
        room.calm()
        room.send(room.scene.kafka.news, [b"no JSON"])
        room.surge()
        wait_until(lambda: receiver.taken, 60, "the page")
        wait_until(
            lambda: prometheus.query("time() - sentiment_heartbeat_timestamp_seconds < 5"), 30, "a heartbeat"
        )
        engine = create_engine(room.scene.database_url)
        asked = [(file.stem, panel) for file in DASHBOARDS for panel in [*panels(file), *annotations(file)]]
        if not read_info(SHIPPED_WEIGHTS).event_types:
            asked = [(name, panel) for name, panel in asked if panel["title"] != EVENTS_PANEL]
        assert len(asked) > 20

        def silent() -> list[str]:
            room.calm()
            room.send(room.scene.kafka.news, [about_apple()])
            return [f"{name}: {p['title']}" for name, p in asked if not answers(prometheus, engine, p)]

        wait_until(lambda: not silent(), 60, f"data in every panel, none in {silent()}")
        engine.dispose()

        room.monitor.stop()
        wait_until(
            lambda: paged(receiver, "SentimentMonitorDown", "firing"), 60, "the page about the monitor"
        )
    finally:
        prometheus.stop()


def about_apple() -> dict[str, str]:
    now = datetime.now(UTC).isoformat()
    text = "Apple (NASDAQ: AAPL) shares plunge after the company cuts its outlook"
    return {"id": now, "source": "wire", "published_at": now, "title": text}


def paged(receiver: Receiver, name: str, status: str) -> bool:
    return any(
        page.get("status") == status and page["commonLabels"].get("alertname") == name
        for page in receiver.taken
    )


def answers(prometheus: Prometheus, engine: Any, panel: dict[str, Any]) -> bool:
    """Whether each of the panel's queries gives rows, or series with a number in them."""
    return all(
        rows(engine, target["rawSql"]) if "rawSql" in target else numbers(prometheus, target)
        for target in panel["targets"]
    )


def rows(engine: Any, sql: str) -> bool:
    asked = TIME_FILTER.sub(r"\1 BETWEEN $__timeFrom() AND $__timeTo()", sql)
    asked = asked.replace("$__timeFrom()", "now() - interval '6 hours'").replace("$__timeTo()", "now()")
    with engine.connect() as connection:
        return connection.execute(text(asked.replace(":", r"\:"))).first() is not None


def numbers(prometheus: Prometheus, target: dict[str, Any]) -> bool:
    expr = target["expr"]
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    if target.get("instant"):
        values = [float(series["value"][1]) for series in prometheus.query(expr)]
    else:
        values = [float(value) for series in prometheus.query(expr, 30) for _, value in series["values"]]
    return any(math.isfinite(value) for value in values) or ("drift" in expr and bool(values))

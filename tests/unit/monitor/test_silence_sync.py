"""The desk's word and a real Alertmanager's silences, both ways, out of a real database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from alerts.delivery.alertmanager import alertmanager_url
from alerts.delivery.notifiers import Webhooks
from alerts.delivery.pages import PageRouter
from alerts.delivery.silences import OWN, AlertmanagerSilences, Matcher, Silence
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from alerts.settings import SHIPPED_RULES
from monitor.runtime.tasks.alertmanager import AlertmanagerSync
from monitor.runtime.tasks.silences import SilenceSync
from monitor.web.incident_work import incident_actions
from stream.domain.incident_actions import ActionKind, ActionRequest, Verdict
from stream.domain.incidents import Incident, PageKind
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from tests.desk_parts import new_store
from tests.parts import Alertmanager, Receiver, wait_until
from tests.sample_incidents import message
from tests.unit.stream.test_episode_store import firing_alert
from tests.unit.stream.test_incident_rows import INCIDENT, page

HOUR = timedelta(hours=1)
PAGE = replace(page(PageKind.BEGIN, 1), message=message())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = new_store(tmp_path)
    yield made
    made.engine.dispose()


class Desk:
    """An incident of now in the database and in an Alertmanager, and people who act on it."""

    def __init__(self, store: Store, url: str) -> None:
        self.episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
        self.actions = incident_actions(store)
        self.silences = AlertmanagerSilences(SecretStr(url), 5)
        rule_file, router = RuleFile(SHIPPED_RULES, ["topic"]), PageRouter(address="https://monitor.example")
        lease = Lease(store, "alertmanager:main", "me", 20)
        webhook = Webhooks({"main": alertmanager_url(SecretStr(url))}, 5)
        common: dict[str, Any] = {
            "name": "main", "episodes": self.episodes, "per": "incident", "rule_file": rule_file,
            "router": router, "lease": lease, "clock": lambda: datetime.now(UTC),
        }  # fmt: skip
        self.alerts = AlertmanagerSync(
            **common,
            send=partial(webhook.send, "main"),
            max_bytes=500_000,
            metrics=AlertMetrics(),
            interval=timedelta(seconds=30),
        )
        self.sync = SilenceSync(**common, silences=self.silences, actions=self.actions)

    def begin(self) -> None:
        now = datetime.now(UTC)
        incident = replace(INCIDENT, began_at=now, last_page_at=now)
        alert = firing_alert(incident="i", fired_at=now, since=now)
        self.episodes.save([alert], [], [], [], now, [incident], [replace(PAGE, at=now)])
        self.alerts.run_once()

    @property
    def incident(self) -> Incident:
        return self.episodes.incidents_of(["i"])["i"]

    def silence(self, *matchers: Matcher) -> None:
        now = datetime.now(UTC)
        self.silences.put(Silence(matchers, now, now + HOUR, "ann", "mine"))

    def act(self, kind: ActionKind, **fields: Any) -> None:
        self.actions.act("i", ActionRequest(kind, kind, "bob", **fields), datetime.now(UTC))

    def own(self) -> list[Silence]:
        return [silence for silence in self.silences.read() if silence.is_own]


@pytest.fixture
def desk(store: Store, alertmanager: Alertmanager) -> Desk:
    made = Desk(store, alertmanager.url)
    made.begin()
    return made


def silenced(alertmanager: Alertmanager) -> bool:
    return [alert["status"]["state"] for alert in alertmanager.alerts()] == ["suppressed"]


def test_a_silence_of_exactly_the_incident_acknowledges_it_once(
    desk: Desk, alertmanager: Alertmanager
) -> None:
    (alert,) = alertmanager.alerts()
    desk.silence(*(Matcher(name, value) for name, value in alert["labels"].items()))
    for _ in range(3):
        desk.sync.run_once()
    (action,) = desk.actions.of("i")
    assert (action.kind, action.actor) == (ActionKind.ACKNOWLEDGE, "ann")
    assert action.text == "by a silence in Alertmanager: mine"
    assert desk.incident.acknowledged_by == "ann"


def test_a_mute_of_more_than_the_incident_acknowledges_nothing(desk: Desk) -> None:
    desk.silence(Matcher("severity", "page"))
    desk.silence(Matcher("incident", "i", is_regex=True))
    desk.silence(Matcher("incident", ".+", is_regex=True), Matcher("alertname", "r"))
    desk.sync.run_once()
    assert desk.actions.of("i") == [] and desk.incident.acknowledged_at is None


def test_what_the_desk_keeps_quiet_is_silent_in_alertmanager_until_it_says_otherwise(
    desk: Desk, alertmanager: Alertmanager
) -> None:
    until = datetime.now(UTC) + HOUR
    desk.act(ActionKind.QUIET, until=until)
    desk.sync.run_once()
    desk.sync.run_once()
    (silence,) = desk.own()
    assert (silence.created_by, silence.matchers) == (OWN, (Matcher("incident", "i"),))
    assert abs(silence.ends_at - until) < timedelta(seconds=1)
    assert "https://monitor.example/incidents/i" in silence.comment
    wait_until(lambda: silenced(alertmanager), 10, "the alert is silenced")
    # What the monitor itself wrote acknowledges nothing.
    assert desk.incident.acknowledged_at is None
    desk.actions.act("i", ActionRequest(ActionKind.QUIET, "again", "bob"), datetime.now(UTC))
    desk.sync.run_once()
    assert desk.own() == []
    wait_until(lambda: not silenced(alertmanager), 10, "the alert is heard again")


def test_what_the_desk_acknowledged_is_not_repeated_until_it_gets_worse(desk: Desk) -> None:
    desk.act(ActionKind.ACKNOWLEDGE)
    desk.sync.run_once()
    (silence,) = desk.own()
    assert Matcher("severity", "page|ticket|info", is_regex=True) in silence.matchers
    now = datetime.now(UTC)
    worse = replace(desk.incident, paged_number=2, last_page_at=now)
    update = replace(page(PageKind.UPDATE, 2), message=message())
    desk.episodes.save([], [], [], [], now, [worse], [update])
    desk.sync.run_once()
    assert desk.own() == []


def test_what_is_closed_is_silent_no_longer(desk: Desk) -> None:
    desk.act(ActionKind.QUIET, until=datetime.now(UTC) + HOUR)
    desk.sync.run_once()
    desk.act(ActionKind.CLOSE, verdict=Verdict.OLD)
    desk.sync.run_once()
    assert desk.own() == []


def test_an_alertmanager_that_has_forgotten_its_silences_is_told_them_again(
    desk: Desk, alertmanager: Alertmanager
) -> None:
    desk.act(ActionKind.QUIET, until=datetime.now(UTC) + HOUR)
    desk.sync.run_once()
    (silence,) = desk.own()
    httpx.delete(f"{alertmanager.url}/api/v2/silence/{silence.id}").raise_for_status()
    desk.sync.run_once()
    (again,) = desk.own()
    assert again.matchers == silence.matchers and again.id != silence.id


def test_an_alertmanager_that_is_away_or_answers_nonsense_harms_nothing_and_is_logged_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as receiver:
        desk = Desk(store, receiver.url)
        desk.begin()
        receiver.answer = b"<html>not found"
        desk.sync.run_once()
        desk.sync.run_once()
    desk.sync.run_once()
    lines = [record.getMessage() for record in caplog.records if "Alertmanager main" in record.getMessage()]
    assert len([line for line in lines if "its silences are read again" in line]) == 1
    assert "secret-token" not in caplog.text

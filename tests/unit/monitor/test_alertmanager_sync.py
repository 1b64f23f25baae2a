"""What an Alertmanager is sent out of a real database: everything, in requests of a size that it takes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from alerts.delivery.alertmanager import alertmanager_url
from alerts.delivery.notifiers import Webhooks
from alerts.delivery.pages import PageRouter
from alerts.delivery.template import EXAMPLE
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from alerts.settings import SHIPPED_RULES
from monitor.runtime.tasks.alertmanager import AlertmanagerSync
from stream.domain.alerts import Alert, AlertState, EvidenceItem
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.settings import DatabaseSettings
from tests.parts import Alertmanager, Receiver, wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALLEST = 10_000


def episode(number: int, *, words: int = 0) -> Alert:
    item = EvidenceItem("wire", "1", NOW, "Shares fall", -0.9, ("\u7206" * words,) * 3, "https://a.example")
    return replace(
        EXAMPLE,
        id=f"e{number}",
        topic=f"topic {number}",
        since=NOW,
        fired_at=NOW,
        summary="much gloom",
        evidence=(item,) * 5,
        sources={f"source {i}": i for i in range(200)},
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    settings = DatabaseSettings.model_validate({"url": f"sqlite:///{tmp_path / 'test.db'}"})
    database.upgrade(settings)
    made = Store(database.connect(settings), 60)
    yield made
    made.engine.dispose()


class Room:
    def __init__(
        self, store: Store, receiver: Receiver | Alertmanager, max_bytes: int, rules: Path = SHIPPED_RULES
    ) -> None:
        self.now, self.metrics = NOW, AlertMetrics()
        self.episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
        url = SecretStr(receiver.url)
        webhook = Webhooks({"main": alertmanager_url(url) if isinstance(receiver, Alertmanager) else url}, 5)
        self.rule_file = RuleFile(rules, ["topic"])
        self.sync = AlertmanagerSync(
            name="main",
            send=partial(webhook.send, "main"),
            max_bytes=max_bytes,
            episodes=self.episodes,
            rule_file=self.rule_file,
            per="incident",
            router=PageRouter(address="https://monitor.example"),
            lease=Lease(store, "alertmanager:main", "me", 20),
            metrics=self.metrics,
            interval=timedelta(seconds=30),
            clock=lambda: self.now,
        )

    def save(self, *alerts: Alert) -> None:
        self.episodes.save(alerts, [], [], [], NOW)


def test_many_alerts_go_in_several_requests_within_the_budget(store: Store) -> None:
    with Receiver(max_bytes=SMALLEST) as receiver:
        room = Room(store, receiver, SMALLEST)
        room.save(*[episode(number) for number in range(40)])
        room.sync.run_once()
        assert receiver.refused == [] and len(receiver.taken) > 3
        topics = [alert["labels"]["topic"] for request in receiver.taken for alert in request]
        assert sorted(topics) == sorted(f"topic {number}" for number in range(40))
        room.sync.run_once()
        assert len(topics) == 40, "nothing is sent again before its time"


def test_words_and_sources_without_end_are_shown_in_part(store: Store) -> None:
    with Receiver() as receiver:
        room = Room(store, receiver, 500_000)
        room.save(episode(1, words=160_000))
        room.sync.run_once()
        (((alert,),)) = receiver.taken
        assert len(msgspec.json.encode(alert)) < 20_000
        assert "\u7206\u2026" in alert["annotations"]["evidence"]
        assert alert["annotations"]["sources"].endswith("source 19 19 and 180 more")


def test_an_alert_above_the_budget_goes_without_its_evidence_and_says_so(store: Store) -> None:
    with Receiver() as receiver:
        room = Room(store, receiver, SMALLEST)
        room.save(
            replace(episode(1), uncertainty="u" * 5000, evidence=episode(1, words=160_000).evidence * 2),
            episode(2),
        )
        room.sync.run_once()
        alerts = [alert for request in receiver.taken for alert in request]
        assert [alert["labels"]["topic"] for alert in alerts] == ["topic 1", "topic 2"]
        first, second = (alert["annotations"] for alert in alerts)
        assert "evidence" not in first and "evidence" in first["shortened"]
        assert first["summary"] == "much gloom" and "evidence" in second


def test_an_alertmanager_that_takes_less_than_the_budget_gets_each_alert_as_far_as_it_takes_it(
    store: Store,
) -> None:
    with Receiver(max_bytes=1000) as receiver:
        room = Room(store, receiver, 500_000)
        room.save(*[episode(number, words=200) for number in range(3)])
        room.sync.run_once()
        alerts = [alert for request in receiver.taken for alert in request]
        assert sorted(alert["labels"]["topic"] for alert in alerts) == ["topic 0", "topic 1", "topic 2"]
        assert all("evidence" in alert["annotations"]["shortened"] for alert in alerts)
        assert all(alert["generatorURL"] for alert in alerts)


def test_an_alert_that_is_refused_in_every_form_keeps_no_other_back(store: Store) -> None:
    with Receiver(max_bytes=1500) as receiver:
        room = Room(store, receiver, 500_000)
        room.save(replace(episode(1), rule="r" * 2000), episode(2), episode(3))
        room.sync.run_once()
        alerts = [alert for request in receiver.taken for alert in request]
        assert [alert["labels"]["topic"] for alert in alerts] == ["topic 2", "topic 3"]
        attempts = len(receiver.refused)
        room.sync.run_once()
        assert len(receiver.refused) == attempts, "what is refused for good waits for the next interval"


def test_a_failed_request_is_repeated_and_an_end_is_sent_after_its_beginning(store: Store) -> None:
    with Receiver(status=503) as receiver:
        room = Room(store, receiver, 500_000)
        room.save(episode(1))
        room.sync.run_once()
        receiver.status = 200
        room.sync.run_once()
        ended = replace(episode(1), state=AlertState.RESOLVED, resolved_at=NOW)
        room.save(ended)
        room.sync.run_once()
        assert [request[0]["endsAt"] for request in receiver.taken] == [
            (NOW + timedelta(seconds=120)).isoformat(), NOW.isoformat(),
        ]  # fmt: skip


def test_what_was_sent_before_the_clock_was_set_back_is_sent_again(store: Store) -> None:
    with Receiver() as receiver:
        room = Room(store, receiver, 500_000)
        room.save(episode(1))
        room.sync.run_once()
        room.now = NOW - timedelta(hours=2)
        room.sync.run_once()
        assert len(receiver.taken) == 2
        room.sync.run_once()
        assert len(receiver.taken) == 2


RULE = """
rules:
  - {{name: gloom, type: threshold, watch: mean_score, threshold: -0.3, severity: {severity}, labels: {{team: {team}}}}}
"""


def test_an_alert_whose_rule_is_edited_stays_one_alert_in_a_real_alertmanager(
    tmp_path: Path, store: Store, alertmanager: Alertmanager
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULE.format(severity="page", team="a"))
    room = Room(store, alertmanager, 500_000, path)
    room.now = datetime.now(UTC)
    fired = replace(episode(1), rule="gloom", labels={"team": "a"}, since=room.now, fired_at=room.now)
    room.save(fired)
    room.sync.run_once()
    path.write_text(RULE.format(severity="ticket", team="b"))
    room.rule_file.changed()
    assert room.rule_file.changed(), "a file is read once it looks the same twice"
    room.now += timedelta(minutes=2)
    room.sync.run_once()
    (alert,) = alertmanager.alerts()
    assert (alert["labels"]["team"], alert["labels"]["severity"]) == ("a", "page")
    ended = datetime.now(UTC)
    room.save(replace(fired, state=AlertState.RESOLVED, resolved_at=ended))
    room.now = ended
    room.sync.run_once()
    wait_until(lambda: alertmanager.alerts() == [], 10, "Alertmanager takes the alert for ended")

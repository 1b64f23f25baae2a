"""Episodes of alerts in SQL, their transitions and pages."""

from dataclasses import replace
from datetime import timedelta

from stream.domain.alerts import Alert, AlertState, EvidenceItem, PageRequest, Severity, Transition
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox
from tests.unit.stream.samples import (
    NOW,
)


def firing_alert(**changes: object) -> Alert:
    alert = Alert(
        id="abc",
        rule="r",
        topic="Earnings",
        severity=Severity.PAGE,
        state=AlertState.FIRING,
        since=NOW,
        value=4.5,
        threshold=3.0,
        n=40,
        uncertainty="u",
        summary="s",
        fired_at=NOW,
        evidence=(EvidenceItem("wire", "a", NOW, "Shares fall", -0.5, traceparent="00-ab-cd-01"),),
    )
    return replace(alert, **changes)  # type: ignore[arg-type]


def test_an_alert_is_read_as_it_was_saved_and_is_open_until_it_is_resolved(store: Store) -> None:
    alerts = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    message = {"id": "abc", "key": "abc:firing", "state": "firing"}
    page = PageRequest("webhook:desk", "abc:firing", "r", message, NOW)
    transition = Transition(firing_alert(), AlertState.PENDING, NOW, message)
    alerts.save([firing_alert()], [], [transition], [page], NOW)
    assert alerts.open_alerts() == [firing_alert()] == [alerts.find("abc")]
    entries = Outbox(store.engine).due(["webhook:desk", "kafka:alerts"], NOW, 9)
    assert [entry.target for entry in entries] == ["kafka:alerts", "webhook:desk"]
    alerts.save([firing_alert(state=AlertState.RESOLVED, resolved_at=NOW)], [], [], [], NOW)
    assert alerts.open_alerts() == []
    assert [a.state for a in alerts.recent_alerts(5)] == ["resolved"]
    assert alerts.find("abd") is None


def test_every_transition_is_a_row_and_every_page_is_queued_once_with_its_outcome(store: Store) -> None:
    alerts = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    message = {"id": "abc", "key": "abc:firing", "state": "firing"}
    page = PageRequest("webhook:desk", "abc:firing", "r", message, NOW)
    for _ in range(2):  # as if the monitor had restarted without knowing that it saved
        alerts.save(
            [firing_alert()], [], [Transition(firing_alert(), AlertState.PENDING, NOW, message)], [page], NOW
        )
    (entry,) = Outbox(store.engine).due(["webhook:desk"], NOW, 9)
    assert (entry.lane, entry.key) == ("r", "abc:firing")
    assert [(row.target, row.outcome) for row in alerts.deliveries("abc")] == [("webhook:desk", None)]
    Outbox(store.engine).mark_done([entry], "sent", NOW + timedelta(seconds=3))
    (delivery,) = alerts.deliveries("abc")
    assert (delivery.outcome, delivery.settled_at) == ("sent", NOW + timedelta(seconds=3))
    first, _ = alerts.transitions("abc")
    assert (first.before, first.state, first.at, first.value, first.n) == ("pending", "firing", NOW, 4.5, 40)

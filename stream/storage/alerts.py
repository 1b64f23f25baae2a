"""Episodes of alerts in SQL: their state, their transitions, and the pages that were queued for them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from stream.domain.alerts import (
    OPEN_STATES,
    Alert,
    AlertState,
    EvidenceItem,
    PageRequest,
    Severity,
    Transition,
)
from stream.domain.errors import LeaseLost
from stream.domain.records import OutboundMessage
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.leases import Lease
from stream.storage.outbox import enqueue, to_kafka
from stream.storage.sql import upsert_insert


class SqlEpisodeStore:
    """The `EpisodeStore` of the alerts over SQL, with what the alert pages read.

    `save` renews the lease in its own transaction.  Every method raises StoreUnavailable if the database does
    not answer.
    """

    def __init__(self, store: Store, lease: Lease, alerts_topic: str) -> None:
        self._store, self._lease, self._topic = store, lease, alerts_topic

    def past_alerts(self, since: datetime) -> list[Alert]:
        """The episodes that fired and were resolved at `since` or later, in the order of their end."""
        table = schema.alerts
        query = select(table).where(table.c.resolved_at >= since, table.c.fired_at.is_not(None))
        with reading(self._store.engine) as connection:
            return [_alert(row) for row in connection.execute(query.order_by(table.c.resolved_at))]

    def open_alerts(self) -> list[Alert]:
        """The episodes that have not ended."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            rows = connection.execute(select(table).where(table.c.state.in_(OPEN_STATES)))
            return [_alert(row) for row in rows]

    def recent_alerts(self, limit: int) -> list[Alert]:
        """The latest episodes of any state, oldest first."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.since.desc()).limit(limit))
            return [_alert(row) for row in rows][::-1]

    def find(self, id_: str) -> Alert | None:
        """The episode with this id."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            row = connection.execute(select(table).where(table.c.id == id_)).one_or_none()
            return None if row is None else _alert(row)

    def transitions(self, alert_id: str) -> list[Any]:
        """The rows of the transitions of an episode, in order."""
        table = schema.alert_transitions
        with reading(self._store.engine) as connection:
            query = select(table).where(table.c.alert_id == alert_id).order_by(table.c.id)
            return list(connection.execute(query))

    def deliveries(self, alert_id: str) -> list[Any]:
        """The rows of the pages of an episode, in the order in which they were queued."""
        table = schema.deliveries
        with reading(self._store.engine) as connection:
            query = select(table).where(table.c.alert_id == alert_id)
            return list(connection.execute(query.order_by(table.c.queued_at, table.c.target)))

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        transitions: Sequence[Transition],
        page_requests: Sequence[PageRequest],
        now: datetime,
    ) -> None:
        """Write episodes, drop those that never fired, note every transition and queue it as an event, and
        queue pages, all or nothing.  Raises LeaseLost."""
        table = schema.alerts
        with writing(self._store.engine) as connection:
            if not self._lease.renew(connection, now):
                raise LeaseLost("another monitor evaluates the alerts now")
            if dropped:
                connection.execute(table.delete().where(table.c.id.in_(dropped)))
            for alert in changed:
                row = _row(alert)
                statement = upsert_insert(connection, table).on_conflict_do_update(
                    index_elements=["id"], set_={key: row[key] for key in row if key != "id"}
                )
                connection.execute(statement, row)
            if transitions:
                connection.execute(
                    schema.alert_transitions.insert(),
                    [_transition_row(transition) for transition in transitions],
                )
                events = [
                    (str(transition.message["key"]), dict(transition.message)) for transition in transitions
                ]
                enqueue(connection, [to_kafka(self._topic, events)], now)
            enqueue(connection, [_page(n) for n in page_requests if _is_new(connection, n, now)], now)


def _is_new(connection: Connection, request: PageRequest, now: datetime) -> bool:
    """Note that a page is queued; false where it was before: none goes to a receiver twice."""
    row = {
        "target": request.target, "key": request.key, "alert_id": request.message["id"], "queued_at": now,
    }  # fmt: skip
    statement = upsert_insert(connection, schema.deliveries).on_conflict_do_nothing()
    return connection.scalar(statement.returning(schema.deliveries.c.key), row) is not None


def _page(request: PageRequest) -> OutboundMessage:
    body = msgspec.json.encode(request.message)
    return OutboundMessage(request.target, body, request.lane, request.key, request.not_before)


def _transition_row(transition: Transition) -> dict[str, Any]:
    alert = transition.alert
    names = ("rule", "topic", "state", "value", "threshold", "n", "uncertainty", "summary")
    fields = {name: getattr(alert, name) for name in names}
    return fields | {"alert_id": alert.id, "before": transition.before, "at": transition.at}


def _row(alert: Alert) -> dict[str, Any]:
    fields = {name: getattr(alert, name) for name in schema.alerts.columns.keys()}  # noqa: SIM118
    return fields | {"evidence": msgspec.to_builtins(alert.evidence)}


def _alert(row: Any) -> Alert:
    fields = dict(row._mapping)
    fields["state"], fields["severity"] = AlertState(fields["state"]), Severity(fields["severity"])
    fields["evidence"] = msgspec.convert(fields["evidence"], tuple[EvidenceItem, ...])
    return Alert(**fields)

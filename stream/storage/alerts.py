"""Alerts in SQL: episodes with their transitions, incidents, and the pages that were queued for them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

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
from stream.domain.incidents import MOST_ALERTS, Incident, Page
from stream.domain.records import OutboundMessage
from stream.domain.sums import Counted
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.incidents import read_incidents, read_pages, save_incidents
from stream.storage.leases import Lease
from stream.storage.outbox import KafkaMessage, enqueue, hasten, to_kafka
from stream.storage.sql import database_time, dialect_insert


class SqlEpisodeStore:
    """The `EpisodeStore` of the alerts over SQL, with what the evidence pages read.

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
            return [alert_of_row(row) for row in connection.execute(query.order_by(table.c.resolved_at))]

    def open_alerts(self) -> list[Alert]:
        """The episodes that have not ended."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            rows = connection.execute(select(table).where(table.c.state.in_(OPEN_STATES)))
            return [alert_of_row(row) for row in rows]

    def recent_alerts(self, limit: int) -> list[Alert]:
        """The latest episodes of any state, oldest first."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.since.desc()).limit(limit))
            return [alert_of_row(row) for row in rows][::-1]

    def open_incidents(self, closed_since: datetime | None = None) -> list[Incident]:
        """The incidents that have not ended, and those that people closed since then; the oldest first."""
        table = schema.incidents
        meant: ColumnElement[bool] = table.c.ended_at.is_(None)
        if closed_since is not None:
            closed = and_(table.c.ended_at >= closed_since, table.c.closed_at.is_not(None))
            meant = or_(meant, closed)
        query = select(table).where(meant).order_by(table.c.began_at, table.c.id)
        with reading(self._store.engine) as connection:
            return read_incidents(connection, query)

    def followed_incidents(self, since: datetime) -> list[Incident]:
        """The incidents that are open or ended since then, the oldest first."""
        table = schema.incidents
        followed = or_(table.c.ended_at.is_(None), table.c.ended_at >= since)
        query = select(table).where(followed).order_by(table.c.began_at, table.c.id)
        with reading(self._store.engine) as connection:
            return read_incidents(connection, query)

    def recent_incidents(self, limit: int) -> list[Incident]:
        """The latest incidents, the oldest first."""
        table = schema.incidents
        query = select(table).order_by(table.c.began_at.desc(), table.c.id).limit(limit)
        with reading(self._store.engine) as connection:
            return read_incidents(connection, query)[::-1]

    def incidents_of(self, ids: Collection[str]) -> dict[str, Incident]:
        """The incidents with these ids, as far as there are any."""
        table = schema.incidents
        with reading(self._store.engine) as connection:
            found = read_incidents(connection, select(table).where(table.c.id.in_(sorted(ids))))
        return {incident.id: incident for incident in found}

    def pages(self, incident: str) -> list[Page]:
        """The pages of an incident, in order."""
        table = schema.pages
        query = select(table).where(table.c.incident == incident).order_by(table.c.number)
        with reading(self._store.engine) as connection:
            return read_pages(connection, query)

    def page(self, key: str) -> Page | None:
        """The page with this key."""
        with reading(self._store.engine) as connection:
            found = read_pages(connection, select(schema.pages).where(schema.pages.c.key == key))
        return found[0] if found else None

    def last_pages(self, incidents: Collection[str]) -> dict[str, Page]:
        """The last page of each of these incidents that has any."""
        table = schema.pages
        numbers = select(table.c.incident, func.max(table.c.number).label("number"))
        last = numbers.where(table.c.incident.in_(sorted(incidents))).group_by(table.c.incident).subquery()
        same = and_(table.c.incident == last.c.incident, table.c.number == last.c.number)
        with reading(self._store.engine) as connection:
            return {page.incident: page for page in read_pages(connection, select(table).join(last, same))}

    def alerts_by_id(self, ids: Collection[str]) -> dict[str, Alert]:
        """The episodes with these ids, as far as there are any."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            rows = connection.execute(select(table).where(table.c.id.in_(sorted(ids))))
            return {row.id: alert_of_row(row) for row in rows}

    def alerts_of(self, incident: str) -> list[Alert]:
        """The episodes of an incident, in the order in which they fired."""
        table = schema.alerts
        query = select(table).where(table.c.incident == incident).order_by(table.c.fired_at, table.c.id)
        with reading(self._store.engine) as connection:
            return [alert_of_row(row) for row in connection.execute(query.limit(MOST_ALERTS))]

    def deliveries_of(self, incident: str) -> list[Any]:
        """The rows of the pages of an incident to each receiver, in the order in which they were queued."""
        table = schema.deliveries
        query = select(table).where(table.c.incident == incident)
        with reading(self._store.engine) as connection:
            return list(connection.execute(query.order_by(table.c.queued_at, table.c.target)))

    def find(self, id_: str) -> Alert | None:
        """The episode with this id."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            row = connection.execute(select(table).where(table.c.id == id_)).one_or_none()
            return None if row is None else alert_of_row(row)

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
        incidents: Sequence[Incident] = (),
        pages: Sequence[Page] = (),
    ) -> None:
        """Save the changed episodes and incidents, delete the dropped episodes (which never fired), and store
        each transition and page.

        Transitions are queued as events for Kafka, page requests for their receivers.  All or nothing is
        written.  Raises LeaseLost if another monitor evaluates the alerts now, IncidentChanged if somebody
        acted on one of the incidents since it was read, StoreUnavailable and StoreRefused.
        """
        with writing(self._store.engine) as connection:
            if not self._lease.renew(connection):
                raise LeaseLost("another monitor evaluates the alerts now")
            if dropped:
                connection.execute(schema.alerts.delete().where(schema.alerts.c.id.in_(dropped)))
            for alert in changed:
                _upsert_alert(connection, alert)
            save_incidents(connection, incidents, pages)
            if transitions:
                _insert_transitions(connection, transitions)
                enqueue(connection, [to_kafka(self._topic, [_event(each) for each in transitions])], now)
            new_requests = [request for request in page_requests if _insert_delivery(connection, request)]
            outbound = list(map(_outbound_page, new_requests))
            for message in outbound:
                hasten(connection, message, now)
            enqueue(connection, outbound, now)


def _event(transition: Transition) -> KafkaMessage:
    message = transition.message
    return KafkaMessage(
        str(message["key"]), msgspec.json.encode(message), shortened=bool(message.get("shortened"))
    )


def _upsert_alert(connection: Connection, alert: Alert) -> None:
    row = {name: getattr(alert, name) for name in schema.alerts.columns.keys()}  # noqa: SIM118
    row["evidence"] = msgspec.to_builtins(alert.evidence)
    changes = {name: value for name, value in row.items() if name != "id"}
    statement = dialect_insert(connection, schema.alerts)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changes), row)


def _insert_transitions(connection: Connection, transitions: Sequence[Transition]) -> None:
    names = ("rule", "topic", "state", "value", "threshold", "n", "uncertainty", "summary", "entity")
    rows = [
        {
            **{name: getattr(transition.alert, name) for name in names},
            "alert_id": transition.alert.id,
            "before": transition.before,
            "at": transition.at,
        }
        for transition in transitions
    ]
    connection.execute(schema.alert_transitions.insert(), rows)


def _insert_delivery(connection: Connection, request: PageRequest) -> bool:
    """Record that a page is queued; False if it was queued before, so that it must not be queued again."""
    row = {
        "target": request.target,
        "key": request.key,
        "alert_id": request.message["id"],
        "incident": request.message.get("incident"),
        "queued_at": database_time(connection),
    }
    statement = dialect_insert(connection, schema.deliveries).values(**row).on_conflict_do_nothing()
    return connection.scalar(statement.returning(schema.deliveries.c.key)) is not None


def _outbound_page(request: PageRequest) -> OutboundMessage:
    return OutboundMessage(
        target=request.target,
        body=msgspec.json.encode(request.message),
        lane=request.lane,
        key=request.key,
        not_before=request.not_before,
    )


def alert_of_row(row: Any) -> Alert:
    fields = dict(row._mapping)
    fields["state"], fields["severity"] = AlertState(fields["state"]), Severity(fields["severity"])
    fields["counted"] = Counted(fields["counted"])
    fields["evidence"] = msgspec.convert(fields["evidence"], tuple[EvidenceItem, ...])
    return Alert(**fields)

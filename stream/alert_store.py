"""What SQL holds for the alert loop: episodes, who runs the loop, and the pages that leave."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from stream import schema
from stream.database import reading, writing
from stream.errors import StreamError
from stream.nouns import Aggregate, Alert, Exhibit, Scope, Selection
from stream.outbox import to_kafka
from stream.store import Outgoing, Store, insert_or, put_outbox

OPEN = ("pending", "firing")


class LeaseLost(StreamError):
    """Another monitor runs the loop now; nothing was written."""


class Lease:
    """The right to run what only one of several monitors may run.

    Clocks of the monitors may differ by less than `seconds`; the transaction that writes checks the
    holder again, so a holder that slept past its time writes nothing.
    """

    def __init__(self, store: Store, name: str, holder: str, seconds: float) -> None:
        self._store, self._name, self._holder = store, name, holder
        self._length = timedelta(seconds=seconds)

    def hold(self, now: datetime) -> bool:
        """Take or renew the lease; whether it is ours until `now` plus its length."""
        with writing(self._store.engine) as connection:
            return self.renew(connection, now)

    def renew(self, connection: Connection, now: datetime) -> bool:
        table = schema.leases
        row = {"name": self._name, "holder": self._holder, "expires_at": now + self._length}
        connection.execute(insert_or(connection, table).on_conflict_do_nothing(), row)
        renewed = connection.execute(
            update(table)
            .where(table.c.name == self._name)
            .where((table.c.holder == self._holder) | (table.c.expires_at < now))
            .values(holder=self._holder, expires_at=now + self._length)
        )
        return renewed.rowcount == 1

    def release(self) -> None:
        """Give it up, so that another need not wait."""
        table = schema.leases
        with writing(self._store.engine) as connection:
            connection.execute(table.delete().where(table.c.holder == self._holder))


class SqlAlertStore:
    """The alert room's store over SQL; every write renews the lease in its own transaction."""

    def __init__(self, store: Store, lease: Lease, alerts_topic: str) -> None:
        self._store, self._lease, self._topic = store, lease, alerts_topic

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        return self._store.sums(start, end, selection)

    def cells(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        return self._store.cells(start, end, width, selection)

    def most_negative(self, scope: Scope, limit: int) -> list[Exhibit]:
        return self._store.most_negative(scope, limit)

    def writers(self, scope: Scope) -> tuple[int, int]:
        return self._store.writers(scope)

    def past_alerts(self, since: datetime) -> list[Alert]:
        table = schema.alerts
        query = select(table).where(table.c.resolved_at >= since, table.c.fired_at.is_not(None))
        with reading(self._store.engine) as connection:
            return [_alert(row) for row in connection.execute(query.order_by(table.c.resolved_at))]

    def open_alerts(self) -> list[Alert]:
        table = schema.alerts
        with reading(self._store.engine) as connection:
            rows = connection.execute(select(table).where(table.c.state.in_(OPEN)))
            return [_alert(row) for row in rows]

    def recent_alerts(self, limit: int) -> list[Alert]:
        """The latest episodes of any state, oldest first."""
        table = schema.alerts
        with reading(self._store.engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.since.desc()).limit(limit))
            return [_alert(row) for row in rows][::-1]

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        events: Sequence[tuple[str, dict[str, Any]]],
        pages: Sequence[tuple[str, dict[str, Any]]],
        now: datetime,
    ) -> None:
        """Write episodes, drop those that never fired, queue events (key, value) and pages (target,
        value), all or nothing.  Raises LeaseLost."""
        table = schema.alerts
        with writing(self._store.engine) as connection:
            if not self._lease.renew(connection, now):
                raise LeaseLost("another monitor evaluates the alerts now")
            if dropped:
                connection.execute(table.delete().where(table.c.id.in_(dropped)))
            for alert in changed:
                row = _row(alert)
                statement = insert_or(connection, table).on_conflict_do_update(
                    index_elements=["id"], set_={key: row[key] for key in row if key != "id"}
                )
                connection.execute(statement, row)
            outgoing = [Outgoing(target, msgspec.json.encode(value)) for target, value in pages]
            if events:
                outgoing.append(to_kafka(self._topic, events))
            put_outbox(connection, outgoing, now)


def _row(alert: Alert) -> dict[str, Any]:
    fields = {name: getattr(alert, name) for name in schema.alerts.columns.keys()}  # noqa: SIM118
    return fields | {"evidence": msgspec.to_builtins(alert.evidence)}


def _alert(row: Any) -> Alert:
    fields = dict(row._mapping)
    return Alert(**fields | {"evidence": msgspec.convert(fields["evidence"], tuple[Exhibit, ...])})

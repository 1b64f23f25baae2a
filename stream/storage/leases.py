"""Leases in the database: one monitor at a time does a task."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, update

from stream.domain.errors import StreamError
from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import writing
from stream.storage.sql import insert_or


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

"""Leases in the database: a task that must run once is run by one of several monitors."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, update

from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import writing
from stream.storage.sql import dialect_insert


class Lease:
    """The right to run the task `name`, held for `seconds` at a time.

    The clocks of the monitors may differ by less than `seconds`.  A transaction that writes renews the lease
    too, so that a holder that was suspended beyond its time writes nothing.
    """

    def __init__(self, store: Store, name: str, holder: str, seconds: float) -> None:
        self._store, self._name, self._holder = store, name, holder
        self._length = timedelta(seconds=seconds)

    def acquire(self, now: datetime) -> bool:
        """Take or renew the lease; True if this holder has it until `now` plus its length."""
        with writing(self._store.engine) as connection:
            return self.renew(connection, now)

    def renew(self, connection: Connection, now: datetime) -> bool:
        """The same within a transaction."""
        table = schema.leases
        row = {"name": self._name, "holder": self._holder, "expires_at": now + self._length}
        connection.execute(dialect_insert(connection, table).on_conflict_do_nothing(), row)
        renewed = connection.execute(
            update(table)
            .where(table.c.name == self._name)
            .where((table.c.holder == self._holder) | (table.c.expires_at < now))
            .values(holder=self._holder, expires_at=now + self._length)
        )
        return renewed.rowcount == 1

    def release(self) -> None:
        """Give up every lease of this holder, so that another monitor need not wait."""
        table = schema.leases
        with writing(self._store.engine) as connection:
            connection.execute(table.delete().where(table.c.holder == self._holder))

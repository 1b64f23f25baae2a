"""Leases in the database: a task that must run once is run by one of several monitors.

Only the database's clock counts.  The hosts' clocks may differ by any amount, and may step.
"""

import logging
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, select, update

from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import reading, writing
from stream.storage.sql import database_now, database_time, dialect_insert

log = logging.getLogger(__name__)

# A lease cannot lie further ahead than its length.  The slack is for holders of an older version, which wrote
# the time of their host.
SLACK = timedelta(seconds=10)


class Holder(NamedTuple):
    """Who holds a lease, and until when by the database's clock."""

    name: str
    expires_at: datetime


class HeldLease(NamedTuple):
    """A lease as the database has it: `left` is how long it still lasts, below zero once it is over."""

    name: str
    holder: str
    expires_at: datetime
    left: timedelta


def read_leases(engine: Engine) -> list[HeldLease]:
    """Every lease that somebody took and nobody gave up, by name.  Raises StoreUnavailable."""
    table = schema.leases
    query = select(table.c.name, table.c.holder, table.c.expires_at).order_by(table.c.name)
    with reading(engine) as connection:
        now = database_now(connection)
        return [HeldLease(*row, row.expires_at - now) for row in connection.execute(query)]


def release_leases(engine: Engine, name: str) -> dict[str, str]:
    """Give up a lease, or all of a process (HOST:PID), on behalf of the holder; the holders by lease.

    For a holder that is gone: one that lives takes them again, or another monitor does.  Raises
    StoreUnavailable.
    """
    table = schema.leases
    meant = (table.c.name == name) | table.c.holder.startswith(f"{name}:", autoescape=True)
    with writing(engine) as connection:
        gone = connection.execute(delete(table).where(meant).returning(table.c.name, table.c.holder))
        return {row.name: row.holder for row in gone}


class Lease:
    """The right to run the task `name`, held for `seconds` at a time.

    A lease that lies further ahead than `seconds` and some slack was written by a wrong clock, or before the
    database's clock was set back.  It is nobody's: waiting for it could take for ever.  A transaction that
    writes renews the lease too, so that a holder that was suspended beyond its time writes nothing.
    `own_name` is what this holder is called.
    """

    def __init__(self, store: Store, name: str, holder: str, seconds: float) -> None:
        self._store, self._name, self.own_name = store, name, holder
        self._length = timedelta(seconds=seconds)

    def acquire(self) -> bool:
        """Take or renew the lease; True if this holder has it from now on for its length."""
        with writing(self._store.engine) as connection:
            return self.renew(connection)

    def renew(self, connection: Connection) -> bool:
        """The same within a transaction."""
        table = schema.leases
        row = {"name": self._name, "holder": self.own_name}
        expires_at = database_time(connection, self._length)
        insert = dialect_insert(connection, table).values(**row, expires_at=expires_at)
        connection.execute(insert.on_conflict_do_nothing())
        take = (
            update(table)
            .where(table.c.name == self._name)
            .values(holder=self.own_name, expires_at=expires_at)
        )
        mine_or_over = (table.c.holder == self.own_name) | (table.c.expires_at < database_time(connection))
        if connection.execute(take.where(mine_or_over)).rowcount == 1:
            return True
        implausible = table.c.expires_at > database_time(connection, self._length + SLACK)
        before = _holder(connection, self._name)
        if connection.execute(take.where(implausible)).rowcount == 0:
            return False
        if before is not None:
            log.warning(
                "took the lease %s from %s: it lay in the future, until %s, so a clock was wrong",
                self._name,
                before.name,
                before.expires_at,
            )
        return True

    def holder(self) -> Holder | None:
        """Who holds the lease or held it last; None if nobody did.  Raises StoreUnavailable."""
        with reading(self._store.engine) as connection:
            return _holder(connection, self._name)

    def release(self) -> None:
        """Give up every lease of this holder, so that another monitor need not wait."""
        table = schema.leases
        with writing(self._store.engine) as connection:
            connection.execute(table.delete().where(table.c.holder == self.own_name))


def _holder(connection: Connection, name: str) -> Holder | None:
    table = schema.leases
    row = connection.execute(select(table.c.holder, table.c.expires_at).where(table.c.name == name)).first()
    return None if row is None else Holder(*row)

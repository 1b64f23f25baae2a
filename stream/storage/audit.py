"""The audit log: who did what, when.  Rows are only added."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, select

from stream.storage import schema
from stream.storage.database import reading, writing

# `purge` deletes older rows.
KEPT = timedelta(days=366)
LONGEST_SUBJECT, LONGEST_DETAIL = 256, 2000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """At `at`, `user` did `action` to `subject`, such as the id of an incident; `detail` says it in words."""

    at: datetime
    user: str
    action: str
    subject: str = ""
    detail: str = ""


def add_audit(connection: Connection, entry: AuditEntry) -> None:
    """Add an entry in the transaction of what it tells of, so that there is never one without the other."""
    row = {
        "at": entry.at,
        "user_name": entry.user,
        "action": entry.action,
        # PostgreSQL takes no NUL.
        "subject": entry.subject.replace("\0", "")[:LONGEST_SUBJECT],
        "detail": entry.detail.replace("\0", "")[:LONGEST_DETAIL],
    }
    connection.execute(schema.audit_log.insert(), row)


def write_audit(engine: Engine, entry: AuditEntry) -> None:
    """The same in a transaction of its own.  Raises StoreUnavailable."""
    with writing(engine) as connection:
        add_audit(connection, entry)


def read_audit(engine: Engine, limit: int, user: str | None = None) -> Iterator[AuditEntry]:
    """The newest entries, newest first, of everybody or of one user.  Raises StoreUnavailable."""
    table = schema.audit_log
    query = select(table.c.at, table.c.user_name, table.c.action, table.c.subject, table.c.detail)
    if user is not None:
        query = query.where(table.c.user_name == user)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(table.c.number.desc()).limit(limit)).all()
    return (AuditEntry(*row) for row in rows)


def delete_old_entries(connection: Connection, now: datetime) -> int:
    """Delete what is older than KEPT; the number of rows."""
    table = schema.audit_log
    return connection.execute(delete(table).where(table.c.at < now - KEPT)).rowcount

"""Marks: how far a long-running task has come, by its name."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from stream.storage import schema
from stream.storage.sql import dialect_insert


def read_mark(connection: Connection, name: str) -> datetime | None:
    """The time of the mark; None if there is none."""
    table = schema.marks
    return connection.scalar(select(table.c.at).where(table.c.name == name))


def set_mark(connection: Connection, name: str, at: Any) -> None:
    """Set the mark to a time, or to an expression such as the database's own time."""
    statement = dialect_insert(connection, schema.marks).values(name=name, at=at)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"at": at}))

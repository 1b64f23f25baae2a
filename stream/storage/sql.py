"""SQL that is the same for SQLite and PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import msgspec
from psycopg.types.json import Json
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    cast,
    column,
    extract,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import NullType

from stream.storage.schema import UtcDateTime


def within(stamp: Any, start: datetime, end: datetime) -> ColumnElement[bool]:
    """The condition that a time is in [start, end)."""
    return and_(stamp >= start, stamp < end)


def database_time(connection: Connection, ahead: timedelta = timedelta(0)) -> Any:
    """The time by the database's clock, or so far ahead of it, as stored in columns of type UtcDateTime.

    It is the time of the statement: a transaction may be older.
    """
    if connection.dialect.name == "postgresql":
        return func.clock_timestamp() + ahead
    # SQLite knows milliseconds, and stores the six digits that SQLAlchemy writes.
    return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{ahead.total_seconds():+f} seconds")


def database_now(connection: Connection) -> datetime:
    """The time by the database's clock."""
    now: datetime = connection.scalars(select(type_coerce(database_time(connection), UtcDateTime))).one()
    return now


def bucket_number(stamp: Any, seconds: int) -> Any:
    """The number, counted from the epoch, of the window of so many seconds that contains a time.

    The floor comes first, since PostgreSQL's cast to an integer rounds.
    """
    return cast(func.floor(extract("epoch", stamp)), BigInteger) // seconds


def dialect_insert(connection: Connection, table: Table) -> Any:
    """An INSERT that can be followed by ON CONFLICT, in the dialect of the database."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def insert_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]] | Sequence[msgspec.Struct]
) -> tuple[Any, Any]:
    """An INSERT of these rows that can be followed by ON CONFLICT, and the parameters to execute it with.

    On PostgreSQL all rows are one JSON parameter.  The statement is then the same for any number of rows, and
    is compiled and planned once; planning a long list of VALUES costs more than all else in a batch.
    """
    if connection.dialect.name != "postgresql":
        return sqlite.insert(table), [as_mapping(row) for row in rows]
    return _insert_json(table, tuple(as_mapping(rows[0]))), {"rows": Json(rows, msgspec.json.encode)}


def as_mapping(row: object) -> dict[str, Any]:
    """A row as a mapping of column names to values."""
    mapping: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(datetime,))
    return mapping


@cache
def _insert_json(table: Table, names: tuple[str, ...]) -> Any:
    value: Any = bindparam("rows", type_=NullType())
    columns = [column(name, table.c[name].type) for name in names]
    records = func.json_to_recordset(value).table_valued(*columns).render_derived(with_types=True)
    return postgresql.insert(table).from_select(names, select(*[records.c[name] for name in names]))

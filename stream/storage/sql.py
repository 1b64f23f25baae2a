"""SQL that SQLite and PostgreSQL share."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from psycopg.types.json import Json
from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import NullType


def insert_or(connection: Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, in the database's own dialect."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def insert_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]] | Sequence[msgspec.Struct]
) -> tuple[Any, Any]:
    """An INSERT of these rows that knows ON CONFLICT, and what it is executed with.

    On PostgreSQL the rows go as one JSON value, so that the statement is the same whatever their number: it
    is compiled and planned once, where a list of VALUES costs more than all else of a batch.
    """
    if connection.dialect.name != "postgresql":
        return sqlite.insert(table), [as_mapping(row) for row in rows]
    return _insert_json(table, tuple(as_mapping(rows[0]))), {"rows": Json(rows, msgspec.json.encode)}


def as_mapping(row: object) -> dict[str, Any]:
    """A row by the names of its columns."""
    found: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(datetime,))
    return found


@cache
def _insert_json(table: Table, names: tuple[str, ...]) -> Any:
    value: Any = bindparam("rows", type_=NullType())
    columns = [column(name, table.c[name].type) for name in names]
    records = func.json_to_recordset(value).table_valued(*columns).render_derived(with_types=True)
    chosen = select(*[records.c[name] for name in names])
    return postgresql.insert(table).from_select(names, chosen)

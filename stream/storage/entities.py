"""The table `entities`: the names of the entities, for whoever reads SQL."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, select

from stream.storage import schema
from stream.storage.batches import Store
from stream.storage.database import writing
from stream.storage.marks import set_mark
from stream.storage.sql import database_time, insert_rows

# Before the version of the list that was stored last, in the name of a mark.
MARK_PREFIX = "entities "


class EntityRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `entities`."""

    id: str
    kind: str
    name: str
    chinese_name: str | None


def store_entities(store: Store, version: str, rows: Sequence[EntityRow]) -> bool:
    """Store the names in the list of this version, unless that was the last one stored; whether it was done.

    Raises StoreUnavailable.
    """
    marks, table = schema.marks, schema.entities
    with writing(store.engine) as connection:
        if _stored_version(connection) == version or not rows:
            return False
        ordered = sorted(rows, key=lambda row: row.id)
        statement, values = insert_rows(connection, table, ordered)
        names = {name: statement.excluded[name] for name in ("kind", "name", "chinese_name")}
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=names), values)
        connection.execute(delete(marks).where(marks.c.name.startswith(MARK_PREFIX)))
        set_mark(connection, MARK_PREFIX + version, database_time(connection))
    return True


def _stored_version(connection: Connection) -> str | None:
    name = schema.marks.c.name
    mark = connection.scalar(select(name).where(name.startswith(MARK_PREFIX)))
    return None if mark is None else mark.removeprefix(MARK_PREFIX)

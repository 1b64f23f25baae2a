"""What the desk reads about entities: what they are called, and which of them texts are about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, or_, select

from stream.domain.entities import LONGEST_ENTITY
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.entity_reads import parts_of


@dataclass(frozen=True, slots=True)
class NamedEntity:
    """An entity as the monitor's list has it; of one that the list lost, the id alone."""

    id: str
    name: str
    kind: str | None = None
    chinese_name: str | None = None


class Entities:
    """Queries over one engine; safe to share between threads.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, id_: str) -> NamedEntity | None:
        """The entity with this id; None if neither the list nor a text knows it."""
        if "\0" in id_ or len(id_) > LONGEST_ENTITY:  # PostgreSQL stores no NUL
            return None
        table, mentions = schema.entities, schema.mentions.c
        with reading(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.id == id_)).one_or_none()
            if row is not None:
                return _entity(row)
            known = connection.scalar(select(mentions.entity).where(mentions.entity == id_).limit(1))
            return None if known is None else NamedEntity(id_, id_)

    def named(self, ids: Sequence[str]) -> list[NamedEntity]:
        """The entities with these ids; of one that the list does not have, the id alone."""
        table = schema.entities
        found = {id_: NamedEntity(id_, id_) for id_ in ids}
        with reading(self._engine) as connection:
            for part in parts_of(ids):
                for row in connection.execute(select(table).where(table.c.id.in_(part))):
                    found[row.id] = _entity(row)
        return list(found.values())

    def search(self, words: str, limit: int) -> list[NamedEntity]:
        """The entities whose id or name contains the words, whatever their case, at most so many."""
        table = schema.entities
        names = (table.c.id, table.c.name, table.c.chinese_name)
        matches = or_(*[name.icontains(words, autoescape=True) for name in names])
        query = select(table).where(matches).order_by(table.c.name, table.c.id).limit(limit)
        with reading(self._engine) as connection:
            return list(map(_entity, connection.execute(query)))


def _entity(row: Any) -> NamedEntity:
    return NamedEntity(row.id, row.name, row.kind, row.chinese_name)

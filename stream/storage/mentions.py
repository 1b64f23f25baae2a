"""Rows of the `mentions` table: the entities that each document is about."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from stream.domain.documents import SCORE_SCALE, Kind, Precision
from stream.domain.entities import EntityMention
from stream.domain.records import ClassifiedDocument
from stream.storage import schema
from stream.storage.sql import insert_rows

DELETE_MENTIONS = delete(schema.mentions).where(schema.mentions.c.key == bindparam("of_key"))


class MentionRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `mentions`, its fields in the order of the columns."""

    key: str
    entity: str
    kind: Kind
    published_at: datetime
    published_precision: Precision
    received_at: datetime
    kafka_partition: int
    relevance: int
    sentiment: str | None
    sentiment_probability: float | None
    score: int | None
    of_target: bool
    spans: Sequence[tuple[int, int]]


def mention_rows(item: ClassifiedDocument, received_at: datetime) -> list[MentionRow]:
    """The rows of the mentions in a document.  Those of a document without a score have none either."""
    has_score = item.score is not None
    return [_mention_row(item, each, has_score, received_at) for each in item.prediction.entities]


def _mention_row(
    item: ClassifiedDocument, mention: EntityMention, has_score: bool, received_at: datetime
) -> MentionRow:
    document = item.document
    score = mention.score if has_score else None
    # By position, in the order of the fields: with this many, keywords take ten times as long.
    return MentionRow(
        item.key,
        mention.entity,
        document.kind,
        document.published_at,
        document.published_precision,
        received_at,
        item.position.partition.number,
        mention.relevance,
        None if score is None else mention.sentiment,
        None if score is None else mention.probability,
        None if score is None else round(score * SCORE_SCALE),
        mention.of_target,
        mention.spans,
    )


def insert_mentions(connection: Connection, rows: Sequence[MentionRow]) -> None:
    """Insert rows of documents that this transaction has locked or inserted.

    If somebody deleted a document by hand, its mentions may still be stored: they are overwritten.
    """
    if not rows:
        return
    statement, values = insert_rows(connection, schema.mentions, rows)
    keys = [column.name for column in schema.mentions.primary_key]
    replaced = {name: statement.excluded[name] for name in MentionRow.__struct_fields__ if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=replaced), values)


def replace_mentions(connection: Connection, new: Mapping[str, Sequence[MentionRow]]) -> dict[str, list[Any]]:
    """Replace the mentions of documents, by key, that this transaction has locked.  Return the old rows."""
    table = schema.mentions
    query = select(table).where(table.c.key.in_(sorted(new))).order_by(table.c.key, table.c.entity)
    old: dict[str, list[Any]] = {key: [] for key in new}
    for row in connection.execute(query):
        old[row.key].append(row)
    changed = [key for key in sorted(new) if _contents(old[key]) != _contents(new[key])]
    if has_old := [{"of_key": key} for key in changed if old[key]]:
        connection.execute(DELETE_MENTIONS, has_old)
    insert_mentions(connection, [row for key in changed for row in new[key]])
    return old


def _contents(rows: Sequence[Any]) -> list[Any]:
    """What rows say, whether they were stored or not."""
    return sorted(
        (
            *(row.entity, row.relevance, row.of_target, row.received_at),
            *(str(row.sentiment), str(row.sentiment_probability), str(row.score)),
            [list(span) for span in row.spans],
        )
        for row in rows
    )

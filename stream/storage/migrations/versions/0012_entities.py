"""Who a document is about: mentions of entities, their sums, and every later change of a document.

A million documents take no time: the tables are new and empty, and the new columns are nullable.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

SUMS = ("n", "positive", "neutral", "negative", "uncertain", "score_sum", "score_squares")
HAS_TEXTS = sa.text("text_received_at IS NOT NULL")
ENTITY = sa.String(length=64)
TIME = sa.DateTime(timezone=True)


def _column(name: str, type_: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=options.pop("nullable", False), **options)


def upgrade() -> None:
    op.create_table(
        "mentions",
        _column("key", sa.String(length=512)),
        _column("entity", ENTITY),
        _column("kind", sa.String(length=16)),
        _column("published_at", TIME),
        _column("published_precision", sa.String(length=8)),
        _column("received_at", TIME),
        _column("kafka_partition", sa.Integer()),
        _column("relevance", sa.SmallInteger()),
        _column("sentiment", sa.String(length=16), nullable=True),
        _column("sentiment_probability", sa.Float(), nullable=True),
        _column("score", sa.Integer(), nullable=True),
        _column("of_target", sa.Boolean()),
        _column("spans", sa.JSON()),
        sa.PrimaryKeyConstraint("key", "entity"),
    )
    op.create_index("ix_mentions_entity_time", "mentions", ["entity", "published_at"])
    op.create_index("ix_mentions_time", "mentions", ["published_at"])
    op.create_table(
        "entity_aggregates",
        _column("width", sa.Integer(), autoincrement=False),
        _column("entity", ENTITY),
        _column("window_start", TIME),
        _column("kind", sa.String(length=16)),
        _column("kafka_partition", sa.Integer(), autoincrement=False),
        _column("band", sa.SmallInteger(), autoincrement=False),
        *[_column(name, sa.BigInteger()) for name in SUMS],
        sa.PrimaryKeyConstraint("width", "entity", "window_start", "kind", "kafka_partition", "band"),
    )
    op.create_index("ix_entity_aggregates_time", "entity_aggregates", ["width", "window_start"])
    op.create_table(
        "document_events",
        _column("key", sa.String(length=512)),
        _column("sequence", sa.Integer(), autoincrement=False),
        _column("at", TIME),
        _column("cause", sa.String(length=16)),
        _column("old", sa.JSON()),
        _column("new", sa.JSON()),
        _column("text_received_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("key", "sequence"),
    )
    op.create_index("ix_document_events_at", "document_events", ["at"])
    op.create_index(
        "ix_document_events_texts", "document_events", ["text_received_at"],
        postgresql_where=HAS_TEXTS, sqlite_where=HAS_TEXTS,
    )  # fmt: skip
    op.create_table(
        "entities",
        _column("id", ENTITY),
        _column("kind", sa.String(length=16)),
        _column("name", sa.Text()),
        _column("chinese_name", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("documents", sa.Column("gazetteer", sa.String(length=64), nullable=True))
    op.add_column("alerts", sa.Column("entity", ENTITY, nullable=True))
    op.add_column("alert_transitions", sa.Column("entity", ENTITY, nullable=True))
    # What was known before now cannot be counted: changes were not written down.
    marks = sa.table("marks", sa.column("name"), sa.column("at", TIME))
    op.execute(marks.insert().values(name="document_events", at=datetime.now(UTC)))


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM marks WHERE name = 'document_events'"))
    for table, column in (("alert_transitions", "entity"), ("alerts", "entity"), ("documents", "gazetteer")):
        op.drop_column(table, column)
    for table in ("entities", "document_events", "entity_aggregates", "mentions"):
        op.drop_table(table)

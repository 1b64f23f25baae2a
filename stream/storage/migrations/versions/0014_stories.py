"""Stories: which documents tell the same event, and sums over those that say something of their own.

A million documents take no time: all tables are new and empty.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

SUMS = ("n", "positive", "neutral", "negative", "uncertain", "score_sum", "score_squares")
WAITING = sa.text("sequence IS NULL")
TIME = sa.DateTime(timezone=True)
KEY = sa.String(length=512)
WINDOW_KEY = ("window_start", "topic", "kind", "kafka_partition")


def _column(name: str, type_: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=options.pop("nullable", False), **options)


def upgrade() -> None:
    op.create_table(
        "story_inputs",
        _column("key", KEY),
        _column("received_at", TIME),
        _column("kind", sa.String(length=16)),
        _column("source", sa.String(length=128)),
        _column("id", sa.String(length=512)),
        _column("features", sa.LargeBinary()),
        _column("sequence", sa.BigInteger(), nullable=True),
        _column("seen_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(
        "ix_story_inputs_waiting", "story_inputs", ["received_at", "kind", "source", "id"],
        postgresql_where=WAITING, sqlite_where=WAITING,
    )  # fmt: skip
    op.create_index("ix_story_inputs_seen", "story_inputs", ["seen_at"])
    op.create_table(
        "document_stories",
        _column("key", KEY),
        _column("sequence", sa.BigInteger()),
        _column("seen_at", TIME),
        _column("assigned_at", TIME),
        _column("published_at", TIME),
        _column("story", sa.BigInteger()),
        _column("novelty", sa.SmallInteger()),
        _column("copy_of", KEY, nullable=True),
        _column("voice", sa.SmallInteger()),
        _column("origin", sa.String(length=128)),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_document_stories_sequence", "document_stories", ["sequence"], unique=True)
    op.create_index("ix_document_stories_story", "document_stories", ["story"])
    op.create_index("ix_document_stories_assigned", "document_stories", ["assigned_at"])
    op.create_index("ix_document_stories_time", "document_stories", ["published_at", "voice", "key"])
    op.create_table(
        "stories",
        _column("id", sa.BigInteger(), autoincrement=False),
        _column("first_key", KEY),
        _column("central_key", KEY),
        _column("first_seen_at", TIME),
        _column("last_seen_at", TIME),
        _column("documents", sa.Integer()),
        _column("copies", sa.Integer()),
        _column("voices", sa.Integer()),
        _column("merged_into", sa.BigInteger(), nullable=True),
        _column("state", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_stories_last_seen", "stories", ["last_seen_at"])
    op.create_table(
        "story_weights",
        _column("space", sa.String(length=300)),
        _column("weights", sa.JSON()),
        sa.PrimaryKeyConstraint("space"),
    )
    _create_sums()
    # Documents of before have no story.
    marks = sa.table("marks", sa.column("name"), sa.column("at", TIME))
    op.execute(marks.insert().values(name="stories", at=datetime.now(UTC)))


def _create_sums() -> None:
    op.create_table("voice_aggregates", *_window(), *_sums(), sa.PrimaryKeyConstraint(*WINDOW_KEY))
    op.create_table(
        "voice_rollups",
        _column("width", sa.Integer(), autoincrement=False),
        *_window(),
        *_sums(),
        sa.PrimaryKeyConstraint("width", *WINDOW_KEY),
    )
    op.create_table(
        "voice_entity_aggregates",
        _column("width", sa.Integer(), autoincrement=False),
        _column("entity", sa.String(length=64)),
        _column("window_start", TIME),
        _column("kind", sa.String(length=16)),
        _column("kafka_partition", sa.Integer(), autoincrement=False),
        _column("band", sa.SmallInteger(), autoincrement=False),
        *_sums(),
        sa.PrimaryKeyConstraint("width", "entity", "window_start", "kind", "kafka_partition", "band"),
    )
    op.create_index("ix_voice_entity_aggregates_time", "voice_entity_aggregates", ["width", "window_start"])


def _window() -> list[sa.Column[Any]]:
    return [
        _column("window_start", TIME),
        _column("topic", sa.String(length=100)),
        _column("kind", sa.String(length=16)),
        _column("kafka_partition", sa.Integer(), autoincrement=False),
    ]


def _sums() -> list[sa.Column[Any]]:
    return [_column(name, sa.BigInteger()) for name in SUMS]


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM marks WHERE name = 'stories'"))
    for table in (
        "voice_entity_aggregates", "voice_rollups", "voice_aggregates", "story_weights", "stories", "document_stories",
        "story_inputs",
    ):  # fmt: skip
        op.drop_table(table)

"""The events that a document reports, and which of two models gave it its labels.

A million documents take no time: the table is new and empty, and the new columns are nullable.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("events", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("documents", sa.Column("judged_by", sa.String(length=200), nullable=True))
    op.create_table(
        "event_labels",
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", "type"),
    )
    op.create_index("ix_event_labels_type_time", "event_labels", ["type", "published_at", "key"])
    op.create_index("ix_event_labels_time", "event_labels", ["published_at"])


def downgrade() -> None:
    op.drop_table("event_labels")
    op.drop_column("documents", "judged_by")
    op.drop_column("documents", "events")

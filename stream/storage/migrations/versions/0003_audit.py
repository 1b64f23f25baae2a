"""Transitions and deliveries to audit, pages in lanes, what an alert says and who wrote of it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert_transitions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=200), nullable=False),
        sa.Column("topic", sa.String(length=100), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("uncertainty", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_alert_transitions_alert", "alert_transitions", ["alert_id"])
    op.create_index("ix_alert_transitions_at", "alert_transitions", ["at"])
    op.create_table(
        "deliveries",
        sa.Column("target", sa.String(length=300), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("target", "key"),
    )
    op.create_index("ix_deliveries_alert", "deliveries", ["alert_id"])
    op.add_column("alerts", sa.Column("usual", sa.Float(), nullable=True))
    op.add_column("alerts", sa.Column("message", sa.Text(), server_default="", nullable=False))
    op.add_column("alerts", sa.Column("sources", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("outbox", sa.Column("lane", sa.String(length=200), server_default="", nullable=False))
    op.add_column("outbox", sa.Column("key", sa.String(length=100), nullable=True))
    op.add_column("outbox", sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True))
    # Pages that wait already go one by one: their rules are not known here.
    op.execute("UPDATE outbox SET lane = CAST(id AS VARCHAR(20)) WHERE target LIKE 'webhook:%'")
    op.drop_index("ix_outbox_due", "outbox")
    op.create_index("ix_outbox_due", "outbox", ["target", "lane", "id"])
    op.create_index("ix_documents_received", "documents", ["received_at"])


def downgrade() -> None:
    op.execute("UPDATE alerts SET state = 'firing' WHERE state = 'flapping'")
    op.drop_index("ix_documents_received", "documents")
    op.drop_index("ix_outbox_due", "outbox")
    op.create_index("ix_outbox_due", "outbox", ["target", "id"])
    op.drop_column("outbox", "failing_since")
    op.drop_column("outbox", "key")
    op.drop_column("outbox", "lane")
    op.drop_column("alerts", "sources")
    op.drop_column("alerts", "message")
    op.drop_column("alerts", "usual")
    op.drop_table("deliveries")
    op.drop_table("alert_transitions")

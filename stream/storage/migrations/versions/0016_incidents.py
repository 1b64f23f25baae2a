"""Incidents and their pages, and the incident of each alert."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(length=64), primary_key=True),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("severity", sa.String(length=32), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        *[sa.Column(name, sa.JSON(), nullable=False) for name in ("lead_entities", "stories", "alerts")],
        sa.Column("stands_alone", sa.Boolean(), nullable=False),
        sa.Column("calm_since", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("last_page_at", TIME, nullable=True),
        sa.Column("paged_number", sa.Integer(), nullable=False),
        sa.Column("paged_value", sa.Float(), nullable=False),
        sa.Column("paged_severity", sa.String(length=32), nullable=True),
        *[sa.Column(name, sa.JSON(), nullable=False) for name in ("paged_values", "paged_entities", "told")],
        sa.Column("acknowledged_at", TIME, nullable=True),
        sa.Column("acknowledged_by", sa.String(length=256), nullable=True),
        sa.Column("escalated_at", TIME, nullable=True),
    )
    op.create_index("ix_incidents_began", "incidents", ["began_at"])
    op.create_index("ix_incidents_ended", "incidents", ["ended_at"])
    op.create_table(
        "pages",
        sa.Column("key", sa.String(length=100), primary_key=True),
        sa.Column("incident", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("message", sa.JSON(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
    )
    op.create_index("ix_pages_incident", "pages", ["incident"])
    op.create_index("ix_pages_at", "pages", ["at"])
    for table in ("alerts", "deliveries"):
        op.add_column(table, sa.Column("incident", sa.String(length=64), nullable=True))
        op.create_index(f"ix_{table}_incident", table, ["incident"])


def downgrade() -> None:
    for table in ("alerts", "deliveries"):
        op.drop_index(f"ix_{table}_incident", table)
        op.drop_column(table, "incident")
    op.drop_table("pages")
    op.drop_table("incidents")

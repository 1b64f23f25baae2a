"""What the desk does with incidents, who is logged in, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
INCIDENT_COLUMNS = ("assigned_to", "quiet_until", "closed_at", "closed_by", "verdict", "seen", "actions")


def upgrade() -> None:
    _incident_actions()
    _access()


def downgrade() -> None:
    op.drop_table("audit_log")
    op.drop_table("sessions")
    op.drop_table("incident_actions")
    for name in INCIDENT_COLUMNS:
        op.drop_column("incidents", name)


def _incident_actions() -> None:
    op.add_column("incidents", sa.Column("assigned_to", sa.String(length=256), nullable=True))
    op.add_column("incidents", sa.Column("quiet_until", TIME, nullable=True))
    op.add_column("incidents", sa.Column("closed_at", TIME, nullable=True))
    op.add_column("incidents", sa.Column("closed_by", sa.String(length=256), nullable=True))
    op.add_column("incidents", sa.Column("verdict", sa.String(length=16), nullable=True))
    op.add_column("incidents", sa.Column("seen", sa.JSON(), nullable=True))
    op.add_column("incidents", sa.Column("actions", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "incident_actions",
        sa.Column("incident", sa.String(length=64), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("text", sa.Text(), nullable=False, server_default=""),
        sa.Column("assignee", sa.String(length=256), nullable=True),
        sa.Column("until", TIME, nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=True),
    )
    op.create_index("ix_incident_actions_key", "incident_actions", ["incident", "key"], unique=True)
    op.create_index("ix_incident_actions_at", "incident_actions", ["at"])


def _access() -> None:
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(length=64), primary_key=True),
        sa.Column("user_name", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("credential", sa.String(length=64), nullable=False),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
    )
    op.create_index("ix_sessions_user", "sessions", ["user_name", "began_at"])
    op.create_table(
        "audit_log",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("at", TIME, nullable=False),
        sa.Column("user_name", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])

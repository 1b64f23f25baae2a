"""Dead letters that were sent again, and the traces of documents and dead letters."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TRACE = sa.String(length=55)


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("in_array", sa.Boolean(), nullable=True))
    op.add_column("dead_letters", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("dead_letters", sa.Column("traceparent", TRACE, nullable=True))
    op.add_column("documents", sa.Column("traceparent", TRACE, nullable=True))


def downgrade() -> None:
    op.drop_column("documents", "traceparent")
    for name in ("traceparent", "sent_at", "in_array"):
        op.drop_column("dead_letters", name)

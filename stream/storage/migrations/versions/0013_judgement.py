"""The events that a document reports, and which of two models gave it its labels."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("events", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("documents", sa.Column("judged_by", sa.String(length=200), nullable=True))


def downgrade() -> None:
    op.drop_column("documents", "judged_by")
    op.drop_column("documents", "events")

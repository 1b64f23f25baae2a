"""The labels of an episode, which it keeps when its rule is edited."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alerts", sa.Column("labels", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("alerts", "labels")

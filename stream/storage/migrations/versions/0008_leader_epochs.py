"""The leader epoch of what was read last of each partition: it tells whether Kafka's log was cut there."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("offsets", sa.Column("leader_epoch", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("offsets", "leader_epoch")

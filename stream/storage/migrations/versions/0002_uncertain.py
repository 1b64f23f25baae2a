"""Documents the model is not sure about are counted in a column of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "aggregates", sa.Column("uncertain", sa.BigInteger(), nullable=False, server_default="0")
    )

"""What an alert counted, and the stories, voices and copies behind it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COUNTS = ("texts", "stories", "voices", "copies")


def upgrade() -> None:
    op.add_column("alerts", sa.Column("counted", sa.String(length=8), nullable=False, server_default="texts"))
    for name in COUNTS:
        op.add_column("alerts", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("alerts", sa.Column("stories_text", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    for name in ("counted", *COUNTS, "stories_text"):
        op.drop_column("alerts", name)

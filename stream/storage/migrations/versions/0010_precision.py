"""How exactly the time of a document is known, and when its text was updated.

A million documents take some seconds: the columns need no rewrite, the index reads the table once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INEXACT = sa.text("published_precision <> 'exact'")


def upgrade() -> None:
    exact = sa.Column("published_precision", sa.String(length=8), server_default="exact", nullable=False)
    op.add_column("documents", exact)
    op.add_column("documents", sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_documents_inexact", "documents", ["published_at"], postgresql_where=INEXACT, sqlite_where=INEXACT
    )


def downgrade() -> None:
    op.drop_index("ix_documents_inexact", "documents")
    op.drop_column("documents", "updated_at")
    op.drop_column("documents", "published_precision")

"""Sums by the hour and by the day, and the worst documents in order."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SUMS = ("n", "positive", "neutral", "negative", "uncertain", "score_sum", "score_squares")
NEGATIVE = sa.text("status = 'ok' AND sentiment = 'negative'")
SQLITE = {3600: "%Y-%m-%d %H:00:00.000000", 86_400: "%Y-%m-%d 00:00:00.000000"}


def upgrade() -> None:
    op.create_table(
        "rollups",
        sa.Column("width", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("topic", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("kafka_partition", sa.Integer(), autoincrement=False, nullable=False),
        *[sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS],
        sa.PrimaryKeyConstraint("width", "window_start", "topic", "kind", "kafka_partition"),
    )
    names = ", ".join(SUMS)
    added = ", ".join(f"sum({name})" for name in SUMS)
    for width, pattern in SQLITE.items():
        start = f"to_timestamp(floor(extract(epoch from window_start) / {width}) * {width})"
        if op.get_bind().dialect.name == "sqlite":
            start = f"strftime('{pattern}', window_start)"
        op.execute(
            sa.text(
                f"INSERT INTO rollups (width, window_start, topic, kind, kafka_partition, {names}) "
                f"SELECT {width}, {start}, topic, kind, kafka_partition, {added} FROM aggregates "
                "GROUP BY 1, 2, 3, 4, 5"
            )
        )
    op.create_index(
        "ix_documents_negative", "documents", ["score", "published_at"],
        postgresql_where=NEGATIVE, sqlite_where=NEGATIVE,
    )


def downgrade() -> None:
    op.drop_index("ix_documents_negative", "documents")
    op.drop_table("rollups")

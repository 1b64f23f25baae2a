"""Several documents in one message: each can be refused separately."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PLACE = ("incarnation", "kafka_topic", "kafka_partition", "kafka_offset")
SAID = ("reason", "detail", "seen_at")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return _make_anew((*PLACE, "item"), "0")
    op.add_column("dead_letters", _column("item"))
    return _key((*PLACE, "item"))


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM dead_letters WHERE item > 0"))
    if op.get_bind().dialect.name == "sqlite":
        return _make_anew(PLACE)
    _key(PLACE)
    return op.drop_column("dead_letters", "item")


def _key(columns: tuple[str, ...]) -> None:
    op.drop_constraint("dead_letters_pkey", "dead_letters", type_="primary")
    op.create_primary_key("dead_letters_pkey", "dead_letters", list(columns))


def _make_anew(key: tuple[str, ...], *item: str) -> None:
    """SQLite cannot change a primary key."""
    op.rename_table("dead_letters", "dead_letters_before")
    columns = [_column(name) for name in (*key, *SAID)]
    op.create_table("dead_letters", *columns, sa.PrimaryKeyConstraint(*key))
    values = ", ".join((*PLACE, *item, *SAID))
    op.execute(sa.text(f"INSERT INTO dead_letters SELECT {values} FROM dead_letters_before"))
    op.drop_table("dead_letters_before")


def _column(name: str) -> Any:
    types: dict[str, Any] = {
        "incarnation": sa.String(length=200), "kafka_topic": sa.String(length=249),
        "kafka_partition": sa.Integer(), "kafka_offset": sa.BigInteger(), "item": sa.Integer(),
        "reason": sa.String(length=32), "detail": sa.Text(), "seen_at": sa.DateTime(timezone=True),
    }
    default = "0" if name == "item" else None
    return sa.Column(name, types[name], autoincrement=False, nullable=False, server_default=default)

"""Documents are identified by kind, source and id, and their key is the primary key.

A million documents take some ten seconds; all of it is one transaction.
"""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NEGATIVE = sa.text("status = 'ok' AND sentiment = 'negative'")
INDEXES = {
    "ix_documents_topic_time": ["topic", "published_at"],
    "ix_documents_time": ["published_at"],
    "ix_documents_received": ["received_at"],
    "ix_documents_negative": ["score", "published_at"],
}
# The key of a document as this revision defines it; a test compares it with the code's.
LONGEST_SOURCE, LONGEST_ID, DIGEST = 128, 360, 32
UNESCAPED = re.compile("[A-Za-z0-9._-]*")
# Replaces every distinct character that must be escaped, first the escape character itself.
POSTGRESQL_PART = f"""
CREATE FUNCTION pg_temp.key_part(whole text, longest int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE part text := whole; unsafe text; digest text;
BEGIN
  IF part COLLATE "C" !~ '^[A-Za-z0-9._-]*$' THEN
    part := replace(part, '~', '~7E');
    FOR unsafe IN SELECT DISTINCT matched[1]
        FROM regexp_matches(part COLLATE "C", '[^A-Za-z0-9._~-]', 'g') AS each(matched) LOOP
      part := replace(part, unsafe,
        regexp_replace(upper(encode(convert_to(unsafe, 'UTF8'), 'hex')), '(..)', '~\\1', 'g'));
    END LOOP;
  END IF;
  IF length(part) <= longest THEN RETURN part; END IF;
  digest := left(encode(sha256(convert_to(whole, 'UTF8')), 'hex'), {DIGEST});
  RETURN left(part, longest - {DIGEST} - 2) || '~~' || digest;
END $$
"""
POSTGRESQL_KEY = (
    f"kind || ':' || pg_temp.key_part(source, {LONGEST_SOURCE}) || ':' || pg_temp.key_part(id, {LONGEST_ID})"
)


# A user who may read every table, by default privileges, must not read the secrets.
ONLY_OWNER_READS = """
DO $$ DECLARE reader text; BEGIN
  FOR reader IN SELECT DISTINCT grantee FROM information_schema.role_table_grants
      WHERE table_schema = current_schema() AND table_name = 'secrets' AND grantee NOT IN (current_user, 'PUBLIC') LOOP
    EXECUTE 'REVOKE ALL ON secrets FROM ' || quote_ident(reader);
  END LOOP;
  REVOKE ALL ON secrets FROM PUBLIC;
END $$
"""


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("key", sa.String(length=512), nullable=True))
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    # Heartbeats that were sent before now are not signed.
    marks = sa.table("marks", sa.column("name"), sa.column("at", sa.DateTime(timezone=True)))
    bind = op.get_bind()
    if bind.execute(sa.text("SELECT 1 FROM documents LIMIT 1")).first() is not None:
        op.execute(marks.insert().values(name="heartbeats_signed", at=datetime.now(UTC)))
    if bind.dialect.name == "sqlite":
        driver: Any = bind.connection.driver_connection
        driver.create_function("document_key", 3, document_key)
        return _copy(("key",), "document_key(kind, source, id), *")
    for name in INDEXES:
        op.drop_index(name, "documents")
    op.drop_constraint("documents_pkey", "documents", type_="primary")
    op.execute(sa.text(ONLY_OWNER_READS))
    op.add_column("documents", sa.Column("key", sa.String(length=512), nullable=True))
    op.execute(sa.text(POSTGRESQL_PART))
    op.execute(sa.text(f"ALTER TABLE documents ALTER key TYPE varchar(512) USING {POSTGRESQL_KEY}"))
    op.execute(sa.text("DROP FUNCTION pg_temp.key_part"))
    op.create_primary_key("documents_pkey", "documents", ["key"])
    return _create_indexes()


def downgrade() -> None:
    """Fails if a news item and a comment have the same source and id, which the older version cannot store."""
    op.execute(sa.text("DELETE FROM marks WHERE name = 'heartbeats_signed'"))
    op.drop_table("secrets")
    op.drop_column("dead_letters", "key")
    if op.get_bind().dialect.name == "sqlite":
        names = ", ".join(column.name for column in _columns())
        return _copy(("source", "id"), names)
    op.drop_constraint("documents_pkey", "documents", type_="primary")
    op.drop_column("documents", "key")
    return op.create_primary_key("documents_pkey", "documents", ["source", "id"])


def document_key(kind: str, source: str, id_: str) -> str:
    """The key of a document."""
    return f"{kind}:{_part(source, LONGEST_SOURCE)}:{_part(id_, LONGEST_ID)}"


def _part(text: str, longest: int) -> str:
    part = text
    if not UNESCAPED.fullmatch(text):
        part = quote(text, safe="").replace("~", "%7E").replace("%", "~")
    if len(part) <= longest:
        return part
    return f"{part[: longest - DIGEST - 2]}~~{hashlib.sha256(text.encode()).hexdigest()[:DIGEST]}"


def _copy(key: tuple[str, ...], selected: str) -> None:
    """SQLite cannot change a primary key: all rows are copied, in their order."""
    columns = _columns()
    if key == ("key",):
        columns.insert(0, sa.Column("key", sa.String(length=512), nullable=False))
    op.execute(sa.text("PRAGMA cache_size = -200000"))
    op.create_table("documents_new", *columns, sa.PrimaryKeyConstraint(*key))
    op.execute(sa.text(f"INSERT INTO documents_new SELECT {selected} FROM documents ORDER BY rowid"))
    op.drop_table("documents")
    op.rename_table("documents_new", "documents")
    _create_indexes()
    op.execute(sa.text("PRAGMA cache_size = -2000"))


def _create_indexes() -> None:
    for name, columns in INDEXES.items():
        where: dict[str, Any] = {}
        if name == "ix_documents_negative":
            where = {"postgresql_where": NEGATIVE, "sqlite_where": NEGATIVE}
        op.create_index(name, "documents", columns, **where)


def _columns() -> list[sa.Column[Any]]:
    """The columns of `documents` without the key, in their order."""
    types: dict[str, Any] = {
        "source": sa.String(length=128), "id": sa.String(length=512), "kind": sa.String(length=16),
        "published_at": sa.DateTime(timezone=True), "received_at": sa.DateTime(timezone=True),
        "title": sa.Text(), "text": sa.Text(), "author": sa.String(length=256), "url": sa.Text(),
        "symbols": sa.JSON(), "lang": sa.String(length=35), "status": sa.String(length=16),
        "topic": sa.String(length=100), "topic_probability": sa.Float(), "sentiment": sa.String(length=16),
        "sentiment_probability": sa.Float(), "score": sa.Integer(), "evidence": sa.JSON(),
        "model": sa.String(length=200), "kafka_topic": sa.String(length=249),
        "kafka_partition": sa.Integer(), "kafka_offset": sa.BigInteger(),
    }  # fmt: skip
    optional = {
        "author", "url", "lang", "topic", "topic_probability", "sentiment", "sentiment_probability", "score",
    }  # fmt: skip
    return [sa.Column(name, type_, nullable=name in optional) for name, type_ in types.items()]

"""Secrets that the monitors of one installation share through its database."""

import secrets

from pydantic import SecretStr
from sqlalchemy import Engine, select

from stream.heartbeats import Heartbeats
from stream.storage import schema
from stream.storage.database import writing
from stream.storage.marks import read_mark
from stream.storage.sql import dialect_insert

HEARTBEAT = "heartbeat"
# Set by the upgrade from version 0.2.0, which did not sign.
SIGNED_MARK = "heartbeats_signed"
SECRET_BYTES = 32


def load_heartbeats(engine: Engine, secret: SecretStr | None) -> Heartbeats:
    """The heartbeats of the installation, signed with its own secret or, without one, with the database's.

    The first monitor that asks makes the secret of the database.  Raises StoreUnavailable.
    """
    table = schema.secrets
    with writing(engine) as connection:
        signed_since = read_mark(connection, SIGNED_MARK)
        if secret is not None:
            return Heartbeats(secret.get_secret_value().encode(), signed_since)
        row = {"name": HEARTBEAT, "value": secrets.token_bytes(SECRET_BYTES)}
        connection.execute(dialect_insert(connection, table).on_conflict_do_nothing(), row)
        value = connection.scalar(select(table.c.value).where(table.c.name == HEARTBEAT))
        return Heartbeats(bytes(value or b""), signed_since)

"""The `[database]` part of the settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

DIALECTS = ("sqlite", "postgresql+psycopg")
# The parameters of a SQLite URL: those of its file names need `uri=true` (https://sqlite.org/uri.html).
SQLITE_PARAMETERS = ("timeout", "uri")
SQLITE_FILE_PARAMETERS = ("mode", "cache", "vfs", "immutable", "nolock", "psow")


class DatabaseSettings(BaseModel):
    """The `[database]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = Field(
        SecretStr("sqlite:///monitor.db"),
        description="sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE; the parameters of "
        "libpq may follow, such as ?sslmode=verify-full, and win over what the monitor sets itself",
    )
    pooler: Literal["none", "transaction"] = Field(
        "none",
        description="transaction: PgBouncer or another pooler is between the monitor and PostgreSQL; every "
        "transaction then sets its own timeouts, a round trip more, and no statement is prepared",
    )
    lock_seconds: int = Field(
        10,
        ge=1,
        le=300,
        description="longest wait for another worker's lock before the transaction is retried",
    )

    @field_validator("url")
    @classmethod
    def _can_be_used(cls, secret: SecretStr) -> SecretStr:
        try:
            url = make_url(secret.get_secret_value())
        except (ArgumentError, ValueError) as error:
            allowed = " or ".join(f"{dialect}://..." for dialect in DIALECTS)
            raise ValueError(
                f"not a database URL; allowed: {allowed}; several hosts are ?host=HOST:PORT&host=HOST:PORT"
            ) from error
        if url.drivername not in DIALECTS:
            raise ValueError(f"driver {url.drivername!r}; allowed: " + ", ".join(DIALECTS))
        if url.get_backend_name() == "sqlite":
            _check_sqlite_parameters(url)
        else:
            # Only where it is needed, since the driver takes time to import.
            from stream.storage import postgresql

            postgresql.check_parameters(url)
        return secret


def _check_sqlite_parameters(url: URL) -> None:
    """Raises ValueError for a parameter that SQLAlchemy would ignore, or that would break transactions."""
    is_file_name = url.query.get("uri") == "true" and (url.database or "").startswith("file:")
    allowed = SQLITE_PARAMETERS + (SQLITE_FILE_PARAMETERS if is_file_name else ())
    for name in url.query:
        if name in SQLITE_FILE_PARAMETERS and not is_file_name:
            raise ValueError(f"parameter {name!r} needs a file name: sqlite:///file:PATH?{name}=...&uri=true")
        if name not in allowed:
            raise ValueError(f"parameter {name!r} is not one of SQLite's; allowed: " + ", ".join(allowed))

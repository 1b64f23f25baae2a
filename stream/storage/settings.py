"""The `[database]` part of the settings."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

DIALECTS = ("sqlite", "postgresql+psycopg")


class DatabaseSettings(BaseModel):
    """The `[database]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = Field(
        SecretStr("sqlite:///monitor.db"),
        description="sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
    )
    lock_seconds: int = Field(
        10,
        ge=1,
        le=300,
        description="longest wait for another worker's lock before the transaction is retried",
    )

    @field_validator("url")
    @classmethod
    def _known_dialect(cls, url: SecretStr) -> SecretStr:
        try:
            name = make_url(url.get_secret_value()).drivername
        except ArgumentError as error:
            raise ValueError("not a database URL; allowed: " + " or ".join(DIALECTS) + "://...") from error
        if name not in DIALECTS:
            raise ValueError(f"driver {name!r}; allowed: " + ", ".join(DIALECTS))
        return url

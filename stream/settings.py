"""What can be set about Kafka, the database and the stream between them."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from stream.nouns import Kind

YEAR = 366 * 86_400
# What a profile sets; "balanced" is the fields' own defaults.
PROFILES: dict[str, dict[str, Any]] = {
    "latency": {"batch_documents": 128, "batch_seconds": 0.02},
    "throughput": {"batch_documents": 2048, "batch_seconds": 0.5},
}
DIALECTS = ("sqlite", "postgresql+psycopg")


class KafkaSettings(BaseModel):
    """The `[kafka]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="brokers, host:port, separated by commas"
    )
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="how the brokers are reached: in the clear or by TLS, with a password or not"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how the password is shown to the broker"
    )
    username: str | None = Field(None, description="of sasl_plaintext and sasl_ssl")
    password: SecretStr | None = Field(None, description="of username")
    ssl_ca: Path | None = Field(None, description="PEM of who signs the brokers; unset: the system's")
    ssl_cert: Path | None = Field(None, description="PEM of our own certificate, where brokers ask for one")
    ssl_key: Path | None = Field(None, description="PEM of its key")
    group: str = Field("sentiment-monitor", min_length=1, description="consumer group")
    news: str = Field("news", min_length=1, description="topic of the news items")
    comments: str = Field("comments", min_length=1, description="topic of the comments")
    dead_letters: str = Field("dead-letters", min_length=1, description="topic of what is refused")
    predictions: str = Field("predictions", min_length=1, description="topic of the predictions")
    alerts: str = Field("alerts", min_length=1, description="topic of the alerts' transitions")
    partitions: int = Field(4, ge=1, le=1000, description="partitions of a topic that is created")
    replication: int = Field(1, ge=1, le=9, description="replicas of a topic that is created")
    session_seconds: int = Field(
        45,
        ge=6,
        le=600,
        description="after so long without a sign of a worker its partitions go to others",
    )
    api_version: tuple[int, int] | None = Field(
        None,
        description="protocol version spoken by the admin and producer clients; unset: asked of the broker",
    )

    @model_validator(mode="after")
    def _topics_differ(self) -> "KafkaSettings":
        names = [*self.kinds, *self.written]
        if self.news == self.comments or len(set(names)) < len(names):
            raise ValueError("news, comments, dead_letters, predictions and alerts must be five topics")
        return self

    @model_validator(mode="after")
    def _credentials_are_whole(self) -> "KafkaSettings":
        if self.uses_password and not (self.username and self.password):
            raise ValueError(f"{self.security_protocol} needs username and password")
        if (self.username or self.password) and not self.uses_password:
            raise ValueError("username and password are for sasl_ssl and sasl_plaintext")
        tls = [self.ssl_ca, self.ssl_cert, self.ssl_key]
        if any(tls) and not self.security_protocol.endswith("ssl"):
            raise ValueError("ssl_ca, ssl_cert and ssl_key are for ssl and sasl_ssl")
        if bool(self.ssl_cert) != bool(self.ssl_key):
            raise ValueError("ssl_cert and ssl_key go together")
        return self

    @property
    def uses_password(self) -> bool:
        return self.security_protocol.startswith("sasl")

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of document that each topic read carries."""
        return {self.news: Kind.NEWS, self.comments: Kind.COMMENT}

    @property
    def written(self) -> tuple[str, ...]:
        return (self.dead_letters, self.predictions, self.alerts)


class DatabaseSettings(BaseModel):
    """The `[database]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = Field(
        SecretStr("sqlite:///monitor.db"),
        description="sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
    )
    lock_seconds: int = Field(
        10, ge=1, le=300, description="longest wait for another worker's lock before a retry"
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


class StreamSettings(BaseModel):
    """The `[stream]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["latency", "balanced", "throughput"] = Field(
        "balanced",
        description="what batch_documents and batch_seconds are where they are not set: 128 and 0.02 for "
        "latency, 512 and 0.25, or 2,048 and 0.5 for throughput",
    )
    batch_documents: int = Field(512, ge=1, le=10_000, description="most documents of one batch")
    batch_bytes: int = Field(
        1_000_000, ge=1000, le=100_000_000,
        description="most bytes of one batch: long texts take long to judge, and are committed sooner",
    )  # fmt: skip
    batch_seconds: float = Field(0.25, gt=0, le=60, description="longest wait for a batch to fill")
    window_seconds: int = Field(
        60, ge=1, le=3600, description="width of the event-time windows; not to be changed over stored data"
    )
    late_seconds: int = Field(
        300, ge=1, le=YEAR, description="a text older than this when it is read is counted as late"
    )
    future_seconds: int = Field(
        300, ge=0, le=YEAR, description="a text stamped further ahead than this is refused as far_future"
    )
    max_message_bytes: int = Field(
        1_000_000, ge=1000, le=100_000_000, description="a longer message is refused as too_large"
    )
    message_documents: int = Field(
        1, ge=1, le=10_000,
        description="above 1 a message may be a JSON array of so many documents, each counted and refused "
        "by itself",
    )  # fmt: skip
    in_hand_bytes: int = Field(
        32_000_000, ge=1_000_000, le=10_000_000_000,
        description="no more is read while so many bytes wait to be written; memory grows by some times that",
    )  # fmt: skip
    dead_letter_share: float = Field(
        0.9, gt=0, le=1,
        description="when this share of the latest 1,000 messages is refused, one batch a minute is tried",
    )  # fmt: skip
    publish_predictions: bool = Field(
        True, description="send every prediction to the predictions topic as well"
    )
    mood_seconds: int = Field(
        900, ge=10, le=YEAR, description="how much of the latest event time the mood gauges on /metrics cover"
    )
    retention_days: int = Field(
        0, ge=0, le=36_500,
        description="texts received longer ago are erased, their labels and sums stay; 0: kept for ever",
    )  # fmt: skip
    heartbeat_seconds: int = Field(
        0, ge=0, le=120,
        description="send a document without words so often and see it arrive in SQL; 0: never",
    )  # fmt: skip
    stuck_seconds: int = Field(
        100, ge=30, le=3600,
        description="without progress for so long, while broker and database answer, the process ends",
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _follow_the_profile(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return PROFILES.get(str(values.get("profile")), {}) | values
        return values

    @field_validator("window_seconds")
    @classmethod
    def _divides_an_hour(cls, seconds: int) -> int:
        if 3600 % seconds:
            raise ValueError("must divide an hour evenly, such as 10, 60 or 300")
        return seconds

"""The `[kafka]` part of the settings."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from stream.domain.documents import Kind


class KafkaSettings(BaseModel):
    """The `[kafka]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="addresses of the brokers, host:port, separated by commas"
    )
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="plain or TLS (ssl), without or with a password (sasl)"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how the password is proved to the broker"
    )
    username: str | None = Field(None, description="user name for sasl_plaintext and sasl_ssl")
    password: SecretStr | None = Field(None, description="password for sasl_plaintext and sasl_ssl")
    ssl_ca: Path | None = Field(
        None,
        description="PEM file of the authority that signed the brokers' certificates; unset: the system's",
    )
    ssl_cert: Path | None = Field(
        None, description="PEM file of the client certificate, if the brokers require one"
    )
    ssl_key: Path | None = Field(None, description="PEM file of the client certificate's key")
    group: str = Field("sentiment-monitor", min_length=1, description="name of the consumer group")
    news: str = Field("news", min_length=1, description="topic to read news from")
    comments: str = Field("comments", min_length=1, description="topic to read comments from")
    dead_letters: str = Field("dead-letters", min_length=1, description="topic to write dead letters to")
    predictions: str = Field("predictions", min_length=1, description="topic to write predictions to")
    alerts: str = Field("alerts", min_length=1, description="topic to write alert transitions to")
    stories: str = Field("stories", min_length=1, description="topic to write the stories of documents to")
    partitions: int = Field(4, ge=1, le=1000, description="number of partitions of a created topic")
    replication: int = Field(1, ge=1, le=9, description="number of replicas of a created topic")
    prediction_bytes: int = Field(
        100_000,
        ge=10_000,
        le=100_000_000,
        description="size of the largest prediction that is sent; a larger one goes without its evidence, "
        "then without the places of its entities, its symbols, and its entities. Keep it below the topic's "
        "max.message.bytes (1 MB by default), with room for the key",
    )
    dead_letter_bytes: int = Field(
        200_000,
        ge=10_000,
        le=100_000_000,
        description="size of the largest dead letter that is sent; of a larger one the end of the payload is "
        "left out. Keep it below the topic's max.message.bytes, with room for the key",
    )
    alert_bytes: int = Field(
        200_000,
        ge=10_000,
        le=100_000_000,
        description="size of the largest alert transition that is sent; a larger one goes without its "
        "evidence. Keep it below the topic's max.message.bytes, with room for the key",
    )
    session_seconds: int = Field(
        45,
        ge=6,
        le=600,
        description="if a worker is silent for this long, its partitions go to other workers",
    )
    max_batch_bytes: int = Field(
        33_554_432,
        ge=1_000_000,
        le=1_000_000_000,
        description="how many bytes a compressed record batch may unpack to, and all batches of one poll "
        "together; a larger batch is refused as batch_too_large and skipped. Raise it if producers pack more "
        "than this into one batch: memory grows by about five times it",
    )
    max_fetch_bytes: int = Field(
        16_777_216,
        ge=100_000,
        le=1_000_000_000,
        description="how many bytes one broker may send at once, before unpacking; each broker's answers "
        "stay in memory until they are read. Lower it on a small machine with many brokers",
    )
    max_partition_fetch_bytes: int = Field(
        1_048_576,
        ge=10_000,
        le=100_000_000,
        description="how many bytes of one partition a broker may send at once, before unpacking; a larger "
        "batch is still sent, alone. Raise it if the network between broker and monitor is slow to answer",
    )
    metadata_seconds: float = Field(
        15.0,
        ge=1,
        le=300,
        description="a worker looks this often for new partitions of its topics, which nobody reads until "
        "then; each look is one small request",
    )
    api_version: tuple[int, int] | None = Field(
        None,
        description="protocol version of the admin and producer clients; unset: ask the broker",
    )

    @model_validator(mode="after")
    def _topics_differ(self) -> "KafkaSettings":
        names = [*self.kinds, *self.output_topics]
        if self.news == self.comments or len(set(names)) < len(names):
            raise ValueError(
                "news, comments, dead_letters, predictions, alerts and stories must be six topics"
            )
        return self

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> "KafkaSettings":
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
        """Whether clients log in with SASL."""
        return self.security_protocol.startswith("sasl")

    @property
    def kinds(self) -> dict[str, Kind]:
        """The topics that are read, each with the kind of its documents."""
        return {self.news: Kind.NEWS, self.comments: Kind.COMMENT}

    @property
    def output_topics(self) -> tuple[str, ...]:
        """The topics that are written."""
        return (self.dead_letters, self.predictions, self.alerts, self.stories)

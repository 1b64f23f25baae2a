"""The `[stream]` part of the settings."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from stream.domain.documents import UNKNOWN_SOURCE

YEAR = 366 * 86_400
# The defaults that a profile changes; "balanced" changes none.
PROFILES: dict[str, dict[str, Any]] = {
    "latency": {"batch_documents": 128, "batch_seconds": 0.02},
    "throughput": {"batch_documents": 2048, "batch_seconds": 0.5},
}


class StreamSettings(BaseModel):
    """The `[stream]` part of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["latency", "balanced", "throughput"] = Field(
        "balanced",
        description="defaults of batch_documents and batch_seconds: 128 and 0.02 for latency, 512 and 0.25 "
        "for balanced, 2,048 and 0.5 for throughput",
    )
    batch_documents: int = Field(512, ge=1, le=10_000, description="maximum number of documents in a batch")
    batch_bytes: int = Field(
        1_000_000,
        ge=1000,
        le=100_000_000,
        description="maximum size of a batch: long texts take long to classify, so they are committed in "
        "smaller batches",
    )
    batch_seconds: float = Field(0.25, gt=0, le=60, description="longest time to wait for a batch to fill")
    window_seconds: int = Field(
        60, ge=1, le=3600, description="width of the event-time windows; do not change it once data is stored"
    )
    late_seconds: int = Field(
        300, ge=1, le=YEAR, description="a text that is older than this when it is read counts as late"
    )
    future_seconds: int = Field(
        300,
        ge=0,
        le=YEAR,
        description="a text with a timestamp further in the future is refused as far_future",
    )
    midnight_seconds: int = Field(
        1800,
        ge=0,
        le=YEAR,
        description="a text stamped midnight sharp, in its own time zone, that reaches Kafka later than this "
        "has only a date: its precision is day, and it fires no window of the past. Raise it if a feed that "
        "stamps to the second is slower",
    )
    max_message_bytes: int = Field(
        1_000_000,
        ge=1000,
        le=100_000_000,
        description="maximum size of a message; a larger one is refused as too_large",
    )
    unsupported_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="a source counts as one that the classifier does not read if more than this share of its "
        "latest texts is unsupported; 1 where feeds in other languages are to be expected: no source does",
    )
    message_documents: int = Field(
        1,
        ge=1,
        le=10_000,
        description="maximum number of documents in a message; above 1, a message may be a JSON array of "
        "documents, each counted or refused separately",
    )
    author_characters: int = Field(
        256,
        ge=16,
        le=256,
        description="longest author that is stored; of a longer one, such as the names of a whole desk, the "
        "beginning is",
    )
    url_characters: int = Field(
        2048,
        ge=64,
        le=65_536,
        description="longest URL that is stored; a longer one is left out, since browsers and chat services "
        "take no more. Signed links can need a higher limit",
    )
    symbol_count: int = Field(
        100,
        ge=1,
        le=10_000,
        description="most symbols of a document that are stored, the first ones; raise it where rules watch "
        "symbols and market reports name hundreds",
    )
    symbol_characters: int = Field(
        64, ge=8, le=1024, description="longest symbol that is stored; a longer one is left out"
    )
    in_hand_bytes: int = Field(
        32_000_000,
        ge=1_000_000,
        le=10_000_000_000,
        description="reading pauses while this many bytes wait to be written; memory grows by a small "
        "multiple of it",
    )
    dead_letter_share: float = Field(
        0.9,
        gt=0,
        le=1,
        description="if this share of the last 1,000 messages of a topic is refused, its circuit breaker "
        "opens: after each batch that is refused whole the topic pauses, at first for a second, in the end "
        "for a minute. Lower it if a topic should slow down although some of its feeds can be read",
    )
    publishers: Path | None = Field(
        None,
        description="CSV file with a house's own publishers, on top of the shipped list: which hosts and "
        "names are one origin of texts; read at the start. docs/stories.md describes it",
    )
    publish_predictions: bool = Field(True, description="also send every prediction to the predictions topic")
    publish_stories: bool = Field(
        True, description="also send the story of every document to the stories topic"
    )
    mood_seconds: int = Field(
        900, ge=10, le=YEAR, description="how far back in event time the mood gauges on /metrics look"
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="erase texts received longer ago than this; their labels and sums stay; 0: keep them "
        "forever",
    )
    heartbeat_seconds: int = Field(
        0,
        ge=0,
        le=120,
        description="how often to send a document without words and check that it arrives in SQL; 0: never",
    )
    heartbeat_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="what heartbeats are signed with; unset: a random secret in the database; monitors that "
        "read one topic into databases of their own need the same, or each refuses those of the others",
    )
    allowed_news_sources: tuple[str, ...] = Field(
        (),
        description='sources that may send news, such as `["reuters", "wire-*"]`, with * and ? as in file '
        "names; a message of any other is refused as source_not_allowed; empty: every source",
    )
    allowed_comment_sources: tuple[str, ...] = Field(
        (), description="the same for comments, so that nobody who may only comment writes as a newswire"
    )
    stuck_seconds: int = Field(
        100,
        ge=30,
        le=3600,
        description="exit after this long without progress although broker and database answer",
    )

    @field_validator("allowed_news_sources", "allowed_comment_sources", mode="before")
    @classmethod
    def _is_list_of_sources(cls, sources: Any) -> Any:
        if not isinstance(sources, list | tuple) or not all(isinstance(each, str) for each in sources):
            raise ValueError('must be a list of texts, such as ["reuters", "wire-*"]')
        if not all(each.strip() for each in sources):
            raise ValueError(f"an empty text allows no source; documents without one are {UNKNOWN_SOURCE!r}")
        return sources

    @model_validator(mode="before")
    @classmethod
    def _apply_profile(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return PROFILES.get(str(values.get("profile")), {}) | values
        return values

    @field_validator("window_seconds")
    @classmethod
    def _divides_an_hour(cls, seconds: int) -> int:
        if 3600 % seconds:
            raise ValueError("must divide an hour evenly, such as 10, 60 or 300")
        return seconds

"""What can be set about Kafka, the database and the stream between them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

YEAR = 366 * 86_400
# What a profile sets; "balanced" is the fields' own defaults.
PROFILES: dict[str, dict[str, Any]] = {
    "latency": {"batch_documents": 128, "batch_seconds": 0.02},
    "throughput": {"batch_documents": 2048, "batch_seconds": 0.5},
}


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

"""The error hierarchy of the stream.

StreamError
├── Rejected             a message cannot become a document; carries the reason of its dead letter
├── InputFileError       a file of texts cannot be read; names the file, and what to do
├── FeedError            a row of a file cannot become a message; says what is wrong with it
├── BrokerError          Kafka does not answer or refuses the request; a retry may succeed
├── TopicMissing         a Kafka topic does not exist; says what to do
├── InferenceError       the classifier gave no usable answer for a text of the batch
├── StoreUnavailable     the database is down, locked or full; a retry may succeed
├── StoreRefused         the database refuses these values; a retry cannot succeed
├── DeadLetterMissing    there is no dead letter to show or to send at this position
├── OffsetsRefused       reading on from SQL's offset would lose messages; says what to do
├── SchemaError          the database schema is not the one this version needs; says what to do
├── LeaseLost            another monitor holds the lease; nothing was written
├── IncidentChanged      somebody acted on an incident since it was read; nothing was written
└── IncidentMissing      there is no incident with this id
"""

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """Why a message, or one document of it, became a dead letter; also the values of the label `reason`."""

    EMPTY = "empty"  # the value is empty, or an array without documents
    TOO_LARGE = "too_large"  # longer than stream.max_message_bytes, or more than stream.message_documents
    BATCH_TOO_LARGE = "batch_too_large"  # a record batch unpacks to more than kafka.max_batch_bytes
    UNDECODABLE_BATCH = "undecodable_batch"  # a record batch is damaged, or in a format nobody knows
    NOT_UTF8 = "not_utf8"  # the bytes are not UTF-8
    NOT_JSON = "not_json"  # the text is not JSON
    NOT_AN_OBJECT = "not_an_object"  # the JSON is not an object
    MISSING_FIELD = "missing_field"  # a required field is absent
    INVALID_FIELD = "invalid_field"  # a field has the wrong type, is empty or is too long
    INVALID_TIME = "invalid_time"  # published_at is not an RFC 3339 time with an offset
    FAR_FUTURE = "far_future"  # published_at is further ahead than stream.future_seconds
    NO_TEXT = "no_text"  # title and text are both absent or blank
    NUL = "nul"  # the id has a NUL character, which no database text can hold
    SOURCE_NOT_ALLOWED = (
        "source_not_allowed"  # stream.allowed_news_sources or _comment_sources lack its source
    )
    FORGED_HEARTBEAT = (
        "forged_heartbeat"  # it has the source of the monitor's heartbeats, not their signature
    )
    INFERENCE = "inference"  # the classifier gave no finite answer for it
    STORAGE = "storage"  # the database refused its values, or its story features cannot be computed
    SKIPPED = "skipped"  # an operator skipped this offset and those that the detail names


# What the sender is refused for, and not the message.  It says nothing about the format of the stream.
REFUSED_SENDERS = frozenset({DeadLetterReason.SOURCE_NOT_ALLOWED, DeadLetterReason.FORGED_HEARTBEAT})


class StreamError(Exception):
    """The base class of every error in this module."""


class Rejected(StreamError):
    """A message cannot become a document: it becomes a dead letter with this reason and detail.

    `key` identifies the document that it would have become, if that much could be read.
    """

    def __init__(self, reason: DeadLetterReason, detail: str, key: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.key = key


class InputFileError(StreamError):
    """A file of texts cannot be read.  The message names the file, and what to do."""


class FeedError(StreamError):
    """A row of a file cannot become a message.  The caller adds the file and the line."""


class BrokerError(StreamError):
    """Kafka does not answer or refuses the request.  A retry may succeed."""


class TopicMissing(StreamError):
    """A Kafka topic does not exist.  The message says how to create it."""


class InferenceError(StreamError):
    """The classifier gave no usable answer for at least one text of the batch."""


class StoreUnavailable(StreamError):
    """The database is down, locked or full.  A retry may succeed."""


class StoreRefused(StreamError):
    """The database refuses these values.  A retry cannot succeed."""


class DeadLetterMissing(StreamError):
    """There is no dead letter to show or to send at this position.  The message says what to do."""


class OffsetsRefused(StreamError):
    """Reading on from the offset in SQL would lose messages.  The message says what to do."""


class SchemaError(StreamError):
    """The database schema is not the one this version needs.  The message says what to do."""


class LeaseLost(StreamError):
    """Another monitor holds the lease.  Nothing was written."""


class IncidentChanged(StreamError):
    """Somebody acted on an incident since it was read.  Nothing was written; the next evaluation sees it."""


class IncidentMissing(StreamError):
    """There is no incident with this id."""


def error_text(error: BaseException) -> str:
    """The message of an error, or the name of its class if it has no message."""
    return str(error) or type(error).__name__

"""The errors of the stream, as a tree.

StreamError
├── Rejected             a message cannot become a document; carries the reason of its dead letter
├── FeedError            a feed file cannot be sent; names the file and the line
├── BrokerError          Kafka does not answer or refuses the request; a retry may succeed
├── TopicMissing         a Kafka topic does not exist; says what to do
├── InferenceError       the classifier gave no usable answer for a text of the batch
├── StoreUnavailable     the database is down, locked or full; a retry may succeed
├── StoreRefused         the database refuses these values; a retry cannot succeed
├── OffsetsAhead         Kafka's committed offset is ahead of the database; says what to do
├── SchemaError          the database schema is not the one this version needs; says what to do
└── LeaseLost            another monitor holds the lease; nothing was written
"""


class StreamError(Exception):
    """The base class of every error in this module."""


class Rejected(StreamError):
    """A message cannot become a document: it becomes a dead letter with this reason and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class FeedError(StreamError):
    """A feed file cannot be sent.  The message names the file and the line."""


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


class OffsetsAhead(StreamError):
    """Kafka's committed offset is ahead of the database.  The message says what to do."""


class SchemaError(StreamError):
    """The database schema is not the one this version needs.  The message says what to do."""


class LeaseLost(StreamError):
    """Another monitor holds the lease.  Nothing was written."""


def error_text(error: BaseException) -> str:
    """The message of an error, or the name of its class if it has no message."""
    return str(error) or type(error).__name__

"""What can go wrong in the stream, and between it and its neighbours.
from models.errors import ModelError


StreamError
├── Rejected             one message cannot become a document; carries the reason of its dead letter
├── FeedError            a feed file cannot be replayed; names file and line
├── BrokerError          Kafka is away or refuses; the same call may work later
├── TopicMissing         a topic does not exist; says what to do
├── InferenceError       the classifier gave no usable answer for some text of a batch
├── StoreUnavailable     the database is away, locked or full; the same call may work later
├── StoreRefused         the database refuses these very values; another try cannot help
├── OffsetsAhead         Kafka was read further than the database holds; says what to do
└── SchemaError          the database's schema is not the one this version knows; says what to do
"""


class StreamError(Exception):
    """Base of everything this room raises on purpose."""


class Rejected(StreamError):
    """A message that becomes a dead letter."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class FeedError(StreamError):
    pass


class BrokerError(StreamError):
    pass


class TopicMissing(StreamError):
    pass


class StoreUnavailable(StreamError):
    pass


class StoreRefused(StreamError):
    pass


class OffsetsAhead(StreamError):
    pass


class SchemaError(StreamError):
    pass


class InferenceError(StreamError):
    pass


def error_text(error: BaseException) -> str:
    """What it says, or its kind where it says nothing."""
    return str(error) or type(error).__name__

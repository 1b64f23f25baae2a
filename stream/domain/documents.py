"""The nouns of the system: plain frozen records that every room may use.

This module imports nothing of the project, so that `models` and `alerts` can speak about the same
things without knowing each other.  Times are aware UTC everywhere.  A score is p(positive) minus
p(negative), from -1 to 1; stored scores are integers in units of 1 / SCORE_SCALE, so that sums over
any batching are exact.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

SENTIMENTS = ("positive", "neutral", "negative")
TASKS = ("topic", "sentiment")
SCORE_SCALE = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The source of the documents that the monitor sends itself.
HEARTBEAT = "monitor-heartbeat"


class Kind(StrEnum):
    """What sort of text a document is."""

    NEWS = "news"
    COMMENT = "comment"


class Document(msgspec.Struct, frozen=True, gc=False):
    """One news item or comment.  Its identity is `source` and `id` together."""

    id: str
    kind: Kind
    source: str
    published_at: datetime
    title: str = ""
    text: str = ""
    author: str | None = None
    url: str | None = None
    symbols: tuple[str, ...] = ()
    lang: str | None = None

    @property
    def content(self) -> str:
        """What is judged: title and text, joined by one newline where both are given."""
        return join_content(self.title, self.text)


def join_content(title: str, text: str) -> str:
    return f"{title}\n{text}" if title and text else title or text


def printable(text: str) -> str:
    """Without control characters: a headline must not steer a terminal or forge a log line."""
    return "".join(char if char.isprintable() else " " for char in text)


class Span(msgspec.Struct, frozen=True, gc=False):
    """A stretch of the judged text and its weight: as evidence, its share (0 to 1) of what spoke for the
    label of a task."""

    task: str
    text: str
    start: int
    end: int
    weight: float


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """What the classifier says of one text.

    An unsupported text (a language the model was not trained for, or no words at all) has no
    labels: `topic`, `sentiment` and `score` are None and `probabilities` is empty.  Where the model
    is not `certain` the labels are its most probable ones, and nothing should be built on them.
    `windows` is how many windows the text was read in, `target` the stretch of it that was asked about.
    """

    model: str
    lang: str | None
    topic: str | None = None
    sentiment: str | None = None
    score: float | None = None
    probabilities: Mapping[str, Mapping[str, float]] = {}
    evidence: tuple[Span, ...] = ()
    truncated: bool = False
    certain: bool = True
    windows: int = 1
    target: str | None = None

    @property
    def counted(self) -> str | None:
        """The sentiment that counts: None where the model is not certain."""
        return self.sentiment if self.certain else None

    @property
    def status(self) -> str:
        return "ok" if self.sentiment is not None else "unsupported"

    @property
    def outcome(self) -> str:
        """How the document counts: as ok, uncertain or unsupported."""
        return self.status if self.certain else "uncertain"

    @property
    def is_finite(self) -> bool:
        """Whether every number in it is one."""
        sums = (sum(labels.values()) for labels in self.probabilities.values())
        return math.isfinite(self.score or 0.0) and all(map(math.isfinite, sums))

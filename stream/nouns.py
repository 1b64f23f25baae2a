"""The nouns of the system: plain frozen records that every room may use.

This module imports nothing of the project, so that `models` and `alerts` can speak about the same
things without knowing each other.  Times are aware UTC everywhere.  A score is p(positive) minus
p(negative), from -1 to 1; stored scores are integers in units of 1 / SCORE_SCALE, so that sums over
any batching are exact.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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


def window_start(stamp: datetime, width: timedelta) -> datetime:
    """The start of the event-time window that `stamp` (aware) falls in; windows begin at the epoch."""
    return EPOCH + (stamp - EPOCH) // width * width


@dataclass(frozen=True, slots=True)
class Selection:
    """Documents of these sources, about these symbols, in these languages; empty is any."""

    sources: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sources or self.symbols or self.languages)


@dataclass(frozen=True, slots=True)
class Scope:
    """The documents published in [start, end), on `topic` or (None) on all of them, of these kinds."""

    topic: str | None
    kinds: tuple[str, ...]
    start: datetime
    end: datetime
    selection: Selection = Selection()


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Sums over the judged documents of one topic and kind in one event-time window.

    `score_sum` is in units of 1 / SCORE_SCALE, `score_squares` in units of 1 / SCORE_SCALE squared.
    `n` counts all of them, and positive, neutral, negative and uncertain add up to it: an uncertain
    document has a score and no sentiment.  Aggregates add up: over windows, over kinds, over
    partitions.  A sum keeps the start, topic and kind of its first part.
    """

    start: datetime
    topic: str
    kind: str
    n: int = 0
    positive: int = 0
    neutral: int = 0
    negative: int = 0
    uncertain: int = 0
    score_sum: int = 0
    score_squares: int = 0

    @classmethod
    def of(cls, start: datetime, topic: str, kind: str, sentiment: str | None, score: int) -> "Aggregate":
        """A single judged document; no sentiment is an uncertain one, `score` is in fixed point."""
        positive, neutral, negative, uncertain = (int(sentiment == name) for name in (*SENTIMENTS, None))
        return cls(start, topic, kind, 1, positive, neutral, negative, uncertain, score, score * score)

    def __add__(self, other: "Aggregate") -> "Aggregate":
        return Aggregate(
            start=self.start,
            topic=self.topic,
            kind=self.kind,
            n=self.n + other.n,
            positive=self.positive + other.positive,
            neutral=self.neutral + other.neutral,
            negative=self.negative + other.negative,
            uncertain=self.uncertain + other.uncertain,
            score_sum=self.score_sum + other.score_sum,
            score_squares=self.score_squares + other.score_squares,
        )

    def __neg__(self) -> "Aggregate":
        """What takes it away when it is added."""
        return Aggregate(
            self.start, self.topic, self.kind, -self.n, -self.positive, -self.neutral, -self.negative,
            -self.uncertain, -self.score_sum, -self.score_squares,
        )  # fmt: skip

    @property
    def mean(self) -> float | None:
        """The mean score, None without documents: missing is not calm."""
        return self.score_sum / self.n / SCORE_SCALE if self.n else None

    @property
    def negative_share(self) -> float | None:
        return self.negative / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A document as evidence shows it; `words` did most for its sentiment."""

    source: str
    id: str
    published_at: datetime
    content: str
    score: float
    words: tuple[str, ...] = ()
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode of one rule on one topic, from pending to resolved.

    `id` is the key under which everything about the episode is sent; a repeat carries the same one.
    `value`, `threshold`, `n`, `uncertainty` and `usual` (what the baseline leads to expect, where there is
    one) are those of the latest evaluation with data.  `evidence` and `sources` (negative texts of each) are
    those of the moment it fired; `message` is what the rule's template makes of it.
    """

    id: str
    rule: str
    topic: str
    severity: str
    state: str
    since: datetime
    value: float
    threshold: float
    n: int
    uncertainty: str
    summary: str
    usual: float | None = None
    message: str = ""
    evidence: tuple[Exhibit, ...] = ()
    sources: Mapping[str, int] = field(default_factory=dict)
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    clear_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """An episode that came into another state: a row to audit, and `message` as an event."""

    alert: Alert
    before: str | None
    at: datetime
    message: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Notice:
    """A page for one receiver: the same `key` never twice, those of a `lane` in order, and none before its
    time."""

    target: str
    key: str
    lane: str
    message: Mapping[str, object]
    not_before: datetime

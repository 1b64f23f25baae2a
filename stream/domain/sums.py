"""Sums over the documents of an event-time window, and which documents they are over."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from stream.domain.documents import EPOCH, SCORE_SCALE, SENTIMENTS


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

"""Aggregates: sums over the documents of an event-time window, and how they are added.

This is the only module that knows which sums there are.  `Aggregate` names them, and everything else follows
from SUM_FIELDS: what one document contributes, the columns in SQL, differences, and the sums of hours and
days.  All sums are integers, so adding them in any order gives the same result to the digit.
"""

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import NamedTuple

from stream.domain.documents import EPOCH, SCORE_SCALE, SENTIMENTS
from stream.domain.records import ClassifiedDocument

# Window start, topic, kind and Kafka partition: the key of a row of the aggregates.  Workers of different
# partitions never write the same row.
SumKey = tuple[datetime, str, str, int]


def window_number(stamp: datetime, width: timedelta) -> int:
    """The number of the event-time window of `width` that contains `stamp`, counted from the epoch."""
    return (stamp - EPOCH) // width


def window_start(stamp: datetime, width: timedelta) -> datetime:
    """The start of the event-time window of `width` that contains `stamp`."""
    return EPOCH + window_number(stamp, width) * width


class TimeRange(NamedTuple):
    """The times from `start` up to, not including, `end`."""

    start: datetime
    end: datetime

    def covers(self, time: datetime) -> bool:
        return self.start <= time < self.end


class LateWindow(NamedTuple):
    """A base window that changed after its time, and whether a document with an exact time did it."""

    start: datetime
    has_exact: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Documents of these sources, with these symbols, in these languages; an empty tuple means any.

    With `exact_times`, only those whose time is known exactly (`stream.domain.documents.Precision`).
    """

    sources: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    exact_times: bool = False

    @property
    def names_documents(self) -> bool:
        """Whether it selects by what the stored sums do not know."""
        return bool(self.sources or self.symbols or self.languages)


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Scope:
    """The documents of these kinds published in [start, end), on `topic` or, if it is None, on any topic."""

    topic: str | None
    kinds: tuple[str, ...]
    start: datetime
    end: datetime
    selection: Selection = EVERYTHING


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The sums over the documents of one topic and kind in one event-time window.

    `n` counts all of them; positive, neutral, negative and uncertain add up to `n`.  An uncertain document
    has a score and no sentiment.  `score_sum` is in units of 1 / SCORE_SCALE, `score_squares` in units of
    1 / SCORE_SCALE squared.  Aggregates can be added over windows, kinds and partitions; the result keeps
    the start, topic and kind of the left operand.
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
    def of_document(
        cls, start: datetime, topic: str, kind: str, sentiment: str | None, score: int
    ) -> "Aggregate":
        """The aggregate of one document; see `contribution`."""
        return cls(start, topic, kind, *contribution(sentiment, score))

    @property
    def totals(self) -> tuple[int, ...]:
        """The sums in the order of SUM_FIELDS."""
        totals: tuple[int, ...] = _totals(self)
        return totals

    def __add__(self, other: "Aggregate") -> "Aggregate":
        totals = map(operator.add, self.totals, other.totals)
        return Aggregate(self.start, self.topic, self.kind, *totals)

    def __sub__(self, other: "Aggregate") -> "Aggregate":
        totals = map(operator.sub, self.totals, other.totals)
        return Aggregate(self.start, self.topic, self.kind, *totals)

    @property
    def is_zero(self) -> bool:
        return not any(self.totals)

    @property
    def mean(self) -> float | None:
        """The mean score; None without documents, since no data does not mean neutral."""
        return self.score_sum / self.n / SCORE_SCALE if self.n else None

    @property
    def negative_share(self) -> float | None:
        """The share of negative documents; None without documents."""
        return self.negative / self.n if self.n else None


# The names of the sums, in order; also the names of their SQL columns.
SUM_FIELDS = tuple(field.name for field in fields(Aggregate) if field.name not in ("start", "topic", "kind"))
_totals = operator.attrgetter(*SUM_FIELDS)
# What a document with this sentiment adds to the counts, which are all but the last two of SUM_FIELDS.
_COUNTS = {
    sentiment: tuple(int(name in ("n", sentiment or "uncertain")) for name in SUM_FIELDS[:-2])
    for sentiment in (*SENTIMENTS, None)
}


def contribution(sentiment: str | None, score: int) -> tuple[int, ...]:
    """What one document adds to each of SUM_FIELDS.

    `sentiment` is None for an uncertain document; `score` is in units of 1 / SCORE_SCALE.
    """
    return _COUNTS[sentiment] + (score, score * score)


def sums_by_key(documents: Iterable[ClassifiedDocument], width: timedelta) -> dict[SumKey, Aggregate]:
    """What these documents add to the windows of `width`; unsupported documents add nothing."""
    # The key has the number of the window, since an int is much faster to hash than a datetime.
    contributions: defaultdict[tuple[int, str, str, int], list[tuple[int, ...]]] = defaultdict(list)
    for item in documents:
        prediction, score = item.prediction, item.score
        if prediction.topic is None or score is None:
            continue
        window = window_number(item.document.published_at, width)
        key = (window, prediction.topic, item.position.kind.value, item.position.partition.number)
        contributions[key].append(contribution(prediction.counted_sentiment, score))
    sums: dict[SumKey, Aggregate] = {}
    for (window, topic, kind, partition), rows in contributions.items():
        start = EPOCH + window * width
        sums[start, topic, kind, partition] = Aggregate(
            start, topic, kind, *map(sum, zip(*rows, strict=True))
        )
    return sums


def add_by_key(parts: Iterable[tuple[SumKey, Aggregate]]) -> dict[SumKey, Aggregate]:
    """Add up the aggregates that have the same key."""
    sums: dict[SumKey, Aggregate] = {}
    for key, part in parts:
        sums[key] = sums[key] + part if key in sums else part
    return sums


def roll_up(sums: Mapping[SumKey, Aggregate], width: timedelta) -> dict[SumKey, Aggregate]:
    """The same sums in longer windows, of `width`."""
    return add_by_key(
        ((window_start(start, width), topic, kind, partition), part)
        for (start, topic, kind, partition), part in sums.items()
    )


def difference(new: Mapping[SumKey, Aggregate], old: Mapping[SumKey, Aggregate]) -> dict[SumKey, Aggregate]:
    """What has to be added to `old` to get `new`, without the keys where nothing changes."""
    zeros = {key: Aggregate(*key[:3]) for key in new.keys() | old.keys()}
    changes = {key: new.get(key, zero) - old.get(key, zero) for key, zero in zeros.items()}
    return {key: change for key, change in changes.items() if not change.is_zero}

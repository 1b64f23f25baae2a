"""Aggregates: sums over the documents of an event-time window, and how they are added.

This is the only module that knows which sums there are.  `Aggregate` names them, and everything else follows
from SUM_FIELDS: what one document contributes, the columns in SQL, differences, and the sums of hours and
days.  All sums are integers, so adding them in any order gives the same result to the digit.
"""

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from stream.domain.documents import EPOCH, SCORE_SCALE, SENTIMENTS
from stream.domain.records import ClassifiedDocument

# Window start, topic, kind and Kafka partition: the key of a row of the aggregates.  Workers of different
# partitions never write the same row.
SumKey = tuple[datetime, str, str, int]
# The same for sums over mentions: window start, entity, kind, Kafka partition and band of relevance.
EntityKey = tuple[datetime, str, str, int, int]
# Either of them.
Key = TypeVar("Key", bound=tuple[Any, ...])

# The relevance from which each band begins.
BANDS = (0, 20, 40, 60, 80)


def relevance_band(relevance: int) -> int:
    """The band that a relevance from 0 to 100 is in: sums from the beginning of a band on are exact."""
    return min(relevance // BANDS[1] * BANDS[1], BANDS[-1])


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


class Counted(StrEnum):
    """What a rule counts: all texts, those that are voices, or those that begin a story."""

    TEXTS = "texts"
    VOICES = "voices"
    STORIES = "stories"


@dataclass(frozen=True, slots=True)
class Selection:
    """Documents of these sources, with these symbols, in these languages, that report one of these types of
    events; an empty tuple means any.  Of those, what is `counted`, with at least `min_novelty`: above 0 only
    documents that were assigned to a story have any.

    With `exact_times`, only those whose time is known exactly (`stream.domain.documents.Precision`).
    """

    sources: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    exact_times: bool = False
    events: tuple[str, ...] = ()
    counted: Counted = Counted.TEXTS
    min_novelty: int = 0

    @property
    def names_documents(self) -> bool:
        """Whether it selects by what the stored sums do not know."""
        named = self.sources or self.symbols or self.languages or self.events or self.min_novelty
        return bool(named) or self.counted is Counted.STORIES


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Scope:
    """The documents of these kinds published in [start, end), on `topic` or, if it is None, on any topic.

    With an `entity`, those that mention it with at least `min_relevance`; their sentiment and score are then
    those towards the entity.
    """

    topic: str | None
    kinds: tuple[str, ...]
    start: datetime
    end: datetime
    selection: Selection = EVERYTHING
    entity: str | None = None
    min_relevance: int = 0


@dataclass(frozen=True, slots=True)
class MentionSelection:
    """The mentions of these entities (None: of any) with at least `min_relevance`, in the documents of a
    selection and of these kinds.  Only mentions with a score count."""

    entities: tuple[str, ...] | None = None
    min_relevance: int = 0
    kinds: tuple[str, ...] = ()
    documents: Selection = EVERYTHING


@dataclass(frozen=True, slots=True)
class Fewest:
    """The fewest documents, and negative ones, with which sums matter."""

    documents: int = 1
    negatives: int = 0


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The sums over the documents of one topic and kind in one event-time window.

    `n` counts all of them; positive, neutral, negative and uncertain add up to `n`.  An uncertain document
    has a score and no sentiment.  `score_sum` is in units of 1 / SCORE_SCALE, `score_squares` in units of
    1 / SCORE_SCALE squared.  Aggregates can be added over windows, kinds and partitions; the result keeps
    the start, topic and kind of the left operand.  In sums over mentions `topic` is the id of the entity.
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
    contributions: defaultdict[tuple[Any, ...], list[tuple[int, ...]]] = defaultdict(list)
    for item in documents:
        prediction, score = item.prediction, item.score
        if prediction.topic is None or score is None:
            continue
        window = window_number(item.document.published_at, width)
        key = (window, prediction.topic, item.position.kind.value, item.position.partition.number)
        contributions[key].append(contribution(prediction.counted_sentiment, score))
    return _add_contributions(contributions, width)


def entity_sums_by_key(mentions: Iterable[Any], width: timedelta) -> dict[EntityKey, Aggregate]:
    """What rows of `mentions` add to the windows of `width`; a mention without a score adds nothing."""
    contributions: defaultdict[tuple[Any, ...], list[tuple[int, ...]]] = defaultdict(list)
    for row in mentions:
        if row.score is not None:
            window, band = window_number(row.published_at, width), relevance_band(row.relevance)
            key = (window, row.entity, row.kind, row.kafka_partition, band)
            contributions[key].append(contribution(row.sentiment, row.score))
    return _add_contributions(contributions, width)


def _add_contributions(
    contributions: Mapping[tuple[Any, ...], Sequence[tuple[int, ...]]], width: timedelta
) -> dict[Any, Aggregate]:
    """The sums by key, from keys with the number of a window in place of its start."""
    sums: dict[Any, Aggregate] = {}
    for (window, *rest), rows in contributions.items():
        start, totals = EPOCH + window * width, map(sum, zip(*rows, strict=True))
        sums[start, *rest] = Aggregate(start, rest[0], rest[1], *totals)
    return sums


def add_by_key(parts: Iterable[tuple[Key, Aggregate]]) -> dict[Key, Aggregate]:
    """Add up the aggregates that have the same key."""
    sums: dict[Key, Aggregate] = {}
    for key, part in parts:
        sums[key] = sums[key] + part if key in sums else part
    return sums


def roll_up(sums: Mapping[Key, Aggregate], width: timedelta) -> dict[Key, Aggregate]:
    """The same sums in longer windows, of `width`."""
    # The keys of many sums share few starts.
    starts = {start: window_start(start, width) for start in {key[0] for key in sums}}
    parts: Any = (((starts[key[0]], *key[1:]), part) for key, part in sums.items())
    return add_by_key(parts)


def difference(new: Mapping[Key, Aggregate], old: Mapping[Key, Aggregate]) -> dict[Key, Aggregate]:
    """What has to be added to `old` to get `new`, without the keys where nothing changes."""
    zeros = {key: Aggregate(*key[:3]) for key in new.keys() | old.keys()}
    changes = {key: new.get(key, zero) - old.get(key, zero) for key, zero in zeros.items()}
    return {key: change for key, change in changes.items() if not change.is_zero}

"""The mood of a topic or an entity over time: how sure it is, what is usual, and what is missing.

What is usual comes from the history that rules compare with, in the same way: four weeks by the hour, without
the times of alerts (`alerts.baselines`).
"""

import math
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from scipy.special import gammaincinv

from alerts.baselines.baseline import HOUR, Baseline, count_documents, live_ranges, without
from alerts.baselines.entity_baseline import Pool, StreamWeek
from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.detectors.base import DEFAULT_RELEVANCE
from alerts.windows.entity_windows import LONGEST_GAP, unlinked_ranges
from alerts.windows.own_alerts import LONGEST_LEFT_OUT
from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.sums import Aggregate, Counted, MentionSelection, Selection, TimeRange, window_start
from stream.storage.batches import Store
from stream.storage.desk.topics import ALL, AlertTime, Topics
from stream.storage.digest_reads import DigestReader

# How long the history is, and how much of it must have data: with less than a day of it hardly anything is
# unusual, and a chart is all band.
HISTORY, LEAST_HISTORY = timedelta(days=28), timedelta(days=1)
# The intervals cover 95 %.
Z, TAIL = 1.96, 0.025
# What a page calls now.
NOW_LENGTH = HOUR

# The sums in each window of a width that has any, in order.
ReadSums = Callable[[TimeRange, timedelta], Sequence[Aggregate]]


@dataclass(frozen=True, slots=True)
class Span:
    """From where to where a figure is, or usually is, in 95 of 100 cases."""

    low: float
    high: float

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class MoodPoint:
    """The texts of a stretch of time.

    `mean` is their mean score, from -1 to 1, None without texts, and `sure` says how sure it is.  `usual` is
    where the mean of so many texts usually is, and `usual_n` how many texts there usually are; both are None
    while the history is too short.  `is_missing` says that the monitor has no text on any topic.
    """

    start: datetime
    end: datetime
    n: int
    negative: int
    mean: float | None
    sure: Span | None
    usual: Span | None
    usual_n: Span | None
    is_missing: bool = False

    @property
    def verdict(self) -> str | None:
        """How the mean compares with what is usual; None if that is not known."""
        if self.mean is None or self.usual is None:
            return None
        if self.usual.covers(self.mean):
            return "usual"
        return "lower than usual" if self.mean < self.usual.low else "higher than usual"


@dataclass(frozen=True, slots=True)
class Mood:
    """The mood in a time, from point to point, over its last hour, and the alerts that fired in it.

    `history` is how much data the usual figures come from; zero if that is too little for any.
    """

    time: TimeRange
    points: Sequence[MoodPoint]
    now: MoodPoint
    alerts: Sequence[AlertTime]
    history: timedelta

    @property
    def texts(self) -> int:
        return sum(point.n for point in self.points)


@dataclass(frozen=True, slots=True)
class _Stream:
    """The whole stream before `end`: its week, and what entities with little history have in common."""

    end: datetime
    week: StreamWeek
    pool: Pool


class Moods:
    """Reads moods; safe to share between threads.

    It keeps the history of the whole stream for an hour: that is many rows, and the same for every entity.
    Every method raises StoreUnavailable.
    """

    def __init__(self, store: Store, zone: tzinfo) -> None:
        """`zone` is the time zone of the hours of the week."""
        self._engine, self._reads, self._zone, self._width = store.engine, store.reads, zone, store.width
        self._topics = Topics(store.engine, store.width)
        self._streams: dict[Counted, _Stream] = {}
        self._lock = threading.Lock()

    def record_begins(self) -> datetime | None:
        """When the first text was published; None without any."""
        return DigestReader(self._engine).record_begins()

    def of_topic(self, topic: str, time: TimeRange, width: timedelta, counted: Counted) -> Mood:
        """The mood on a topic, or on ALL, in stretches of `width`; of texts or of voices."""
        spec, history = self._spec(width), _history_before(time.end)
        alerts = self._topics.alerts(topic, _union(time, history))

        def read(part: TimeRange, step: timedelta) -> list[Aggregate]:
            return self._topics.sums(topic, part, step, Selection(counted=counted))

        longest_gap = max(LONGEST_GAP, 4 * spec.comparison_length)
        live = live_ranges(self._topics.live_windows(history, HOUR), HOUR, history.end, longest_gap)
        cells, left_out = read(history, HOUR), _left_out(alerts, history.end)
        calm = [cell for cell in cells if not any(each.covers(cell.start) for each in left_out)]
        baseline = Baseline(calm, without(live, left_out), HOUR, self._zone)
        return self._mood(time, read, Expectation(spec, baseline, cells), alerts)

    def of_entity(self, entity: str, time: TimeRange, width: timedelta, counted: Counted) -> Mood:
        """The same about an entity, of the texts with the relevance that rules have by default."""
        history, documents = _history_before(time.end), Selection(counted=counted)
        mentions = MentionSelection((entity,), DEFAULT_RELEVANCE, documents=documents)
        alerts = self._topics.alerts_about(entity, _union(time, history))

        def read(part: TimeRange, step: timedelta) -> list[Aggregate]:
            return self._reads.entity_sums_by_window(*part, step, mentions)

        cells, stream = read(history, HOUR), self._stream(history, counted)
        left_out = _left_out(alerts, history.end)
        baseline = stream.week.baseline(cells, left_out, stream.pool, self._zone)
        return self._mood(time, read, Expectation(self._spec(width), baseline, cells), alerts)

    def _spec(self, width: timedelta) -> BaselineSpec:
        """Points are compared, of whole base windows."""
        step = max(width // self._width, 1) * self._width
        return BaselineSpec(HISTORY, step, count_documents, self._zone, LEAST_HISTORY)

    def _stream(self, history: TimeRange, counted: Counted) -> _Stream:
        """The stream before this hour; one thread reads it, and the others wait."""
        with self._lock:
            known = self._streams.get(counted)
            if known is None or known.end != history.end:
                known = self._streams[counted] = self._read_stream(history, counted)
            return known

    def _read_stream(self, history: TimeRange, counted: Counted) -> _Stream:
        selection = Selection(counted=counted)
        cells = self._topics.sums(ALL, history, HOUR, selection)
        hours = [cell.start for cell in cells]
        unlinked = unlinked_ranges(cells, self._reads.hours_with_mentions(*history))
        live = without(live_ranges(hours, HOUR, history.end, LONGEST_GAP), unlinked)
        mentions = MentionSelection(None, DEFAULT_RELEVANCE, documents=selection)
        pool = Pool.of(self._reads.entity_sums(*history, mentions))
        return _Stream(history.end, StreamWeek.of(cells, live, self._zone), pool)

    def _mood(self, time: TimeRange, read: ReadSums, usual: Expectation, alerts: Sequence[AlertTime]) -> Mood:
        step = usual.spec.comparison_length
        shown = TimeRange(window_start(time.start, step), time.end)
        last_hour = TimeRange(window_start(time.end - NOW_LENGTH, self._width), time.end)
        live = frozenset(self._topics.live_windows(shown, step))
        enough = usual.baseline.seconds >= LEAST_HISTORY.total_seconds()
        expected = usual if enough else None
        windows = read(shown, step)
        return Mood(
            shown,
            points_of(windows, live, shown, step, expected),
            _last(read(last_hour, self._width), windows, last_hour, expected),
            [alert for alert in alerts if alert.until is None or alert.until >= shown.start],
            timedelta(seconds=usual.baseline.seconds) if enough else timedelta(0),
        )


def points_of(
    windows: Sequence[Aggregate],
    live: Collection[datetime],
    time: TimeRange,
    width: timedelta,
    usual: Expectation | None,
) -> list[MoodPoint]:
    """A point for each stretch of `width` in a time, also where there are no texts.

    `windows` are the sums of the stretches that have any, and `live` the starts of those in which the stream
    has a text on any topic.
    """
    by_start = {window.start: window for window in windows}
    deviation = _deviation(windows, usual)
    points, start = [], window_start(time.start, width)
    while start < time.end:
        total = by_start.get(start, Aggregate(start, ALL, ALL))
        stretch = TimeRange(max(start, time.start), min(start + width, time.end))
        points.append(_point(total, stretch, usual, deviation, is_missing=start not in live))
        start += width
    return points


def _last(
    hour: Sequence[Aggregate], windows: Sequence[Aggregate], time: TimeRange, usual: Expectation | None
) -> MoodPoint:
    total = sum(hour, Aggregate(time.start, ALL, ALL))
    return _point(total, time, usual, _deviation(windows, usual), is_missing=False)


def _point(
    total: Aggregate, time: TimeRange, usual: Expectation | None, deviation: float, *, is_missing: bool
) -> MoodPoint:
    mean = total.mean
    sure = None if mean is None else _score_span(mean, deviation**2 / total.n)
    usual_mean = usual_n = None
    if usual is not None:
        expected = usual.expected(*time)
        centre, _, variance = usual.scores
        usual_mean = _score_span(centre, deviation**2 / max(total.n or expected, 1.0) + variance)
        usual_n = _count_span(expected, usual.variation)
    return MoodPoint(*time, total.n, total.negative, mean, sure, usual_mean, usual_n, is_missing)


def _deviation(windows: Iterable[Aggregate], usual: Expectation | None) -> float:
    """The standard deviation of scores: as it usually is, or of what is shown."""
    if usual is not None:
        return usual.scores[1]
    total = sum(windows, Aggregate(EPOCH, "", ""))
    if total.n < 2:
        return 1.0
    mean = total.score_sum / total.n / SCORE_SCALE
    return math.sqrt(max(total.score_squares / total.n / SCORE_SCALE**2 - mean**2, 1e-6))


def _score_span(mean: float, variance: float) -> Span:
    half = Z * math.sqrt(variance)
    return Span(max(-1.0, mean - half), min(1.0, mean + half))


def _count_span(expected: float, variation: float) -> Span:
    """Where a count usually is, whose rate varies (`alerts.baselines.statistics.count_tail`): by the gamma
    distribution of the same mean and variance."""
    variance = expected + variation * expected**2
    shape, scale = expected**2 / variance, variance / expected
    return Span(*(float(gammaincinv(shape, share)) * scale for share in (TAIL, 1 - TAIL)))


def _left_out(alerts: Iterable[AlertTime], end: datetime) -> list[TimeRange]:
    """The times of alerts before `end`, which are no part of what is usual; from the whole hour on."""
    return [
        TimeRange(window_start(alert.since, HOUR), min(alert.until or end, alert.since + LONGEST_LEFT_OUT))
        for alert in alerts
    ]


def _history_before(end: datetime) -> TimeRange:
    """Four weeks of whole hours; the present hour is no part of them."""
    last = window_start(end, HOUR)
    return TimeRange(last - HISTORY, last)


def _union(one: TimeRange, other: TimeRange) -> TimeRange:
    return TimeRange(min(one.start, other.start), max(one.end, other.end))

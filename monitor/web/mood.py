"""The mood of a topic or an entity over time: how sure it is, what is usual, and what is missing.

What is usual comes from the history that rules compare with, in the same way: four weeks by the hour, without
the times of past alerts (`alerts.baselines`).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from alerts.baselines.baseline import HOUR, count_documents, live_ranges, without
from alerts.baselines.entity_baseline import Pool, StreamWeek
from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.detectors.base import DEFAULT_RELEVANCE
from alerts.windows.entity_windows import LONGEST_GAP, unlinked_ranges
from stream.domain.sums import Aggregate, Counted, MentionSelection, Selection, TimeRange
from stream.storage.batches import Store
from stream.storage.desk.topics import ALL, AlertTime, Topics

# As rules have it by default (`alerts.detectors.baseline_rule`): how long the history is, and how much of it
# must have data.
HISTORY, LEAST_HISTORY = timedelta(days=28), HOUR
# The intervals cover 95 %.
Z, TAIL = 1.96, 0.025
# What the page calls now.
NOW_LENGTH = HOUR


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
        self._reads, self._zone, self._width = store.reads, zone, store.width
        self._topics = Topics(store.engine, store.width)
        self._streams: dict[Counted, _Stream] = {}
        self._lock = threading.Lock()

    def of_topic(self, topic: str, time: TimeRange, width: timedelta, counted: Counted) -> Mood:
        """The mood on a topic, or on ALL, in stretches of `width`; of texts or of voices."""
        selection, history = Selection(counted=counted), _history_before(time.end)
        alerts = self._topics.alerts(topic, _union(time, history))
        cells = self._topics.sums(topic, history, HOUR, selection)
        spec = self._spec(width)
        live = _live(self._topics.live_hours(history), spec, history.end)
        usual = _expectation(spec, cells, live, _left_out(alerts))
        windows = self._topics.sums(topic, time, self._step(width), selection)
        return self._mood(windows, time, width, alerts, usual)

    def of_entity(self, entity: str, time: TimeRange, width: timedelta, counted: Counted) -> Mood:
        """The same about an entity, of the texts with the relevance that rules have by default."""
        history = _history_before(time.end)
        mentions = MentionSelection((entity,), DEFAULT_RELEVANCE, documents=Selection(counted=counted))
        alerts = self._topics.alerts_about(entity, _union(time, history))
        cells = self._reads.entity_sums_by_window(*history, HOUR, mentions)
        stream, spec = self._stream(history, counted), self._spec(width)
        baseline = stream.week.baseline(cells, _left_out(alerts), stream.pool, self._zone)
        windows = self._reads.entity_sums_by_window(*time, self._step(width), mentions)
        return self._mood(windows, time, width, alerts, Expectation(spec, baseline, cells))

    def _step(self, width: timedelta) -> timedelta:
        """The width of the points, in whole base windows."""
        return max(width // self._width, 1) * self._width

    def _spec(self, width: timedelta) -> BaselineSpec:
        return BaselineSpec(HISTORY, self._step(width), count_documents, self._zone, LEAST_HISTORY)

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

    def _mood(
        self,
        windows: Sequence[Aggregate],
        time: TimeRange,
        width: timedelta,
        alerts: Sequence[AlertTime],
        usual: Expectation,
    ) -> Mood:
        step = self._step(width)
        enough = usual.baseline.seconds >= LEAST_HISTORY.total_seconds()
        expected = usual if enough else None
        live = {one.start for one in self._topics.sums(ALL, time, step, Selection())}
        points = points_of(windows, live, time, step, expected)
        shown = [alert for alert in alerts if alert.until is None or alert.until >= time.start]
        history = timedelta(seconds=usual.baseline.seconds) if enough else timedelta(0)
        return Mood(time, points, _latest(points, windows, time, expected), shown, history)

"""Which hours were labelled by another model than the one that labels now.

Two models label the same texts differently, so their numbers must not be compared.  After a switch of the
model, baselines leave out the hours that the model before it labelled, until those are labelled again.
"""

from collections import Counter
from datetime import datetime, timedelta

from alerts.baselines.baseline import HOUR
from alerts.ports import AggregateReader
from stream.domain.sums import TimeRange, window_start

# Documents of another model up to this share of an hour change its numbers no more than chance does.
TOLERATED_SHARE = 0.05
# How often everything is read again while some hours are of another model: they may be labelled again.
REFRESH = timedelta(minutes=10)
# Documents received before the last look may have been committed after it.
OVERLAP = timedelta(seconds=15)


class LabelledHours:
    """Follows which model labelled the hours of the last `span`, reading little where nothing changed."""

    def __init__(self, reader: AggregateReader) -> None:
        self._reader = reader
        self._counts: Counter[tuple[datetime, str]] = Counter()
        self._model: str | None = None
        self._span = timedelta(0)
        self._looked_at: datetime | None = None
        self._read_at: datetime | None = None
        self.of_other_models: tuple[TimeRange, ...] = ()

    def look(self, now: datetime, span: timedelta) -> bool:
        """Whether other hours than before are of another model now."""
        model = self._reader.latest_model()
        if model is None:
            return False
        start = window_start(now - span, HOUR)
        received_since = self._looked_at
        if received_since is None or self._must_read_all(now, span, model):
            self._counts.clear()
            self._read_at, received_since = now, None
        else:
            received_since -= OVERLAP
        self._counts.update(self._reader.count_by_model(start, now, received_since))
        self._counts = Counter({key: count for key, count in self._counts.items() if key[0] >= start})
        self._model, self._span, self._looked_at = model, span, now
        before, self.of_other_models = self.of_other_models, self._other_hours()
        return before != self.of_other_models

    def of_present_model(self, start: datetime, end: datetime) -> timedelta:
        """How much of [start, end) has documents and was labelled by the present model."""
        hours = {hour for hour, _ in self._counts if start <= hour < end}
        return HOUR * sum(not any(other.covers(hour) for other in self.of_other_models) for hour in hours)

    def _must_read_all(self, now: datetime, span: timedelta, model: str) -> bool:
        if model != self._model or span > self._span:
            return True
        if self._looked_at is None or self._read_at is None or now < self._looked_at:
            return True
        return bool(self.of_other_models) and now - self._read_at >= REFRESH

    def _other_hours(self) -> tuple[TimeRange, ...]:
        """Whole hours, those that touch as one."""
        all_models: Counter[datetime] = Counter()
        others: Counter[datetime] = Counter()
        for (hour, model), count in self._counts.items():
            all_models[hour] += count
            others[hour] += count if model != self._model else 0
        found: list[TimeRange] = []
        for hour in sorted(hour for hour in others if others[hour] > TOLERATED_SHARE * all_models[hour]):
            if found and found[-1].end == hour:
                found[-1] = TimeRange(found[-1].start, hour + HOUR)
            else:
                found.append(TimeRange(hour, hour + HOUR))
        return tuple(found)

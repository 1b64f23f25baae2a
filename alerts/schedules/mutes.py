"""Planned mutes: when which alerts page nobody.  Pure: now is an argument.

A muted alert is evaluated and stored like any other.  When its mute ends and it still fires, it pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

from alerts.schedules.local_times import first_at, over_at
from stream.domain.alerts import Alert
from stream.domain.sums import TimeRange

DAY = timedelta(days=1)
# How far ahead the next time of a mute is looked for: every day of a year comes in it.
LOOKED_AHEAD = timedelta(days=366)
EVER = TimeRange(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Times that come again, by the clocks of `zone`: on each day that `weekdays` (Monday is 0),
    `days_of_month` (the last is -1) and `months` allow, where an empty one allows all.

    From `start` until `end`, on the next day if that is not later.  Clocks that are set back in between make
    it longer, and those that are set forward shorter: at its edges too, no minute that they show in between
    is left out.
    """

    zone: ZoneInfo
    start: time = time()
    end: time = time()
    weekdays: Sequence[int] = ()
    days_of_month: Sequence[int] = ()
    months: Sequence[int] = ()

    def on(self, day: date) -> TimeRange | None:
        """The time that begins on a day; None if there is none."""
        if not self._allows(day):
            return None
        last_day = day if self.end > self.start else day + DAY
        start = first_at(datetime.combine(day, self.start), self.zone)
        end = over_at(datetime.combine(last_day, self.end), self.zone)
        return TimeRange(start, end) if start < end else None

    def _allows(self, day: date) -> bool:
        days_left = (day.replace(day=28) + 4 * DAY).replace(day=1) - day
        return (
            (not self.weekdays or day.weekday() in self.weekdays)
            and (not self.months or day.month in self.months)
            and (
                not self.days_of_month
                or day.day in self.days_of_month
                or -days_left.days in self.days_of_month
            )
        )

    def after(self, now: datetime) -> Iterator[TimeRange]:
        """The times that end after now, in order, of the next year."""
        today = now.astimezone(self.zone).date()
        for days in range(-2, LOOKED_AHEAD.days):
            found = self.on(today + days * DAY)
            if found is not None and found.end > now:
                yield found


@dataclass(frozen=True, slots=True)
class Mute:
    """One entry of the file of mutes.

    It covers the alerts of these rules, topics and entities: all that are named must fit, and none named
    means any.  It holds within `bounds`, and if it recurs, at its times within them.
    """

    name: str
    reason: str
    bounds: TimeRange = EVER
    recurrence: Recurrence | None = None
    rules: Sequence[str] = ()
    topics: Sequence[str] = ()
    entities: Sequence[str] = ()

    def covers(self, alert: Alert) -> bool:
        """Whether it is for such an alert, at whatever time."""
        return (
            (not self.rules or alert.rule in self.rules)
            and (not self.topics or (alert.entity is None and alert.topic in self.topics))
            and (not self.entities or alert.entity in self.entities)
        )

    def holds(self, now: datetime) -> bool:
        if not self.bounds.covers(now):
            return False
        if self.recurrence is None:
            return True
        # One that began the day before yesterday may go on where clocks are set by a whole day.
        today = now.astimezone(self.recurrence.zone).date()
        found = (self.recurrence.on(today - days * DAY) for days in range(3))
        return any(each is not None and each.covers(now) for each in found)

    def next_time(self, now: datetime) -> TimeRange | None:
        """The time in which it holds now, or the next one of a year; None if there is none.

        Times that follow each other without a pause are one.
        """
        times = chain((self.bounds,)) if self.recurrence is None else self.recurrence.after(now)
        found: TimeRange | None = None
        for each in times:
            start, end = max(each.start, self.bounds.start), min(each.end, self.bounds.end)
            if start >= end or end <= now:
                continue
            if found is not None and start > found.end:
                break
            found = TimeRange(start if found is None else found.start, end)
        return found


@dataclass(frozen=True, slots=True)
class Mutes:
    """All planned mutes."""

    entries: Sequence[Mute] = field(default=())

    def of(self, alert: Alert, now: datetime) -> Mute | None:
        """The first mute that keeps the alert quiet now; None if it may page."""
        return next((mute for mute in self.entries if mute.covers(alert) and mute.holds(now)), None)

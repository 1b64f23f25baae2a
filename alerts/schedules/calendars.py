"""Trading calendars: when an exchange trades, and which days it is closed.  Pure: a table of times.

Something else reads the tables (`monitor.trading_calendars`); rules use the last ones that were read.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import islice, pairwise

from stream.domain.sums import TimeRange, window_start


class DayType(StrEnum):
    """Whether a time lies on days of trading or on closed ones.  It is mixed if it has both, or if that is
    not known."""

    TRADING = "trading"
    CLOSED = "closed"
    MIXED = "mixed"


@dataclass(frozen=True)
class Calendar:
    """When an exchange trades, as far as that is `known`.

    `hours` are its trading hours without its breaks.  `days` are its days of trading from midnight to
    midnight by its own clocks, with the evening before where a session begins then.  Both are in order and
    do not touch each other.
    """

    name: str
    hours: Sequence[TimeRange]
    days: Sequence[TimeRange]

    @property
    def known(self) -> TimeRange:
        """From the first day of trading to the last."""
        return TimeRange(self.days[0].start, self.days[-1].end)

    def _knows(self, time: TimeRange) -> bool:
        return bool(self.days) and self.known.start <= time.start and time.end <= self.known.end

    def trading_hours(self, time: TimeRange) -> list[TimeRange] | None:
        """The trading hours in a time; None if they are not known."""
        return parts_within(self.hours, time) if self._knows(time) else None

    def day_type(self, time: TimeRange) -> DayType:
        """What kind of days all of a time lies on."""
        if not self._knows(time):
            return DayType.MIXED
        parts = parts_within(self.days, time)
        if not parts:
            return DayType.CLOSED
        return DayType.TRADING if parts == [time] else DayType.MIXED

    def other_days(self, day_type: DayType, history: TimeRange, width: timedelta) -> list[TimeRange]:
        """The times of a history that lie on days of the other type, in whole cells of `width`: they are not
        compared with a time of this type.  None for a mixed one."""
        if day_type is DayType.MIXED or not self.days:
            return []
        closed = [TimeRange(before.end, after.start) for before, after in pairwise(self.days)]
        others = closed if day_type is DayType.TRADING else self.days
        return [_whole_cells(part, width) for part in parts_within(others, history)]


def _whole_cells(time: TimeRange, width: timedelta) -> TimeRange:
    return TimeRange(
        window_start(time.start, width), window_start(time.end + width - timedelta.resolution, width)
    )


def parts_within(times: Sequence[TimeRange], whole: TimeRange) -> list[TimeRange]:
    """What of the times, which are in order and do not overlap, lies in another one."""
    parts = []
    first = bisect_right(times, whole.start, key=lambda each: each.end)
    for start, end in islice(times, first, None):
        if start >= whole.end:
            break
        parts.append(TimeRange(max(start, whole.start), min(end, whole.end)))
    return parts


class TradingCalendars:
    """The calendars that were read last.  One thread puts them here, and others use them."""

    def __init__(self, calendars: Iterable[Calendar] = (), *, are_being_read: bool = False) -> None:
        """`are_being_read` is whether somebody will call `put`, so that it is worth waiting for."""
        self._calendars: Mapping[str, Calendar] = {calendar.name: calendar for calendar in calendars}
        self._are_being_read = are_being_read
        self._tried: frozenset[str] = frozenset(self._calendars)

    def get(self, name: str | None) -> Calendar | None:
        """The calendar as it was read last; None if it never could be."""
        return None if name is None else self._calendars.get(name)

    def will_be_read(self, name: str | None) -> bool:
        """Whether nobody has tried to read the calendar yet, but somebody is about to."""
        return name is not None and self._are_being_read and name not in self._tried

    def put(self, calendars: Iterable[Calendar], tried: Collection[str]) -> None:
        """Use these calendars from now on.  Of those that were tried in vain, the last table stays."""
        self._calendars = {**self._calendars, **{calendar.name: calendar for calendar in calendars}}
        self._tried |= frozenset(tried)

"""Mutes around changes of the clocks, compared with what the clocks show minute by minute."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from alerts.schedules.mutes import Mute, Recurrence

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# Days on which clocks change: by an hour at night and at midnight, by half an hour, by a whole day, and back.
CHANGES = [
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Africa/Cairo", date(2026, 4, 24)),
    ("Africa/Cairo", date(2026, 10, 29)),
    ("America/Havana", date(2026, 11, 1)),
    ("America/Santiago", date(2026, 9, 6)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Asia/Shanghai", date(2026, 3, 8)),
]
minutes_of_day = st.integers(0, 24 * 60 - 1).map(lambda n: time(n // 60, n % 60))


@cache
def clock(zone: ZoneInfo, day: date) -> list[tuple[datetime, datetime]]:
    """The minutes about a day, in UTC and as the clocks show them."""
    at = datetime.combine(day, time(), UTC) - 2 * DAY
    times = (at + n * MINUTE for n in range(6 * 24 * 60))
    return [(each, each.astimezone(zone).replace(tzinfo=None)) for each in times]


def shown(day: date, start: time, end: time, clock: list[tuple[datetime, datetime]]) -> list[datetime]:
    """The minutes, in UTC, in which the clocks show a time from `start` of the day until `end`."""
    first = datetime.combine(day, start)
    last = datetime.combine(day if end > start else day + DAY, end)
    return [at for at, local in clock if first <= local < last]


@given(st.sampled_from(CHANGES), st.integers(-1, 1), minutes_of_day, minutes_of_day)
def test_a_mute_holds_from_the_first_minute_that_its_clocks_show_to_the_last(
    change: tuple[str, date], days: int, start: time, end: time
) -> None:
    """So it has every minute that they show, and no other but those in between where they are set back."""
    zone, day = ZoneInfo(change[0]), change[1] + days * DAY
    time_of_day = Recurrence(zone, start, end).on(day)
    minutes = shown(day, start, end, clock(zone, change[1]))
    if time_of_day is None:
        assert not minutes
    else:
        assert (time_of_day.start, time_of_day.end) == (minutes[0], minutes[-1] + MINUTE)


@given(st.sampled_from(CHANGES), minutes_of_day, minutes_of_day, st.integers(0, 4 * 24 * 60))
def test_a_mute_of_every_day_holds_at_a_moment_if_one_of_its_days_has_it(
    change: tuple[str, date], start: time, end: time, minutes: int
) -> None:
    zone, day = ZoneInfo(change[0]), change[1]
    now = datetime.combine(day, time(), UTC) - 2 * DAY + minutes * MINUTE
    recurrence = Recurrence(zone, start, end)
    times = [recurrence.on(day + n * DAY) for n in range(-6, 7)]
    expected = any(each is not None and each.covers(now) for each in times)
    mute = Mute("m", "r", recurrence=recurrence)
    assert mute.holds(now) is expected
    following = mute.next_time(now)
    assert following is not None
    assert following.covers(now) is expected

"""When the clocks of a time zone show a time: exact where they are set forward or back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MOMENT = timedelta.resolution


def first_at(local: datetime, zone: ZoneInfo) -> datetime:
    """The first time, in UTC, at which the clocks show `local`, which is naive.  The time of the change if
    they skip it."""
    return _change_over(local, zone) or _utc(local, zone, fold=0)


def over_at(local: datetime, zone: ZoneInfo) -> datetime:
    """The time, in UTC, from which on the clocks show nothing before `local`, which is naive.

    Where they are set back over it that is later than they first show it.
    """
    before = local - MOMENT
    return _change_over(before, zone) or _utc(before, zone, fold=1) + MOMENT


def _utc(local: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _change_over(local: datetime, zone: ZoneInfo) -> datetime | None:
    """When the clocks are set forward over a time that they never show; None if they show it."""
    # Read with the offset after the change a skipped time lies before the change, and the other way round.
    low, high = _utc(local, zone, fold=1), _utc(local, zone, fold=0)
    if low >= high:
        return None
    offset = low.astimezone(zone).utcoffset()
    while high - low > MOMENT:
        middle = low + (high - low) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high

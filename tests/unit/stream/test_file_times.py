"""Times as files hold them."""

import math
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from stream.domain.files.file_times import FileTime, TimeFormat, parse_time, parse_zone

EXPECTED = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SHANGHAI = TimeFormat(parse_zone("Asia/Shanghai"))


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T09:30:00Z",
        "2026-03-01T09:30:00z",
        "2026-03-01t09:30:00z",
        "2026-03-01T17:30:00+0800",
        "2026-03-01T17:30:00+08:00",
        "2026-03-01T17:30+08",
        "2026-03-01 17:30:00 +0800",
        "2026-03-01 09:30:00 UTC",
        "2026-03-01 09:30:00+00:00",
        "2026-03-01 09:30:00.000000000+00:00",
        "2026-03-01T09:30:00.000+0000",
        " 2026-03-01T09:30:00Z ",
        "Sun, 01 Mar 2026 17:30:00 +0800",
        "Sun, 01 Mar 2026 09:30:00 GMT",
        "1 Mar 2026 04:30 EST",
        "Sun, 01 Mar 2026 09:30:00 -0000",
        "Sun Mar 01 17:30:00 +0800 2026",
        "Sun Mar  1 09:30:00 GMT 2026",
        "20260301T093000Z",
        "2026-03-01T09:30:00.000000000Z",
        1772357400,
        1772357400.0,
        "1772357400",
        "1772357400.0",
        1772357400_000,
        "1772357400000",
        1772357400_000_000,
        1772357400_000_000_000,
        "1772357400000000000",
    ],
)
def test_a_time_with_a_zone_is_read_whatever_its_form(value: object) -> None:
    assert parse_time(value, TimeFormat()) == FileTime(EXPECTED)
    assert parse_time(value, SHANGHAI) == FileTime(EXPECTED), "its own zone counts"


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01 17:30:00",
        "2026-03-01T17:30:00",
        "2026-03-01 17:30:00.000",
        "2026/03/01 17:30",
        "2026/3/1 17:30",
        "2026.03.01 17:30",
        "2026年3月1日 17:30",
        "2026年03月01日17时30分",
        "2026年3月1日 下午5:30",
        "2026-03-01 05:30 PM",
        "２０２６－０３－０１ １７：３０",
        "Sun, 01 Mar 2026 17:30:00",
        "Sun Mar  1 17:30:00 2026",
        "2026年3月1日（星期日） 17:30",
        "2026年3月1日 周日 17:30",
        "20260301173000",
        "202603011730",
        20260301173000,
        20260301173000000,
    ],
)
def test_a_local_time_needs_a_zone(value: object) -> None:
    assert parse_time(value, SHANGHAI) == FileTime(EXPECTED)
    assert parse_time(value, TimeFormat(timezone(timedelta(hours=8)))) == FileTime(EXPECTED)
    with pytest.raises(ValueError, match="--timezone"):
        parse_time(value, TimeFormat())


@pytest.mark.parametrize("value", ["2026-03-01", "2026/3/1", "2026年3月1日", "20260301", 20260301])
def test_a_date_alone_is_the_midnight_of_its_day_and_says_so(value: object) -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    assert parse_time(value, TimeFormat()) == FileTime(midnight, is_day=True)
    assert parse_time(value, SHANGHAI) == FileTime(midnight - timedelta(hours=8), is_day=True)


@pytest.mark.parametrize("value", [45000.4, 45000, "45000.4", 46082])
def test_a_day_of_excel_is_never_1970(value: object) -> None:
    with pytest.raises(ValueError, match="--excel-days"):
        parse_time(value, TimeFormat())


def test_days_of_excel_are_read_if_they_are_asked_for() -> None:
    times = TimeFormat(parse_zone("Asia/Shanghai"), excel_days=True)
    assert parse_time(46082 + 17.5 / 24, times) == FileTime(EXPECTED)
    assert parse_time("46082.7291667", times) == FileTime(EXPECTED)
    assert parse_time(46082, times).is_day
    with pytest.raises(ValueError, match="--timezone"):
        parse_time(46082.5, TimeFormat(excel_days=True))
    with pytest.raises(ValueError, match="no day of Excel"):
        parse_time(1772357400, times)


@pytest.mark.parametrize(
    "value",
    [
        *("noon", "03/01/2026 09:30", "01.03.2026", "2026-13-01", "2026-03-01 25:00Z", "1/3/26"),
        *("Sun, 01 Mar 2026 09:30:00 CST", "Sun, 01 Mar 2026 09:30:00 HKT", "2026-03-01 13:30 PM"),
        *(True, [], {}, None, 0, 1, -1, 1e300, 10**30, math.inf, math.nan, "1" * 40),
    ],
)
def test_what_is_no_time_or_may_be_two_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_time(value, SHANGHAI)


def test_a_time_at_which_clocks_change_is_read() -> None:
    berlin = TimeFormat(parse_zone("Europe/Berlin"))
    assert parse_time("2026-03-29 12:00", berlin).at == datetime(2026, 3, 29, 10, tzinfo=UTC)
    assert parse_time("2026-03-28 12:00", berlin).at == datetime(2026, 3, 28, 11, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Shanghai", "", "../etc/passwd", "+8", "+99:00"])
def test_a_wrong_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Asia/Shanghai"):
        parse_zone(name)


@pytest.mark.parametrize(
    "text", ["2026-03-01" + " " * 100_000 + "x", "2026-3-1" + "T" * 5000 + "x", "1" * 5000]
)
def test_a_long_text_is_refused_at_once(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="more than 100 characters"):
        parse_time(text, SHANGHAI)
    assert time.perf_counter() - began < 0.5

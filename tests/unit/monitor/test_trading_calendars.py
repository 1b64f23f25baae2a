"""Reading trading calendars: with the real library, without it, and in the background."""

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from alerts.rules.rule_file import load_rules
from alerts.schedules.calendar_names import CALENDAR_NAMES
from alerts.schedules.calendars import Calendar, TradingCalendars
from monitor import trading_calendars
from monitor.runtime.tasks.calendars import CalendarReading
from monitor.trading_calendars import (
    CalendarsRead,
    calendar_problems,
    calendars_ending,
    names_of,
    read_calendars,
)
from stream.domain.sums import TimeRange
from tests.conftest import need
from tests.parts import PartMissing

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SINCE = datetime(2025, 10, 1, tzinfo=UTC)
TABLE = Calendar("XNYS", [TimeRange(NOW, NOW + HOUR)], [TimeRange(NOW - DAY, NOW + 100 * DAY)])
SILENCE = "rules:\n  - {name: r, type: silence, calendar: XNYS}\n"


def require_library() -> None:
    if importlib.util.find_spec("exchange_calendars") is None:
        raise PartMissing("exchange_calendars is not installed")


@pytest.fixture(scope="module")
def read() -> CalendarsRead:
    need(require_library)
    return read_calendars(["XNYS", "XHKG", "CMES", "24/7"], SINCE)


def of(read: CalendarsRead, name: str) -> Calendar:
    return next(calendar for calendar in read.calendars if calendar.name == name)


def day(year: int, month: int, number: int, hour: float = 0) -> datetime:
    return datetime(year, month, number, tzinfo=UTC) + hour * HOUR


def test_every_calendar_that_a_rule_may_name_is_one_of_the_library() -> None:
    need(require_library)
    names = "import exchange_calendars; print(*exchange_calendars.get_calendar_names())"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == sorted(CALENDAR_NAMES)


NEW_YORK = [
    ("winter", date(2025, 12, 10), 14.5, 21),
    ("summer", date(2026, 7, 1), 13.5, 20),
    ("an early close", date(2025, 11, 28), 14.5, 18),
]


@pytest.mark.parametrize(
    ("on", "opens", "closes"), [case[1:] for case in NEW_YORK], ids=[c[0] for c in NEW_YORK]
)
def test_new_york_trades_by_its_own_clocks(
    read: CalendarsRead, on: date, opens: float, closes: float
) -> None:
    midnight = datetime(on.year, on.month, on.day, tzinfo=UTC)
    found = of(read, "XNYS").trading_hours(TimeRange(midnight + 6 * HOUR, midnight + 24 * HOUR))
    assert found == [(midnight + opens * HOUR, midnight + closes * HOUR)]


def test_thanksgiving_is_a_closed_day(read: CalendarsRead) -> None:
    calendar = of(read, "XNYS")
    assert calendar.trading_hours(TimeRange(day(2025, 11, 27, 5), day(2025, 11, 28, 5))) == []
    assert TimeRange(day(2025, 11, 24, 5), day(2025, 11, 27, 5)) in calendar.days


def test_a_lunch_break_is_not_traded(read: CalendarsRead) -> None:
    found = of(read, "XHKG").trading_hours(TimeRange(day(2026, 3, 2), day(2026, 3, 3)))
    assert found == [(day(2026, 3, 2, 1.5), day(2026, 3, 2, 4)), (day(2026, 3, 2, 5), day(2026, 3, 2, 8))]


def test_a_session_that_begins_on_sunday_evening_is_traded_then(read: CalendarsRead) -> None:
    sunday = day(2026, 3, 1, 23.5)  # 17:30 in Chicago
    assert of(read, "CMES").day_type(TimeRange(sunday, sunday + HOUR)) == "trading"
    assert of(read, "CMES").day_type(TimeRange(sunday - 12 * HOUR, sunday - 11 * HOUR)) == "closed"


def test_what_always_trades_is_one_time(read: CalendarsRead) -> None:
    calendar = of(read, "24/7")
    assert len(calendar.hours) == len(calendar.days) == 1
    assert calendar.known.start == SINCE


def test_a_table_is_small(read: CalendarsRead) -> None:
    assert 250 < len(of(read, "XNYS").hours) < 600
    assert len(of(read, "XNYS").days) < 130


def test_a_process_that_fails_is_a_problem_of_every_calendar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program, reason in (
        ("1 / 0", "CalledProcessError"),
        ("print('nothing')", "JSONDecodeError"),
        ("print([])", "TypeError"),
    ):
        broken = tmp_path / "broken.py"
        broken.write_text(program)
        monkeypatch.setattr(trading_calendars, "PROCESS", broken)
        assert read_calendars(["XNYS"], SINCE).problems == {
            "XNYS": f"the process that reads it failed: {reason}"
        }


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "hanging.py"
    hanging.write_text("import time; time.sleep(100)")
    monkeypatch.setattr(trading_calendars, "PROCESS", hanging)
    monkeypatch.setattr(trading_calendars, "LEAST_SECONDS", 0.2)
    monkeypatch.setattr(trading_calendars, "SECONDS_EACH", 0.0)
    assert "TimeoutExpired" in read_calendars(["XNYS"], SINCE).problems["XNYS"]


def test_no_names_need_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading_calendars, "PROCESS", Path("/missing"))
    assert read_calendars([], SINCE) == CalendarsRead()


def test_a_table_that_ends_is_worth_a_word_and_is_no_problem() -> None:
    ending = Calendar("XSHG", TABLE.hours, [TimeRange(NOW - DAY, NOW + 2 * DAY)])
    read = CalendarsRead((TABLE, ending), {"XLON": "why"})
    assert calendar_problems(read) == ["XLON cannot be read: why"]
    for now in (NOW, NOW + 9 * DAY):
        assert calendars_ending(read, now) == [
            "XSHG is known until 2026-12-02; after that its rules compare as without a calendar, until a version "
            "of exchange_calendars knows more"
        ]
    assert calendars_ending(read, NOW - 13 * DAY) == []


class Reading:
    """The task over a rule file, with what is read and when handed in."""

    def __init__(self, folder: Path, rules: str) -> None:
        path = folder / "rules.yaml"
        path.write_text(rules)
        self.file = SimpleNamespace(rules=load_rules(path))
        self.calendars = TradingCalendars(are_being_read=True)
        self.now, self.reads, self.result = NOW, 0, CalendarsRead((TABLE,))
        self.task = CalendarReading(
            rule_file=self.file,  # type: ignore[arg-type]
            calendars=self.calendars,
            read=self._read,
            clock=lambda: self.now,
        )

    def _read(self, names: Collection[str], since: datetime) -> CalendarsRead:
        assert list(names) == ["XNYS"]
        assert since < self.now - 731 * DAY
        self.reads += 1
        return self.result

    def after(self, length: timedelta) -> int:
        """How often the table was read by then."""
        self.now += length
        self.task.run_once()
        return self.reads


def test_the_table_is_read_at_the_start_and_every_day(tmp_path: Path) -> None:
    reading = Reading(tmp_path, SILENCE)
    assert [reading.after(length) for length in (0 * HOUR, HOUR, 22 * HOUR, HOUR, HOUR)] == [1, 1, 1, 2, 2]
    assert reading.calendars.get("XNYS") is TABLE


def test_a_clock_that_was_set_back_does_not_stop_the_reading(tmp_path: Path) -> None:
    reading = Reading(tmp_path, SILENCE)
    assert [reading.after(length) for length in (0 * HOUR, -3 * DAY)] == [1, 2]


def test_without_a_calendar_nothing_is_read(tmp_path: Path) -> None:
    reading = Reading(tmp_path, "rules:\n  - {name: r, type: silence}\n")
    assert reading.after(DAY) == 0


def test_a_failure_keeps_the_table_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reading = Reading(tmp_path, SILENCE)
    reading.after(0 * HOUR)
    reading.result = CalendarsRead(problems={"XNYS": "why"})
    with caplog.at_level(logging.ERROR):
        assert [reading.after(DAY), reading.after(DAY)] == [2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        "trading calendars: XNYS cannot be read: why; rules use what was read before, and go on as without a "
        "calendar where nothing was"
    ]
    assert reading.calendars.get("XNYS") is TABLE


def test_a_table_that_ends_is_logged_once_and_stays_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reading = Reading(tmp_path, SILENCE)
    ending = Calendar("XNYS", TABLE.hours, [TimeRange(NOW - DAY, NOW + 2 * DAY)])
    reading.result = CalendarsRead((ending,))
    with caplog.at_level(logging.WARNING):
        assert [reading.after(0 * HOUR), reading.after(DAY), reading.after(5 * DAY)] == [1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        f"trading calendars: {each}" for each in calendars_ending(reading.result, NOW)
    ]
    assert reading.calendars.get("XNYS") is ending


def test_the_names_are_those_of_all_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        SILENCE
        + "  - {name: s, type: volume_surge, calendar: XLON}\n  - {name: t, type: heartbeat, sources: [wire]}\n"
    )
    assert names_of(load_rules(path)) == ("XLON", "XNYS")

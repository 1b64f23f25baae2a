"""Planned mutes: which alerts they cover, when they hold, and what the file of mutes refuses."""

import os
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from alerts.errors import MuteError
from alerts.schedules.mute_file import KnownNames, MuteFile, load_mutes
from alerts.schedules.mutes import Mute, Mutes, Recurrence
from stream.domain.alerts import Alert, AlertState, Severity
from stream.domain.sums import TimeRange

NEW_YORK, BERLIN = ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KNOWN = KnownNames(("Earnings", "IPO"), ("surge", "silence"))


def alert(rule: str = "surge", topic: str = "Earnings", entity: str | None = None) -> Alert:
    return Alert("1", rule, topic, Severity.PAGE, AlertState.FIRING, NOW, 5.0, 3.0, 20, "", "", entity=entity)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def load(tmp_path: Path, text: str, known: KnownNames = KNOWN) -> Mutes:
    path = tmp_path / "mutes.yaml"
    path.write_text(text, encoding="utf-8")
    return load_mutes(path, known)


COVERS = [
    ("one that names nothing covers everything", Mute("m", "r"), alert(), True),
    ("one that names a rule covers its alerts", Mute("m", "r", rules=("surge",)), alert(), True),
    ("and no other rule's", Mute("m", "r", rules=("silence",)), alert(), False),
    ("a topic", Mute("m", "r", topics=("Earnings",)), alert(), True),
    ("another topic", Mute("m", "r", topics=("IPO",)), alert(), False),
    ("all topics together are no topic", Mute("m", "r", topics=("Earnings",)), alert(topic="all"), False),
    ("unless they are named", Mute("m", "r", topics=("all",)), alert(topic="all"), True),
    ("an alert about an entity is on no topic", Mute("m", "r", topics=("all",)), alert(topic="all", entity="XNAS:AAPL"), False),
    ("an entity", Mute("m", "r", entities=("XNAS:AAPL",)), alert(topic="all", entity="XNAS:AAPL"), True),
    ("another entity", Mute("m", "r", entities=("XNAS:MSFT",)), alert(topic="all", entity="XNAS:AAPL"), False),
    ("rule and topic must both fit", Mute("m", "r", rules=("silence",), topics=("Earnings",)), alert(), False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mute", "about", "expected"), [case[1:] for case in COVERS], ids=[c[0] for c in COVERS]
)
def test_a_mute_covers_what_it_names(mute: Mute, about: Alert, expected: bool) -> None:
    assert mute.covers(about) is expected


def test_a_mute_holds_from_its_beginning_until_its_end() -> None:
    mutes = Mutes((Mute("move", "why", TimeRange(NOW, NOW + HOUR)),))
    held = [mutes.of(alert(), NOW + n * HOUR / 2) is not None for n in (-1, 0, 1, 2)]
    assert held == [False, True, True, False]


# (what happens, zone, times of the day, day, from, until): the clocks of New York go from 02:00 to 03:00 on 8 March 2026,
# 07:00 UTC, and from 02:00 back to 01:00 on 1 November, 06:00 UTC; those of Cairo go from 00:00 to 01:00 on 24 April.
CHANGES = [
    ("in winter", NEW_YORK, "22:00-02:00", (2026, 1, 10), utc(2026, 1, 11, 3), utc(2026, 1, 11, 7)),
    ("in summer", NEW_YORK, "22:00-02:00", (2026, 7, 10), utc(2026, 7, 11, 2), utc(2026, 7, 11, 6)),
    ("a night that is an hour shorter", NEW_YORK, "22:00-04:00", (2026, 3, 7), utc(2026, 3, 8, 3), utc(2026, 3, 8, 8)),
    ("a night that is an hour longer", NEW_YORK, "22:00-04:00", (2026, 10, 31), utc(2026, 11, 1, 2), utc(2026, 11, 1, 9)),
    ("an end that the clocks skip", NEW_YORK, "01:00-02:30", (2026, 3, 8), utc(2026, 3, 8, 6), utc(2026, 3, 8, 7)),
    ("a beginning that they skip", NEW_YORK, "02:30-04:00", (2026, 3, 8), utc(2026, 3, 8, 7), utc(2026, 3, 8, 8)),
    ("an end that they show twice", NEW_YORK, "00:00-01:30", (2026, 11, 1), utc(2026, 11, 1, 4), utc(2026, 11, 1, 6, 30)),
    ("a beginning that they show twice", NEW_YORK, "01:30-03:00", (2026, 11, 1), utc(2026, 11, 1, 5, 30), utc(2026, 11, 1, 8)),
    ("an end when they have not been set back", NEW_YORK, "00:00-01:00", (2026, 11, 1), utc(2026, 11, 1, 4), utc(2026, 11, 1, 5)),
    ("a day of 23 hours", NEW_YORK, "00:00-00:00", (2026, 3, 8), utc(2026, 3, 8, 5), utc(2026, 3, 9, 4)),
    ("a day of 25 hours", NEW_YORK, "00:00-00:00", (2026, 11, 1), utc(2026, 11, 1, 4), utc(2026, 11, 2, 5)),
    ("a day without its midnight", ZoneInfo("Africa/Cairo"), "00:00-00:00", (2026, 4, 24), utc(2026, 4, 23, 22), utc(2026, 4, 24, 21)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "times", "day", "start", "end"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_the_times_of_a_day_follow_the_clocks(
    zone: ZoneInfo, times: str, day: tuple[int, int, int], start: datetime, end: datetime
) -> None:
    first, last = map(time.fromisoformat, times.split("-"))
    assert Recurrence(zone, first, last).on(date(*day)) == (start, end)


def test_a_time_that_the_clocks_skip_altogether_does_not_come() -> None:
    recurrence = Recurrence(NEW_YORK, time(2, 15), time(2, 45))
    assert recurrence.on(date(2026, 3, 8)) is None
    assert recurrence.on(date(2026, 3, 9)) == (utc(2026, 3, 9, 6, 15), utc(2026, 3, 9, 6, 45))


DAYS = [
    ("weekdays", Recurrence(BERLIN, weekdays=(5, 6)), [1, 7, 8, 14, 15, 21, 22, 28]),
    ("days of the month", Recurrence(BERLIN, days_of_month=(1, 15)), [1, 15]),
    ("the last day", Recurrence(BERLIN, days_of_month=(-1,)), [28]),
    ("the last day but one", Recurrence(BERLIN, days_of_month=(-2,)), [27]),
    ("another month", Recurrence(BERLIN, months=(3,)), []),
    ("weekdays of the first week", Recurrence(BERLIN, weekdays=(0,), days_of_month=tuple(range(1, 8))), [2]),
]


@pytest.mark.parametrize(("recurrence", "expected"), [case[1:] for case in DAYS], ids=[c[0] for c in DAYS])
def test_a_recurring_mute_comes_on_the_days_that_it_names(
    recurrence: Recurrence, expected: list[int]
) -> None:
    february = [date(2026, 2, day) for day in range(1, 29)]
    assert [day.day for day in february if recurrence.on(day)] == expected


def test_a_night_that_began_yesterday_still_holds() -> None:
    mute = Mute("nights", "r", recurrence=Recurrence(BERLIN, time(22), time(6), weekdays=(4,)))
    assert mute.holds(utc(2026, 3, 7, 4, 59))  # Saturday morning
    assert not mute.holds(utc(2026, 3, 7, 5))
    assert not mute.holds(utc(2026, 3, 7, 22))


def test_a_recurring_mute_holds_only_within_its_bounds() -> None:
    every_day = Recurrence(BERLIN, time(8), time(10))
    mute = Mute("mornings", "r", TimeRange(utc(2026, 3, 2, 8), utc(2026, 3, 4)), every_day)
    assert not mute.holds(utc(2026, 3, 2, 7, 30))
    assert mute.holds(utc(2026, 3, 2, 8, 30))
    assert not mute.holds(utc(2026, 3, 4, 7, 30))
    assert mute.next_time(utc(2026, 3, 1)) == (utc(2026, 3, 2, 8), utc(2026, 3, 2, 9))
    assert mute.next_time(utc(2026, 3, 3, 9)) is None


def test_days_that_follow_each_other_are_one_time() -> None:
    weekend = Mute("weekends", "r", recurrence=Recurrence(NEW_YORK, weekdays=(5, 6)))
    assert weekend.next_time(utc(2026, 3, 7, 12)) == (utc(2026, 3, 7, 5), utc(2026, 3, 9, 4))
    assert weekend.next_time(utc(2026, 3, 9, 12)) == (utc(2026, 3, 14, 4), utc(2026, 3, 16, 4))


def test_a_mute_that_is_over_has_no_next_time() -> None:
    mute = Mute("move", "r", TimeRange(NOW - HOUR, NOW))
    assert mute.next_time(NOW) is None
    assert mute.next_time(NOW - 2 * HOUR) == (NOW - HOUR, NOW)


GOOD = """\
mutes:
  - name: move of the wire
    reason: The wire moves to its new system.
    from: 2026-12-05 22:00
    until: 2026-12-06T04:00:00+01:00
    timezone: Europe/Berlin
    rules: [silence]
  - name: backups
    reason: The feed pauses for the backup.
    times: 23:30-00:30
    weekdays: [saturday, sunday]
    topics: [IPO]
"""


def test_a_file_is_read_with_its_zones(tmp_path: Path) -> None:
    move, backups = load(tmp_path, GOOD, KnownNames(time_zone="America/New_York")).entries
    assert move.bounds == (utc(2026, 12, 5, 21), utc(2026, 12, 6, 3))
    assert move.rules == ("silence",)
    assert move.recurrence is None
    assert backups.recurrence == Recurrence(NEW_YORK, time(23, 30), time(0, 30), (5, 6))


def test_a_file_without_mutes_mutes_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "mutes: []\n").of(alert(), NOW) is None


ONE = "mutes:\n  - name: m\n    reason: r\n"
BROKEN = [
    ("no end", ONE + "    from: 2026-12-05\n", ":2: mute 'm': a mute needs from and until, or what recurs: times, weekdays"),
    ("no reason", "mutes:\n  - name: m\n    weekdays: [monday]\n", ":2: mute 'm': reason is required"),
    ("an end before the beginning", ONE + "    from: 2026-12-05\n    until: 2026-12-04\n", ":5: mute 'm': until must be later than from"),
    ("a misspelt key", ONE + "    weekday: [monday]\n", ":4: mute 'm': unknown key 'weekday' (did you mean 'weekdays'?)"),
    ("a misspelt day", ONE + "    weekdays: [Monday]\n", ":4: mute 'm': weekdays.0 is 'Monday'"),
    ("no day", ONE + "    days_of_month: [0]\n", ":4: mute 'm': days_of_month is [0]: days are 1 to 31"),
    ("no month", ONE + "    months: [13]\n", ":4: mute 'm': months.0 is 13"),
    ("no time", ONE + "    from: soon\n    until: 2026-12-04\n", ":4: mute 'm': from is 'soon': write a time such as"),
    ("no time of the day", ONE + "    times: 22h-23h\n", ":4: mute 'm': times is '22h-23h': write two times of the day"),
    ("a time of the day with an offset", ONE + "    times: 22:00Z-23:00Z\n", ":4: mute 'm': times is '22:00Z-23:00Z': times of the day have no offset"),
    ("no zone", ONE + "    months: [1]\n    timezone: Europe/Bern\n", ":5: mute 'm': timezone is 'Europe/Bern': there is no such time zone"),
    ("an unknown rule", ONE + "    months: [1]\n    rules: [surges]\n", ":5: mute 'm': rules is ['surges']: unknown: 'surges' (did you mean 'surge'?); known: surge, silence"),
    ("an unknown topic", ONE + "    months: [1]\n    topics: [Ipo]\n", ":5: mute 'm': topics is ['Ipo']: unknown: 'Ipo'"),
    ("topics and entities", ONE + "    months: [1]\n    topics: [IPO]\n    entities: [a]\n", ":2: mute 'm': an alert is on a topic or about an entity"),
    ("a name twice", ONE + "    months: [1]\n  - name: m\n    reason: r\n    months: [2]\n", ":5: mute 'm': the name is taken"),
    ("a key twice", ONE + "    months: [1]\n    months: [2]\n", ":5: the key 'months' is there twice"),
    ("no mapping", "mutes: [5]\n", ":1: mute '(unnamed)': expected a mapping"),
    ("no list", "mutes: 5\n", ":1: expected a mapping with the key `mutes`, a list"),
    ("another key", "mute: []\n", ":1: unknown key 'mute'; allowed: mutes"),
    ("a tag", "mutes: !!set {a}\n", ":1: tags such as"),
    ("no YAML", "mutes: [\n", "not YAML"),
    ("too many", "mutes:\n" + "  - {}\n" * 2000, ":1: 2,000 mutes; at most 1,000 are allowed"),
    ("hundreds of errors", "mutes:\n" + "  - {}\n" * 900, "more errors"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_an_error_names_file_line_and_mute(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MuteError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "mutes.yaml") in str(caught.value)


def test_every_error_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MuteError) as caught:
        load(tmp_path, GOOD.replace("silence", "silent").replace("IPO", "IPOs"))
    assert len(str(caught.value).splitlines()) == 2


def test_an_entity_has_the_id_that_it_has_now(tmp_path: Path) -> None:
    known = KnownNames(resolve={"XNAS:FB": "XNAS:META"}.__getitem__)
    (mute,) = load(tmp_path, ONE + "    months: [1]\n    entities: ['XNAS:FB']\n", known).entries
    assert mute.entities == ("XNAS:META",)


def test_a_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(MuteError, match="cannot be read"):
            load_mutes(path, KNOWN)


def test_a_changed_file_is_used_and_one_with_errors_leaves_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "mutes.yaml"
    path.write_text(ONE + "    months: [3]\n", encoding="utf-8")
    file = MuteFile(path, KNOWN)
    assert not file.changed()
    assert file.is_muted(alert(), NOW)
    path.write_text("mutes: []\n", encoding="utf-8")
    assert not file.changed()  # it may still be being written
    assert file.changed()
    assert not file.is_muted(alert(), NOW)
    path.write_text("mutes: nothing\n", encoding="utf-8")
    assert not file.changed()
    with pytest.raises(MuteError):
        file.changed()
    assert not file.changed()
    assert not file.is_muted(alert(), NOW)


def test_a_file_that_did_not_change_is_read_again_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "mutes.yaml"
    path.write_text("mutes: []\n", encoding="utf-8")
    file = MuteFile(path, KNOWN)
    file.expire()
    assert file.changed()
    assert not file.changed()

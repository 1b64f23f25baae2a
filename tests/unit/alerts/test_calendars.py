"""Trading calendars: what silence expects while an exchange is closed, and which days are compared."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.backtest import replay
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.errors import RuleError
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore, Text
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import load_rules
from alerts.schedules.calendars import Calendar, DayType, TradingCalendars
from alerts.windows.window_reader import WindowReader
from stream.domain.entities import EntityMention
from stream.domain.sums import TimeRange

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MIDNIGHT = 5 * HOUR  # of New York in winter, in UTC
MONDAY = datetime(2026, 10, 26, tzinfo=UTC) + MIDNIGHT
THANKSGIVING = datetime(2026, 11, 26, tzinfo=UTC) + MIDNIGHT
OPENS, CLOSES, CLOSES_EARLY = 9.5 * HOUR, 16 * HOUR, 13 * HOUR
ENTITY = "XNYS:ACME"


def new_york(holidays: Sequence[datetime]) -> Calendar:
    """Six weeks of the exchange; the day after Thanksgiving it closes early."""
    dates = [MONDAY + n * DAY for n in range(42)]
    trading = [day for day in dates if day.weekday() < 5 and day not in holidays]
    hours = [
        TimeRange(day + OPENS, day + (CLOSES_EARLY if day == THANKSGIVING + DAY else CLOSES))
        for day in trading
    ]
    days: list[TimeRange] = []
    for day in trading:
        begins = days.pop().start if days and days[-1].end == day else day
        days.append(TimeRange(begins, day + DAY))
    return Calendar("XNYS", hours, days)


NYSE = new_york([THANKSGIVING])
# All its Mondays but the last are holidays.
NO_MONDAYS = new_york([MONDAY + week * 7 * DAY for week in range(5)])


def text(at: datetime, number: int) -> Text:
    mention = EntityMention(ENTITY, "Acme", relevance=80, sentiment="neutral", score=0.0)
    return Text(
        str(number), "wire", "news", at, f"story {number}", "Markets", "neutral", 0, entities=(mention,)
    )


def wire(calendar: Calendar, quiet: Sequence[TimeRange] = ()) -> list[Text]:
    """A text every four minutes while the exchange trades, two hours while it is `quiet`, and else 45 minutes."""
    texts, at = [], MONDAY
    while at < MONDAY + 42 * DAY:
        texts.append(text(at, len(texts)))
        if calendar.trading_hours(TimeRange(at, at + MINUTE)):
            at += 4 * MINUTE
        elif any(each.covers(at) for each in quiet):
            at += 2 * HOUR
        else:
            following = (hours.start for hours in calendar.hours if hours.start > at)
            at = min(at + 45 * MINUTE, next(following, at + HOUR))
    return texts


def rule(folder: Path, text: str) -> Rule:
    path = folder / "rules.yaml"
    path.write_text(f"rules:\n  - {{name: r, {text}}}\n")
    (loaded,) = load_rules(path)
    return loaded


def fired(
    folder: Path, texts: Sequence[Text], start: datetime, settings: str, calendar: Calendar = NYSE
) -> list[datetime]:
    pages = replay(
        [rule(folder, settings)], ["Markets"], texts, start, calendars=TradingCalendars([calendar])
    ).alerts
    return [page.fired_at for page in pages]


SILENCE = "type: silence, window: 1h"
WITH = ", calendar: XNYS"


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    early = TimeRange(THANKSGIVING + DAY + CLOSES_EARLY, THANKSGIVING + 2 * DAY)
    return wire(NYSE, [TimeRange(THANKSGIVING, THANKSGIVING + DAY), early])


def test_silence_on_a_holiday_pages_only_without_a_calendar(tmp_path: Path, texts: list[Text]) -> None:
    until = [each for each in texts if each.published_at < THANKSGIVING + DAY]
    assert fired(tmp_path, until, THANKSGIVING, SILENCE)
    assert not fired(tmp_path, until, THANKSGIVING, SILENCE + WITH)


def test_silence_after_an_early_close_pages_only_without_a_calendar(
    tmp_path: Path, texts: list[Text]
) -> None:
    friday = THANKSGIVING + DAY
    until = [each for each in texts if each.published_at < friday + DAY]
    assert fired(tmp_path, until, friday, SILENCE)
    assert not fired(tmp_path, until, friday, SILENCE + WITH)


def test_silence_in_trading_hours_pages_with_a_calendar_too(tmp_path: Path, texts: list[Text]) -> None:
    day = THANKSGIVING - DAY
    outage = TimeRange(day + 11 * HOUR, day + 15 * HOUR)
    heard = [t for t in texts if not outage.covers(t.published_at) and t.published_at < day + DAY]
    (at,) = fired(tmp_path, heard, day, SILENCE + WITH)
    assert outage.covers(at)


def test_a_calendar_that_is_not_known_changes_nothing(tmp_path: Path, texts: list[Text]) -> None:
    until = [each for each in texts if each.published_at < THANKSGIVING + DAY]
    missing = Calendar("XLON", NYSE.hours, NYSE.days)
    over = Calendar("XNYS", NYSE.hours[:10], NYSE.days[:2])
    expected = fired(tmp_path, until, THANKSGIVING, SILENCE)
    for calendar in (missing, over):
        assert fired(tmp_path, until, THANKSGIVING, SILENCE + WITH, calendar) == expected


def usual(folder: Path, texts: Sequence[Text], settings: str, now: datetime, calendar: Calendar) -> float:
    """How many texts are usual in the rule's window."""
    store = MemoryStore([each for each in texts if each.published_at < now])
    reader = WindowReader(["Markets"], store, store, MINUTE)
    reader.calendars = TradingCalendars([calendar])
    loaded = rule(folder, settings).counting_texts()
    window = reader.window(loaded, now)
    (found,) = [seen for _, seen in reader.subject_windows(loaded, window, [ENTITY])]
    assert found.expectation is not None
    return found.expectation().expected(found.start, found.end)


VOLUME = "type: volume_surge, window: 30m"
WATCHED = ["topics: all", f'entities: ["{ENTITY}"]']


@pytest.mark.parametrize("watched", WATCHED)
def test_a_holiday_is_compared_with_closed_days(tmp_path: Path, texts: list[Text], watched: str) -> None:
    now, settings = THANKSGIVING + 12 * HOUR, f"{VOLUME}, {watched}"
    assert usual(tmp_path, texts, settings, now, NYSE) > 6  # as on other Thursdays
    assert usual(tmp_path, texts, settings + WITH, now, NYSE) < 0.7  # as at weekends


@pytest.mark.parametrize("watched", WATCHED)
def test_a_trading_day_is_not_compared_with_holidays(tmp_path: Path, watched: str) -> None:
    now, settings = MONDAY + 35 * DAY + 12 * HOUR, f"{VOLUME}, {watched}"
    texts = wire(NO_MONDAYS)
    assert usual(tmp_path, texts, settings, now, NO_MONDAYS) < 2.5  # as on the Mondays before
    assert usual(tmp_path, texts, settings + WITH, now, NO_MONDAYS) > 4.5  # as on other days


def test_a_window_with_both_kinds_of_days_is_compared_with_both(tmp_path: Path, texts: list[Text]) -> None:
    now, settings = THANKSGIVING + 10 * MINUTE, f"{VOLUME}, topics: all"
    assert usual(tmp_path, texts, settings + WITH, now, NYSE) == usual(tmp_path, texts, settings, now, NYSE)


KINDS = [
    ("a trading day", THANKSGIVING - DAY, THANKSGIVING, DayType.TRADING),
    ("a holiday", THANKSGIVING, THANKSGIVING + DAY, DayType.CLOSED),
    ("a weekend", MONDAY + 5 * DAY, MONDAY + 7 * DAY, DayType.CLOSED),
    ("before it opens on a trading day", MONDAY, MONDAY + HOUR, DayType.TRADING),
    ("the night before a holiday", THANKSGIVING - HOUR, THANKSGIVING + HOUR, DayType.MIXED),
    ("a week", MONDAY, MONDAY + 7 * DAY, DayType.MIXED),
    ("before the table begins", MONDAY - DAY, MONDAY - HOUR, DayType.MIXED),
    ("after it ends", MONDAY + 60 * DAY, MONDAY + 61 * DAY, DayType.MIXED),
]


@pytest.mark.parametrize(
    ("start", "end", "expected"), [case[1:] for case in KINDS], ids=[c[0] for c in KINDS]
)
def test_what_kind_of_days_a_time_lies_on(start: datetime, end: datetime, expected: DayType) -> None:
    assert NYSE.day_type(TimeRange(start, end)) is expected


def test_the_days_that_are_not_compared_are_the_other_ones() -> None:
    week = TimeRange(THANKSGIVING - 3 * DAY, THANKSGIVING + 4 * DAY)
    closed = [(THANKSGIVING, THANKSGIVING + DAY), (THANKSGIVING + 2 * DAY, THANKSGIVING + 4 * DAY)]
    trading = [(week.start, THANKSGIVING), (THANKSGIVING + DAY, THANKSGIVING + 2 * DAY)]
    assert NYSE.other_days(DayType.TRADING, week, HOUR) == closed
    assert NYSE.other_days(DayType.CLOSED, week, HOUR) == trading
    assert NYSE.other_days(DayType.MIXED, week, HOUR) == []


def test_a_cell_that_lies_partly_on_another_day_is_not_compared() -> None:
    """The midnights of Mumbai are at half past, in UTC."""
    midnight = datetime(2026, 11, 9, 18, 30, tzinfo=UTC)
    calendar = Calendar(
        "XBOM", [], [TimeRange(midnight - DAY, midnight), TimeRange(midnight + DAY, midnight + 2 * DAY)]
    )
    (closed,) = calendar.other_days(DayType.TRADING, TimeRange(midnight - DAY, midnight + 2 * DAY), HOUR)
    assert closed == (midnight - HOUR / 2, midnight + DAY + HOUR / 2)


def test_the_trading_hours_in_a_time_are_cut_at_its_edges() -> None:
    day = THANKSGIVING - DAY
    assert NYSE.trading_hours(TimeRange(day + 9 * HOUR, day + 10 * HOUR)) == [(day + OPENS, day + 10 * HOUR)]
    assert NYSE.trading_hours(TimeRange(THANKSGIVING, THANKSGIVING + DAY)) == []
    assert NYSE.trading_hours(TimeRange(MONDAY - DAY, MONDAY)) is None


def test_a_table_that_cannot_be_read_again_stays() -> None:
    calendars = TradingCalendars(are_being_read=True)
    assert calendars.will_be_read("XNYS")
    calendars.put([NYSE], ["XNYS", "XLON"])
    assert not calendars.will_be_read("XNYS") and not calendars.will_be_read("XLON")
    calendars.put([], ["XNYS"])
    assert calendars.get("XNYS") is NYSE
    assert calendars.get("XLON") is None


def test_a_rule_waits_until_its_calendar_was_read_or_could_not_be(tmp_path: Path, texts: list[Text]) -> None:
    now = THANKSGIVING + 13 * HOUR
    store = MemoryStore([each for each in texts if each.published_at < now - HOUR])
    evaluator = AlertEvaluator(
        rules=[rule(tmp_path, SILENCE + WITH)],
        topics=["Markets"],
        reader=store,
        episodes=store,
        delivery=PageRouter(),
        window_width=MINUTE,
        metrics=AlertMetrics(),
    )
    calendars = TradingCalendars(are_being_read=True)
    evaluator.use_calendars(calendars)
    assert evaluator.evaluate(now) == []
    calendars.put([], ["XNYS"])
    assert [alert.rule for alert in evaluator.evaluate(now + MINUTE)] == ["r"]


BROKEN = [
    (
        "calendar: XNYC",
        ":4: rule 'r': calendar is 'XNYC': there is no such trading calendar (did you mean 'XNYS'?)",
    ),
    ("calendar: XNYS, window: 24h", ":2: rule 'r': calendar needs a window shorter than 24h"),
]


@pytest.mark.parametrize(("settings", "message"), BROKEN)
def test_a_calendar_that_is_wrong_is_an_error_at_its_line(
    tmp_path: Path, settings: str, message: str
) -> None:
    path = tmp_path / "rules.yaml"
    lines = "".join(f"    {each}\n" for each in settings.split(", "))
    path.write_text(f"rules:\n  - name: r\n    type: negative_surge\n{lines}")
    with pytest.raises(RuleError) as caught:
        load_rules(path)
    assert f"{path}{message}" in str(caught.value)


def test_a_rule_on_silence_may_look_at_days(tmp_path: Path) -> None:
    assert rule(tmp_path, "type: silence, window: 3d, calendar: XNYS").window == 3 * DAY


def test_a_rule_without_a_baseline_has_no_calendar(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="unknown key 'calendar'"):
        rule(tmp_path, "type: threshold, watch: mean_score, threshold: -0.3, calendar: XNYS")

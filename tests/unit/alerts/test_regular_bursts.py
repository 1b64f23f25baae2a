"""What comes regularly is usual: bursts at fixed hours page once or twice, and what is worse than they still pages."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from alerts.backtest import replay
from alerts.baselines.baseline import Baseline, count_documents, days_before
from alerts.detectors.base import Rule
from alerts.detectors.silence import SilenceRule
from alerts.errors import RuleError
from alerts.history.memory_store import Text
from alerts.rules.rule_file import load_rules
from alerts.settings import SHIPPED_RULES
from stream.domain.sums import Aggregate, TimeRange

TOPIC = "Stock Movement"
MINUTE, HOUR, DAY, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=7)
CHANGE = datetime(2026, 3, 8, tzinfo=UTC)  # clocks in New York change on this day, a Sunday
START = CHANGE - 5 * WEEK
NEW_YORK = ZoneInfo("America/New_York")


def text(at: datetime, mood: str, number: int) -> Text:
    score = {"positive": 9000, "neutral": 0, "negative": -9000}[mood]
    source = ("wire", "paper")[number % 2]
    return Text(f"{at.isoformat()} {number}", source, "news", at, f"story {number}", TOPIC, mood, score)


def quiet(start: datetime, end: datetime) -> list[Text]:
    """Two documents an hour, one in five negative."""
    moods = ("neutral", "neutral", "negative", "positive", "neutral")
    count = (end - start) // (30 * MINUTE)
    return [text(start + (i * 30 + 7) * MINUTE, moods[i % 5], i) for i in range(count)]


def burst(start: datetime, negative: int = 40, neutral: int = 60, minutes: int = 30) -> list[Text]:
    moods = ["negative"] * negative + ["neutral"] * neutral
    np.random.default_rng(start.toordinal()).shuffle(moods)
    gap = minutes * MINUTE / len(moods)
    return [text(start + i * gap, mood, i) for i, mood in enumerate(moods)]


def days(start: datetime, end: datetime, weekdays: Iterable[int] = range(5)) -> list[datetime]:
    every = [start + i * DAY for i in range((end - start) // DAY)]
    return [day for day in every if day.weekday() in weekdays]


def rules(name: str, file: Path = SHIPPED_RULES, zone: str = "UTC") -> list[Rule]:
    return [rule for rule in load_rules(file, (TOPIC,), zone) if rule.name == name]


def pages(texts: list[Text], watching: list[Rule]) -> list[float]:
    """When pages were sent, in days since the change."""
    return [(page.fired_at - CHANGE) / DAY for page in replay(watching, (TOPIC,), texts, start=CHANGE).alerts]


def daily(
    weeks: int,
    at: Callable[[datetime], timedelta] = lambda day: 6 * HOUR,
    weekdays: Iterable[int] = range(7),
) -> list[Text]:
    """A burst that begins with the change, after five quiet weeks."""
    texts = quiet(START, CHANGE + weeks * WEEK)
    for day in days(CHANGE, CHANGE + weeks * WEEK, weekdays):
        texts += burst(day + at(day))
    return texts


def opening_bursts(weeks: int) -> list[Text]:
    """At 9:30 in New York, that is at 14:30 UTC before the change and at 13:30 after it."""
    texts = quiet(START, CHANGE + weeks * WEEK)
    for day in days(START, CHANGE + weeks * WEEK):
        local = datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK)
        texts += burst(local.astimezone(UTC))
    return texts


@pytest.mark.parametrize("name", ["negative-surge", "slow-surge"])
def test_a_burst_that_moves_by_an_hour_with_the_clocks_pages_twice_and_with_their_zone_never(
    name: str,
) -> None:
    texts = opening_bursts(weeks=3)
    assert [int(day) for day in pages(texts, rules(name))] == [1, 2]
    assert pages(texts, rules(name, zone="America/New_York")) == []


@pytest.mark.parametrize("name", ["negative-surge", "slow-surge"])
def test_a_new_daily_burst_pages_on_its_first_two_days(name: str) -> None:
    assert [int(day) for day in pages(daily(weeks=4), rules(name))] == [0, 1]


@pytest.mark.parametrize(
    ("weekdays", "paged"),
    [((0,), [1, 8]), ((1, 3), [2, 4]), ((4,), [5, 12])],
    ids=["every Monday", "twice a week", "every Friday"],
)
def test_a_burst_on_some_days_of_the_week_pages_on_the_first_two(
    weekdays: tuple[int, ...], paged: list[int]
) -> None:
    found = pages(daily(weeks=4, weekdays=weekdays), rules("negative-surge"))
    assert [int(day) for day in found] == paged


def test_a_burst_whose_time_varies_by_twenty_minutes_is_learned() -> None:
    draw = np.random.default_rng(5)
    texts = daily(weeks=4, at=lambda day: 6 * HOUR + int(draw.integers(-20, 21)) * MINUTE)
    assert len(pages(texts, rules("negative-surge"))) <= 3


def test_a_burst_that_was_learned_and_begins_twenty_minutes_earlier_does_not_page() -> None:
    texts = quiet(START, CHANGE + 2 * WEEK)
    for day in days(START, CHANGE + 2 * WEEK):
        texts += burst(day + 14 * HOUR - (20 * MINUTE if day >= CHANGE else 0 * MINUTE))
    assert pages(texts, rules("negative-surge")) == []


WORSE = [
    ("three times as much at the same time", 6 * HOUR, 80, 120),
    ("as much at another time", 11 * HOUR, 40, 60),
    ("less at another time", 11 * HOUR, 26, 39),
    ("as much two hours later", 8 * HOUR, 40, 60),
]


@pytest.mark.parametrize(("case", "at", "negative", "neutral"), WORSE, ids=[case[0] for case in WORSE])
def test_a_surge_that_is_worse_than_the_regular_burst_or_at_another_time_pages(
    case: str, at: timedelta, negative: int, neutral: int
) -> None:
    surge = burst(CHANGE + 16 * DAY + at + timedelta(seconds=1), negative, neutral)
    found = pages(daily(weeks=3, weekdays=range(5)) + surge, rules("negative-surge"))
    assert [int(day) for day in found] == [1, 2, 16]


def test_one_bad_day_does_not_hide_the_next() -> None:
    texts = quiet(START, CHANGE + WEEK)
    for day in (1, 2):
        texts += burst(CHANGE + day * DAY + 14 * HOUR)
    assert [int(day) for day in pages(texts, rules("negative-surge"))] == [1, 2]


def test_a_negative_digest_every_morning_is_learned_by_the_mood() -> None:
    texts = quiet(START, CHANGE + 3 * WEEK)
    for day in days(CHANGE, CHANGE + 3 * WEEK, range(7)):
        texts += burst(day + 6 * HOUR, negative=40, neutral=0)
    assert [int(day) for day in pages(texts, rules("mood-shift"))] == [0, 1]


def silence() -> list[Rule]:
    return [
        SilenceRule.model_validate(
            {"name": "silent", "type": "silence", "window": "2h", "false_pages_per_month": 1}
        )
    ]


def busy(start: datetime, end: datetime) -> list[Text]:
    return [text(start + i * 6 * MINUTE, "neutral", i) for i in range((end - start) // (6 * MINUTE))]


def test_a_feed_that_now_rests_every_night_pages_twice() -> None:
    texts = [
        each
        for each in busy(START, CHANGE + 3 * WEEK)
        if each.published_at < CHANGE or not 1 <= each.published_at.hour < 5
    ]
    assert [int(day) for day in pages(texts, silence())] == [0, 1]


def test_an_outage_of_days_does_not_make_the_next_one_regular() -> None:
    outages = [(CHANGE + DAY, CHANGE + 4 * DAY), (CHANGE + 5 * DAY + 12 * HOUR, CHANGE + 5 * DAY + 20 * HOUR)]
    texts = [
        each
        for each in busy(START, CHANGE + WEEK)
        if not any(start <= each.published_at < end for start, end in outages)
    ]
    assert [int(day) for day in pages(texts, silence())] == [1, 5]


def test_hours_of_the_week_follow_the_zone_through_gap_and_fold() -> None:
    """Cells of one document each hour, over the weeks of both changes of the clocks in New York."""
    for change in (CHANGE, datetime(2026, 11, 1, tzinfo=UTC)):
        start = change - 2 * WEEK
        cells = [Aggregate(start + i * HOUR, "", "", 1, 0, 1, 0, 0, 0, 0) for i in range(4 * 168)]
        usual = Baseline(cells, [TimeRange(start, start + 4 * WEEK)], HOUR, NEW_YORK)
        assert sum(usual.live_seconds) == 4 * WEEK.total_seconds()
        gap_or_fold = usual.live_seconds[6 * 24 + (2 if change == CHANGE else 1)]
        assert gap_or_fold == (3 if change == CHANGE else 5) * 3600
        assert usual.rates(count_documents) == pytest.approx([1 / 3600] * 168, rel=0.05)


def test_a_zone_of_half_hours_has_whole_hours_of_its_own() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    cells = [Aggregate(start + i * HOUR, "", "", 1, 0, 1, 0, 0, 0, 0) for i in range(168)]
    usual = Baseline(cells, [TimeRange(start, start + WEEK)], HOUR, ZoneInfo("Asia/Kolkata"))
    assert usual.live_seconds == [3600.0] * 168


def test_the_same_time_of_another_day_is_by_the_clock() -> None:
    opening = datetime(2026, 3, 9, 13, 30, tzinfo=UTC)
    assert days_before(opening, 3, NEW_YORK) == datetime(2026, 3, 6, 14, 30, tzinfo=UTC)
    assert days_before(opening, 3, UTC) == datetime(2026, 3, 6, 13, 30, tzinfo=UTC)


ZONED = "rules:\n  - name: surge\n    type: negative_surge\n    timezone: {}\n"


def test_a_rule_names_its_zone_and_the_setting_is_that_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(ZONED.format("Asia/Shanghai") + "  - {name: other, type: mood_shift}\n")
    own, other = load_rules(file, time_zone="Europe/Berlin")
    assert own.baseline_spec and own.baseline_spec.zone == ZoneInfo("Asia/Shanghai")
    assert other.baseline_spec and other.baseline_spec.zone == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("America/New_Yrok", "there is no such time zone (did you mean 'America/New_York'?)"),
        ("../../etc/passwd", "there is no such time zone"),
        ("America", "there is no such time zone"),
        ('""', "there is no such time zone"),
        ("5", "Input should be a valid string"),
    ],
)
def test_a_zone_that_does_not_exist_is_refused(zone: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(ZONED.format(zone))
    with pytest.raises(RuleError) as caught:
        load_rules(file)
    assert f"{file}:4: rule 'surge': timezone is" in str(caught.value)
    assert message in str(caught.value)

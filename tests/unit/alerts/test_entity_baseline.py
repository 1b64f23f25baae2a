"""What is usual about an entity: its own history where it has one, and the pool's where it has none."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from alerts.baselines.baseline import HOUR, Baseline, count_documents, count_negatives
from alerts.baselines.entity_baseline import Pool, StreamNow, StreamWeek, level
from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.windows.entity_windows import EntityHistory
from stream.domain.documents import EPOCH
from stream.domain.sums import Aggregate, Counted, TimeRange

END = datetime(2026, 3, 2, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
START = END - 4 * WEEK
LIVE = [TimeRange(START, END)]


def cells(rate: float, seed: int, share: float = 0.2) -> list[Aggregate]:
    """Four weeks of hours with so many documents by day, and a tenth of that by night."""
    generator = np.random.default_rng(seed)
    found = []
    for hour in range(28 * 24):
        start = START + hour * HOUR
        n = int(generator.poisson(rate if 6 <= start.hour < 20 else rate / 10))
        if n:
            negative = int(generator.binomial(n, share))
            score = -8000 * negative
            found.append(
                Aggregate(start, "x", "all", n, 0, n - negative, negative, 0, score, 64_000_000 * negative)
            )
    return found


def week_of(rate: float = 200.0, zone: str = "UTC") -> StreamWeek:
    return StreamWeek.of(cells(rate, 9), LIVE, ZoneInfo(zone))


@pytest.mark.parametrize("window", [HOUR, 3 * HOUR, 12 * HOUR])
@pytest.mark.parametrize("count", [count_documents, count_negatives])
def test_an_entity_with_much_history_has_nearly_the_baseline_of_a_topic(
    window: timedelta, count: object
) -> None:
    own = cells(20.0, 1)
    entity = week_of().baseline(own, (), Pool(), UTC)
    topic = Baseline(own, LIVE, HOUR)
    rates, same = entity.rates(count), topic.rates(count)  # type: ignore[arg-type]
    for start in (END - DAY, END - 12 * HOUR, END - 3 * DAY):
        expected = entity.expected(rates, start, start + window)
        assert expected == pytest.approx(topic.expected(same, start, start + window), rel=0.15, abs=0.3)
    assert entity.variation(count, rates, window) == pytest.approx(  # type: ignore[arg-type]
        topic.variation(count, same, window),
        abs=0.02,  # type: ignore[arg-type]
    )
    assert entity.correlation(window) == pytest.approx(topic.correlation(window), abs=0.01)
    assert entity.scores(window) == pytest.approx(topic.scores(window), abs=0.02)
    assert entity.share == pytest.approx(topic.share, abs=0.01)
    assert entity.seconds == topic.seconds == 28 * 86_400


def test_an_entity_without_history_has_the_pools_level_in_the_week_of_the_stream() -> None:
    pool = Pool(documents=3.0, negatives=0.6)
    entity = week_of().baseline([], (), pool, UTC)
    rates = entity.rates(count_negatives)
    month = entity.expected(rates, START, END)
    assert month == pytest.approx(0.5 / (1 + 0.5 / 0.6), rel=0.01)
    by_day = entity.expected(rates, END - 12 * HOUR, END - 11 * HOUR)
    assert by_day > 4 * entity.expected(rates, END - HOUR, END)
    assert entity.share == pytest.approx(0.2)
    assert entity.seconds == 28 * 86_400


def test_own_history_weighs_more_as_it_grows() -> None:
    for pool in (0.2, 1.0, 8.0):
        levels = [float(level(k, pool)) for k in (0, 1, 3, 10, 100, 10_000)]
        assert levels == sorted(levels)
        assert levels[0] < 0.5
        assert levels[-1] == pytest.approx(10_000, rel=0.001)
        assert levels[-2] == pytest.approx(100, rel=0.05)


def test_the_times_of_past_alerts_are_left_out_of_a_baseline() -> None:
    own = cells(2.0, 3)
    crisis = Aggregate(END - DAY, "x", "all", 500, 0, 0, 500, 0, -4_000_000, 0)
    hours = [*[cell for cell in own if cell.start != crisis.start], crisis]
    hours.sort(key=lambda cell: cell.start)
    week = week_of()
    without = week.baseline(hours, [TimeRange(END - DAY, END - DAY + HOUR)], Pool(), UTC)
    assert without.total.negative < 500 < week.baseline(hours, (), Pool(), UTC).total.negative
    assert without.seconds == week.hours.total_seconds - 2 * 3600


def test_hours_of_the_week_move_with_the_clocks_of_the_time_zone() -> None:
    zone = ZoneInfo("America/New_York")
    own = cells(20.0, 1)
    entity = week_of(zone="America/New_York").baseline(own, (), Pool(), zone)
    topic = Baseline(own, LIVE, HOUR, zone)
    start = END + WEEK  # the clocks change on 8 March 2026
    expected = entity.expected(entity.rates(count_documents), start, start + 12 * HOUR)
    usual = topic.expected(topic.rates(count_documents), start, start + 12 * HOUR)
    assert expected == pytest.approx(usual, rel=0.1)


def history_of(watched: tuple[str, ...] | None = None) -> EntityHistory:
    generator = np.random.default_rng(5)
    totals = {
        f"XNAS:E{i}": Aggregate(START, f"XNAS:E{i}", "all", n, 0, n - n // 5, n // 5, 0, 0, 0)
        for i, n in enumerate(map(int, generator.zipf(1.6, 500).clip(1, 50_000)))
    }
    spec = BaselineSpec(4 * WEEK, HOUR, count_negatives)
    return EntityHistory(END, Counted.TEXTS, spec, week_of(), totals, watched, (), {})


def test_the_budget_is_shared_out_half_by_volume_and_half_equally_with_a_reserve() -> None:
    history = history_of()
    shares = {entity: history.share(entity) for entity in history.totals}
    unknown = history.share("XNAS:UNKNOWN")
    assert sum(shares.values()) + 50 * unknown == pytest.approx(1.0)  # the reserve is a tenth of 500
    assert unknown == pytest.approx(1 / 2 / 550)
    most = max(history.totals, key=lambda entity: history.totals[entity].negative)
    assert shares[most] == max(shares.values())
    assert min(shares.values()) >= unknown


def test_a_list_shares_out_its_budget_among_its_own_entities() -> None:
    watched = ("XNAS:E1", "XNAS:E2", "XNAS:NEW")
    history = history_of(watched)
    assert sum(map(history.share, watched)) == pytest.approx(1.0)


def test_a_bad_stream_makes_more_usual_and_a_good_one_changes_nothing() -> None:
    week = week_of()
    stream = week.stream
    usual = Expectation(
        BaselineSpec(4 * WEEK, HOUR, count_negatives), week.baseline([], (), Pool(3.0, 0.6), UTC)
    )

    def seen(negative: int, n: int = 1000) -> Expectation:
        total = Aggregate(EPOCH, "all", "all", n, 0, n - negative, negative, 0, -8000 * negative, 0)
        own = Aggregate(EPOCH, "x", "all", 12, 0, 0, 12, 0, -96_000, 0)
        return usual.in_market(StreamNow(stream, total, 200.0).without(own, count_negatives))

    window = (END - 12 * HOUR, END - 11 * HOUR)
    assert seen(212).expected(*window) == usual.expected(*window)
    assert seen(100) is usual
    assert seen(640).expected(*window) == pytest.approx(usual.expected(*window) * 638 / 210)
    assert seen(640).negative_share > 2 * usual.negative_share
    assert seen(640).scores[0] < usual.scores[0]

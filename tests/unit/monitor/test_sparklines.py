"""The small charts of the overview: what they draw, and what they leave out."""

from datetime import UTC, datetime, timedelta

import pytest

from monitor.web.pages.overview import chart_axis
from monitor.web.sparkline import HEIGHT, WIDTH, sparkline, uncertainty
from stream.domain.sums import Aggregate

NOW = datetime(2026, 3, 2, 12, 34, 56, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def sums(*scores: float) -> Aggregate:
    """The sums of texts with these scores, from -1 to 1."""
    found = Aggregate(NOW, "Macro", "news")
    for score in scores:
        found += Aggregate.of_document(NOW, "Macro", "news", "neutral", round(score * 10_000))
    return found


def test_a_gap_in_the_texts_is_a_gap_in_the_line_and_marked_as_missing() -> None:
    chart = sparkline([sums(0.1), sums(0.2), None, sums(0.3), sums(0.4)], 0.5)
    assert chart.line.count("M") == 2 and chart.line.count("L") == 2
    assert [(bar.x, bar.width, bar.height) for bar in chart.missing] == [(WIDTH * 2 / 5, WIDTH / 5, HEIGHT)]
    assert len(chart.volumes) == 4


def test_a_single_stretch_with_texts_is_a_dot() -> None:
    chart = sparkline([None, sums(0.0), None], 0.5)
    assert chart.line.startswith("M120.0 ") and chart.line.endswith("h0") and chart.band == ""


def test_a_good_mood_is_above_zero_a_bad_one_below_and_what_is_beyond_the_scale_is_at_its_edge() -> None:
    good, bad, beyond, best = (sparkline([sums(score)], 0.5).last for score in (0.3, -0.3, -0.9, -0.5))
    zero = sparkline([], 0.5).zero
    assert good and bad and beyond and best
    assert good[1] < zero < bad[1] and beyond == best


def test_no_texts_draw_nothing() -> None:
    chart = sparkline([None, None], 0.5)
    assert (chart.line, chart.band, chart.volumes, chart.last) == ("", "", (), None)
    assert len(chart.missing) == 2


def test_the_highest_volume_is_the_highest_bar_and_bars_stand_on_the_ground() -> None:
    low, high = sparkline([sums(0.1), sums(0.1, 0.2, 0.3)], 0.5).volumes
    assert high.height == 3 * low.height and low.y + low.height == high.y + high.height == HEIGHT


def test_the_mean_of_many_texts_is_more_certain_than_that_of_few() -> None:
    assert uncertainty(sums(0.5)) == 1.0
    few, many = uncertainty(sums(0.5, -0.5)), uncertainty(sums(*[0.5, -0.5] * 50))
    # Of n texts at +-0.5: 1.96 times 0.5 times sqrt(n / (n - 1)) / sqrt(n).
    assert few == pytest.approx(1.96 * 0.5 / 1**0.5, rel=0.01)
    assert many == pytest.approx(1.96 * 0.5 / 99**0.5, rel=0.01)


def test_the_chart_has_the_hours_of_a_day() -> None:
    axis = chart_axis(NOW - timedelta(days=3), NOW, MINUTE)
    assert (axis.width, axis.bins) == (HOUR, 24)
    assert axis.end - HOUR <= NOW < axis.end


@pytest.mark.parametrize(
    "age", [timedelta(0), timedelta(minutes=3), timedelta(minutes=16), timedelta(hours=5)]
)
@pytest.mark.parametrize("base", [timedelta(seconds=10), MINUTE])
def test_the_chart_of_a_monitor_that_has_just_begun_shows_all_of_its_record(
    age: timedelta, base: timedelta
) -> None:
    axis = chart_axis(NOW - age, NOW, base)
    assert axis.start <= NOW - age and axis.end - axis.width <= NOW < axis.end
    assert axis.width % base == timedelta(0) and 1 <= axis.bins <= 26


def test_the_chart_without_any_text_has_the_hours_of_a_day() -> None:
    assert chart_axis(None, NOW, MINUTE).bins == 24

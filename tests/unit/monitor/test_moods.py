"""The mood of a topic or an entity over time: how sure it is, what is usual, and what is missing."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from alerts.baselines.baseline import Baseline, count_documents
from alerts.baselines.expectation import BaselineSpec, Expectation
from monitor.web.charts import mood_chart, spread_chart
from monitor.web.marked_text import Piece, pieces
from monitor.web.mood import Moods, points_of
from stream.domain.alerts import AlertState
from stream.domain.documents import Span
from stream.domain.entities import EntityMention
from stream.domain.sums import Aggregate, Counted, TimeRange
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.desk.stories import Stretch
from stream.storage.leases import Lease
from tests.desk_parts import new_store
from tests.unit.stream.samples import about, classified, mention, write
from tests.unit.stream.test_desk_reads import alert

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
WEEK = TimeRange(NOW - 7 * 24 * HOUR, NOW)
BANK = "bank:NGTB"


def hour(start: datetime, scores: Sequence[int], topic: str = "Earnings") -> Aggregate:
    parts = (
        Aggregate.of_document(start, topic, "all", "negative" if one < 0 else "neutral", one)
        for one in scores
    )
    return sum(parts, Aggregate(start, topic, "all"))


def usual_of(hours: int, scores: Sequence[int]) -> Expectation:
    """A history of so many hours before NOW, with texts of these scores in each."""
    end = NOW.replace(minute=0)
    cells = [hour(end - number * HOUR, scores) for number in range(hours, 0, -1)]
    spec = BaselineSpec(timedelta(days=28), HOUR, count_documents)
    return Expectation(spec, Baseline(cells, [TimeRange(end - hours * HOUR, end)], HOUR), cells)


CALM = (1000, -1000, 2000, -2000, 0, 500, -500, 1500, -1500, 0)


def one_hour(scores: Sequence[int], usual: Expectation | None) -> Any:
    start = NOW.replace(minute=0)
    time = TimeRange(start, start + HOUR)
    (point,) = points_of([hour(start, scores)] if scores else [], {start}, time, HOUR, usual)
    return point


def test_a_calm_hour_is_usual_and_a_bad_one_is_lower() -> None:
    usual = usual_of(7 * 24, CALM)
    calm, bad = one_hour(CALM, usual), one_hour([-9000] * 10, usual)
    assert calm.verdict == "usual" and bad.verdict == "lower than usual"
    assert one_hour([9000] * 10, usual).verdict == "higher than usual"
    assert calm.usual.covers(0) and calm.usual_n.covers(10) and not calm.usual_n.covers(40)


def test_more_texts_make_the_mood_surer_and_the_usual_band_narrower() -> None:
    usual = usual_of(7 * 24, CALM)
    few, many = one_hour([-1000, 1000], usual), one_hour(CALM * 20, usual)
    assert few.sure.high - few.sure.low > 3 * (many.sure.high - many.sure.low)
    assert few.usual.high - few.usual.low > many.usual.high - many.usual.low


def test_the_volume_varies_as_much_as_the_history_did() -> None:
    steady, choice = usual_of(28 * 24, CALM), random.Random(1)
    cells = [hour(cell.start, CALM * choice.choice((1, 3))) for cell in steady.cells]
    wild = Expectation(steady.spec, Baseline(cells, steady.baseline.live, HOUR), cells)
    steady_n, wild_n = one_hour(CALM, steady).usual_n, one_hour(CALM, wild).usual_n
    assert wild_n.high / wild_n.low > 2 * steady_n.high / steady_n.low


def test_an_hour_without_texts_has_no_mood_but_its_usual_one() -> None:
    point = one_hour([], usual_of(7 * 24, CALM))
    assert (point.n, point.mean, point.sure, point.verdict) == (0, None, None, None)
    assert point.usual.covers(0) and not point.is_missing


def test_without_history_nothing_is_usual_and_one_text_is_not_sure() -> None:
    point = one_hour([-5000], None)
    assert point.usual is None and point.usual_n is None and point.verdict is None
    assert (point.mean, point.sure.low, point.sure.high) == (-0.5, -1.0, 1.0)


def test_points_cover_the_whole_time_and_the_present_one_ends_now() -> None:
    time = TimeRange(NOW - 5 * HOUR, NOW)
    points = points_of([], {NOW.replace(minute=0)}, time, HOUR, None)
    assert points[0].start == time.start and points[-1].end == NOW
    assert all(one.end == other.start for one, other in pairwise(points))
    assert [point.is_missing for point in points] == [True] * (len(points) - 1) + [False]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two days with a text every quarter of an hour, about the bank every hour; three hours of yesterday were
    bad, and an alert fired on them; so is the last hour."""
    store = new_store(tmp_path_factory.mktemp("moods"))
    items = []
    for number in range(4 * 48):
        at = NOW - MINUTE - number * 15 * MINUTE
        is_bad = number < 4 or 80 <= number < 92
        score = -0.9 if is_bad else (number % 5 - 2) / 10
        item = classified(f"d{number}", number, at=at, score=score)
        items.append(about(item, mention(BANK, score)) if number % 4 == 0 else item)
    write(store, *items)
    start = NOW - 93 * 15 * MINUTE
    past = {"since": start, "fired_at": start, "resolved_at": start + 4 * HOUR, "state": AlertState.RESOLVED}
    about_bank = {"topic": "all", "entity": BANK, "labels": {}}
    episodes = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    episodes.save([alert("a", **past), alert("b", **about_bank, **past)], [], [], [], NOW)
    yield store
    store.engine.dispose()


def test_the_mood_of_a_topic_leaves_past_alerts_out_of_what_is_usual(store: Store) -> None:
    mood = Moods(store, UTC).of_topic("Earnings", TimeRange(NOW - 24 * HOUR, NOW), HOUR, Counted.TEXTS)
    assert mood.now.mean == -0.9 and mood.now.verdict == "lower than usual"
    bad = [point for point in mood.points if point.verdict == "lower than usual"]
    assert len(bad) >= 3 and [one.id for one in mood.alerts] == ["a"]
    assert mood.texts == sum(point.n for point in mood.points) > 90
    assert 40 * HOUR < mood.history < 48 * HOUR


def test_the_mood_about_an_entity_is_of_its_own_texts(store: Store) -> None:
    mood = Moods(store, UTC).of_entity(BANK, TimeRange(NOW - 24 * HOUR, NOW), HOUR, Counted.TEXTS)
    assert [one.id for one in mood.alerts] == ["b"] and 24 <= mood.texts <= 26
    assert mood.now.n == 1 and mood.now.usual is not None
    usual = mood.points[3].usual
    assert usual is not None and usual.covers(0.0)


def test_what_nobody_wrote_about_has_no_mood_and_nothing_is_missing(store: Store) -> None:
    mood = Moods(store, UTC).of_topic("Macro", TimeRange(NOW - 3 * HOUR, NOW), HOUR, Counted.TEXTS)
    assert mood.texts == 0 and mood.now.mean is None and not any(point.is_missing for point in mood.points)
    before = TimeRange(NOW - 72 * HOUR, NOW)
    points = Moods(store, UTC).of_topic("Macro", before, HOUR, Counted.TEXTS).points
    assert points[0].is_missing and not points[-1].is_missing


def test_a_chart_has_gaps_where_there_is_no_mood_and_marks_where_an_alert_fired(store: Store) -> None:
    mood = Moods(store, UTC).of_topic("Earnings", TimeRange(NOW - 72 * HOUR, NOW), HOUR, Counted.TEXTS)
    chart = mood_chart(mood)
    texts, usually, sure, line = chart.series
    assert {len(one.values) for one in (texts, line)} == {len(chart.times)} == {len(usually.low)}
    assert line.values[0] is None and sure.low[0] is None and texts.values[0] is None
    assert line.values[-1] == -0.9 and len(chart.marks) == 1 and chart.marks[0].end is not None
    assert '"data"' in chart.attribute


def test_the_spread_of_a_story_never_falls() -> None:
    start = NOW.replace(minute=0)
    stretches = [Stretch(start, 3, 1, 2), Stretch(start + 2 * HOUR, 1, 1, 0)]
    chart = spread_chart(stretches, HOUR, start + 3 * HOUR)
    texts, voices = (list(one.values) for one in chart.series)
    assert texts == [0, 3, 3, 4] and voices == [0, 1, 1, 2]
    assert list(chart.times) == sorted(chart.times) and len(chart.times) == 4


def span(start: int, end: int, weight: float = 1.0) -> Span:
    return Span("sentiment", "", start, end, weight)


def test_a_text_is_cut_where_words_and_names_begin_and_end() -> None:
    bank = EntityMention(BANK, "Northgate", ((0, 9),))
    found = pieces("Northgate halts payouts", [span(10, 15, 0.4), span(16, 23, -0.2)], [bank])
    assert found == [
        Piece("Northgate", entity=bank), Piece(" "), Piece("halts", 1.0), Piece(" "), Piece("payouts", -0.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "spans"),
    [("", []), ("abc", [span(0, 3), span(1, 2)]), ("abc", [span(2, 9)]), ("abc", [span(5, 9)]), ("ab", [span(1, 1)])],
)  # fmt: skip
def test_no_part_of_a_text_is_lost_whatever_the_places(text: str, spans: list[Span]) -> None:
    assert "".join(piece.text for piece in pieces(text, spans)) == text


def test_a_word_without_weight_and_a_name_in_a_word_are_told_apart() -> None:
    inside = EntityMention(BANK, "b", ((1, 2),))
    assert [piece.weight for piece in pieces("abc", [span(0, 3, 0.0)])] == [None]
    found = pieces("abc", [span(0, 3, 0.5)], [inside])
    assert [(piece.text, piece.weight, piece.entity) for piece in found] == [
        ("a", 1.0, None), ("b", 1.0, inside), ("c", 1.0, None),
    ]  # fmt: skip

"""What holds for event-time windows and for sums over any documents."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from stream.domain.documents import SENTIMENTS
from stream.domain.sums import Aggregate, SumKey, add_by_key, difference, roll_up, window_start

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
stamps = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
widths = st.sampled_from([1, 10, 60, 300, 3600]).map(lambda s: timedelta(seconds=s))
scores = st.integers(-10_000, 10_000)
sentiments = st.sampled_from([*SENTIMENTS, None])


def part(minute: int, partition: int, sentiment: str | None, score: int) -> tuple[SumKey, Aggregate]:
    start = NOW + timedelta(minutes=minute)
    aggregate = Aggregate.of_document(start, "IPO", "news", sentiment, score)
    return (start, "IPO", "news", partition), aggregate


parts = st.lists(st.builds(part, st.integers(0, 120), st.integers(0, 2), sentiments, scores))


@given(stamps, widths, st.integers(-12, 12))
def test_a_time_is_in_its_window_in_any_time_zone(stamp: datetime, width: timedelta, hours: int) -> None:
    start = window_start(stamp, width)
    assert start <= stamp < start + width
    assert window_start(start, width) == start
    assert window_start(stamp.astimezone(timezone(timedelta(hours=hours))), width) == start


@given(st.lists(st.tuples(st.sampled_from(SENTIMENTS), scores), min_size=1), st.data())
def test_sums_do_not_depend_on_how_the_batches_are_split(
    documents: list[tuple[str, int]], data: st.DataObject
) -> None:
    singles = [Aggregate.of_document(NOW, "IPO", "news", sentiment, score) for sentiment, score in documents]
    empty = Aggregate(NOW, "IPO", "news")
    middle = data.draw(st.integers(0, len(singles)))
    halves = sum(singles[:middle], empty) + sum(singles[middle:], empty)
    whole = sum(singles, empty)
    assert halves == whole
    assert whole.n == whole.positive + whole.neutral + whole.negative == len(documents)
    assert whole.mean is not None and -1 <= whole.mean <= 1
    assert whole.score_squares == sum(score * score for _, score in documents)


@given(parts, parts)
def test_adding_the_difference_to_the_old_sums_gives_the_new_ones(
    new: list[tuple[SumKey, Aggregate]], old: list[tuple[SumKey, Aggregate]]
) -> None:
    new_sums, old_sums = add_by_key(new), add_by_key(old)
    changed = add_by_key([*old_sums.items(), *difference(new_sums, old_sums).items()])
    assert {key: aggregate for key, aggregate in changed.items() if not aggregate.is_zero} == new_sums
    assert difference(new_sums, new_sums) == {}


@given(parts)
def test_hours_add_up_to_the_same_as_their_minutes(minutes: list[tuple[SumKey, Aggregate]]) -> None:
    sums = add_by_key(minutes)
    hours = roll_up(sums, HOUR)
    assert all(key[0] == window_start(key[0], HOUR) for key in hours)
    empty = Aggregate(NOW, "IPO", "news")
    assert sum(hours.values(), empty) == sum(sums.values(), empty)

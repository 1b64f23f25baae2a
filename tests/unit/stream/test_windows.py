"""Which stored windows a time range is read from, and that they hold the right sums."""

from datetime import timedelta
from itertools import pairwise

import pytest

from stream.storage.batches import Store
from stream.storage.windows import widest_windows
from tests.unit.stream.samples import NOW, classified, write


def test_hours_and_days_are_the_sums_of_their_base_windows(store: Store) -> None:
    times = [NOW + timedelta(minutes=minutes) for minutes in (0, 1, 59, 61, 700, 1500, 2900, 2901, 4400)]
    documents = [classified(f"d{n}", n, score=-n / 10, at=at) for n, at in enumerate(times)]
    write(store, *documents[:6])
    write(store, *documents[6:], *documents[:2])
    midnight = NOW.replace(hour=0, minute=0, second=0)
    edges = [NOW.replace(second=0), NOW.replace(minute=0, second=0), midnight]
    for start in (*edges, edges[0] + timedelta(minutes=1)):
        for hours in (1, 23.5, 24, 36, 80):
            end = start + timedelta(hours=hours)
            inside = [d.score or 0 for d, at in zip(documents, times, strict=True) if start <= at < end]
            assert sum(a.score_sum for a in store.reads.sums(start, end)) == sum(inside)
            for width in (timedelta(minutes=1), timedelta(hours=1), timedelta(hours=6), timedelta(days=1)):
                windows = store.reads.sums_by_window(start, end, width)
                assert sum(window.n for window in windows) == len(inside)
                assert all((window.start - midnight) % width == timedelta(0) for window in windows)


TIME_RANGES = [
    ("a few minutes: base windows", (12, 5), (12, 50), None, [(0, 45)]),
    ("whole hours between minutes", (11, 50), (14, 10), None, [(0, 10), (3600, 120), (0, 10)]),
    ("a whole day", (0, 0), (24, 0), None, [(86_400, 1440)]),
    ("a day, hours and minutes", (-1, 30), (25, 1), None, [(0, 30), (86_400, 1440), (3600, 60), (0, 1)]),
    ("no window longer than the requested width", (0, 0), (24, 0), 3600, [(3600, 1440)]),
    ("no window that the requested width is not a multiple of", (0, 0), (24, 0), 5400, [(0, 1440)]),
]


@pytest.mark.parametrize(
    ("case", "start", "end", "width", "parts"), TIME_RANGES, ids=[row[0] for row in TIME_RANGES]
)
def test_a_time_range_is_covered_by_the_widest_windows_that_fit(
    case: str,
    start: tuple[int, int],
    end: tuple[int, int],
    width: int | None,
    parts: list[tuple[int, int]],
) -> None:
    day = NOW.replace(hour=0, minute=0, second=0)
    first, last = (day + timedelta(hours=hours, minutes=minutes) for hours, minutes in (start, end))
    windows = widest_windows(first, last, width)
    assert [(seconds, (b - a) / timedelta(minutes=1)) for seconds, a, b in windows] == parts
    assert windows[0].start == first and windows[-1].end == last
    assert all(one.end == other.start for one, other in pairwise(windows))

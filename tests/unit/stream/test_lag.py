from dataclasses import replace

from stream.lag import Hole, LagTracker, PartitionProgress

NEWS = ("news", 0)


def progress(
    *, written: int | None, end: int, seen_at: float = 0.0, position: int = 0, delivered: int | None = 0
) -> PartitionProgress:
    return PartitionProgress(written, delivered, 0, position, end, seen_at)


def test_lag_counts_the_messages_that_are_not_in_sql() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=40, position=60, delivered=55, end=90)})
    assert lag.waiting == {NEWS: 50}


def test_before_the_first_write_lag_counts_from_the_consumer_position() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=None, position=60, delivered=None, end=90)})
    assert lag.waiting == {NEWS: 30}


def test_lag_is_not_zero_when_everything_is_fetched_and_nothing_is_written() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=0, position=12_000, delivered=12_000, end=12_000)})
    assert lag.waiting == {NEWS: 12_000}


def test_transaction_markers_at_the_end_do_not_count_as_lag() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=88, position=90, delivered=88, end=90)})
    assert lag.waiting == {NEWS: 0}
    lag.update({NEWS: progress(written=87, position=90, delivered=88, end=90)})
    assert lag.waiting == {NEWS: 3}, "a message was delivered and is not written yet"


def test_aborted_messages_before_the_end_do_not_count_as_lag() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=80, position=86, delivered=80, end=90)})
    assert lag.waiting == {NEWS: 4}


def test_offsets_without_a_message_are_a_hole_once_everything_before_them_is_written() -> None:
    assert progress(written=80, position=86, delivered=80, end=90).hole == Hole(80, 86, -1)
    assert progress(written=79, position=86, delivered=80, end=90).hole is None
    assert progress(written=86, position=86, delivered=86, end=90).hole is None
    assert progress(written=None, position=6, delivered=None, end=6).hole == Hole(0, 6, -1)
    assert progress(written=None, position=0, delivered=None, end=6).hole is None


def test_a_partition_is_held_since_its_stable_offset_stands_and_messages_follow_it() -> None:
    lag = LagTracker()
    observations = [
        (1.0, 5, 0, None),
        (2.0, 5, 3, 2.0),
        (3.0, 5, 8, 2.0),
        (4.0, 9, 4, 4.0),
        (5.0, 13, 0, None),
    ]
    for seen_at, end, undecided, held_since in observations:
        state = replace(progress(written=5, end=end, seen_at=seen_at), undecided=undecided)
        lag.update({NEWS: state})
        assert lag.held_since.get(NEWS) == held_since, seen_at
    lag.update({NEWS: replace(state, undecided=4)})
    lag.update({})
    assert lag.held_since == {}, "unknown"


def test_a_partition_whose_progress_is_unknown_has_no_lag() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=0, end=5), ("news", 1): progress(written=0, end=7)})
    lag.update({("news", 1): progress(written=2, end=7)})
    assert lag.waiting == {("news", 1): 5}


def test_a_partition_has_caught_up_when_everything_seen_at_an_earlier_observation_is_written() -> None:
    lag = LagTracker(clock=lambda: 99.0)
    lag.assign([NEWS])
    observations = [
        (100.0, 0, 50, 99.0),  # 50 messages wait
        (102.0, 40, 90, 99.0),  # 40 of them are written, and 40 more have arrived
        (104.0, 60, 95, 100.0),  # the first 50 are written
        (106.0, 95, 95, 104.0),  # everything seen at the previous observation is written
        (106.0, 95, 95, 106.0),
        (106.0, 95, 95, 106.0),  # the broker no longer answers
    ]
    for seen_at, written, end, caught_up in observations:
        lag.update(
            {NEWS: progress(written=written, end=end, seen_at=seen_at, delivered=written, position=written)}
        )
        assert lag.caught_up == {NEWS: caught_up}


def test_revoked_partitions_are_forgotten_and_the_others_keep_their_time() -> None:
    times = iter([10.0, 20.0])
    lag = LagTracker(clock=lambda: next(times))
    lag.assign([NEWS, ("news", 1)])
    lag.assign([("news", 1), ("news", 2)])
    assert lag.caught_up == {("news", 1): 10.0, ("news", 2): 20.0}

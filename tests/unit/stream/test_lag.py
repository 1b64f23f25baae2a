from stream.lag import LagTracker, PartitionProgress

NEWS = ("news", 0)


def progress(
    *, written: int | None, end: int, seen_at: float = 0.0, position: int = 0, delivered: int | None = 0
) -> PartitionProgress:
    return PartitionProgress(written, delivered, position, end, seen_at)


def test_what_is_neither_written_nor_fetched_waits() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=40, position=60, delivered=55, end=90)})
    assert lag.waiting == {NEWS: 50}


def test_before_the_first_message_the_position_says_how_far_the_partition_was_read() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=None, position=60, delivered=None, end=90)})
    assert lag.waiting == {NEWS: 30}


def test_markers_of_transactions_at_the_end_are_no_lag() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=88, position=90, delivered=87, end=90)})
    assert lag.waiting == {NEWS: 0}
    lag.update({NEWS: progress(written=87, position=90, delivered=87, end=90)})
    assert lag.waiting == {NEWS: 3}, "a message was delivered and is not written yet"


def test_a_partition_whose_progress_is_unknown_has_no_lag() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=0, end=5), ("news", 1): progress(written=0, end=7)})
    lag.update({("news", 1): progress(written=2, end=7)})
    assert lag.waiting == {("news", 1): 5}


def test_a_partition_is_caught_up_once_everything_is_written_that_was_there_at_an_earlier_look() -> None:
    lag = LagTracker(clock=lambda: 99.0)
    lag.assign([NEWS])
    looks = [
        (100.0, 0, 50, 99.0),  # fifty wait
        (102.0, 40, 90, 99.0),  # forty of them are written, as many arrived
        (104.0, 60, 95, 100.0),  # the first fifty are written
        (106.0, 95, 95, 104.0),  # and everything that was there two seconds ago
        (106.0, 95, 95, 106.0),
        (106.0, 95, 95, 106.0),  # the broker no longer answers
    ]
    for seen_at, written, end, caught_up in looks:
        lag.update({NEWS: progress(written=written, end=end, seen_at=seen_at, delivered=written)})
        assert lag.caught_up == {NEWS: caught_up}


def test_partitions_that_were_revoked_are_forgotten_and_those_kept_keep_their_time() -> None:
    times = iter([10.0, 20.0])
    lag = LagTracker(clock=lambda: next(times))
    lag.assign([NEWS, ("news", 1)])
    lag.assign([("news", 1), ("news", 2)])
    assert lag.caught_up == {("news", 1): 10.0, ("news", 2): 20.0}

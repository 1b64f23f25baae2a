from stream.lag import LagTracker, PartitionProgress

NEWS = ("news", 0)


def progress(
    *, written: int | None, end: int, seen_at: float = 0.0, position: int = 0, delivered: int | None = 0
) -> PartitionProgress:
    return PartitionProgress(written, delivered, position, end, seen_at)


def test_lag_counts_the_messages_that_are_not_in_sql() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=40, position=60, delivered=55, end=90)})
    assert lag.waiting == {NEWS: 50}


def test_before_the_first_write_lag_counts_from_the_consumer_position() -> None:
    lag = LagTracker()
    lag.update({NEWS: progress(written=None, position=60, delivered=None, end=90)})
    assert lag.waiting == {NEWS: 30}


def test_transaction_markers_at_the_end_do_not_count_as_lag() -> None:
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
        lag.update({NEWS: progress(written=written, end=end, seen_at=seen_at, delivered=written)})
        assert lag.caught_up == {NEWS: caught_up}


def test_revoked_partitions_are_forgotten_and_the_others_keep_their_time() -> None:
    times = iter([10.0, 20.0])
    lag = LagTracker(clock=lambda: next(times))
    lag.assign([NEWS, ("news", 1)])
    lag.assign([("news", 1), ("news", 2)])
    assert lag.caught_up == {("news", 1): 10.0, ("news", 2): 20.0}

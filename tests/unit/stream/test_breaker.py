import pytest

from stream.breaker import CircuitBreaker


@pytest.mark.parametrize(
    ("case", "batches", "is_open"),
    [
        ("a few bad messages do not matter", [(95, 5)] * 30, False),
        ("there are too few messages to decide", [(0, 5)] * 3, False),
        ("nearly all messages are bad", [(0, 5)] * 4, True),
        ("the bad messages were long ago", [(0, 10), (5, 0), (20, 0)], False),
        ("the first readable batch closes it", [(0, 20), (8, 2)], False),
        ("an unreadable batch leaves it open", [(0, 20), (1, 9)], True),
        ("a batch of tombstones leaves it open", [(0, 20), (0, 0)], True),
    ],
)
def test_when_the_breaker_is_open(case: str, batches: list[tuple[int, int]], is_open: bool) -> None:
    breaker = CircuitBreaker(0.9, window=20)
    for accepted, refused in batches:
        breaker.observe(accepted, refused)
    assert breaker.is_open is is_open


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def seconds_for(batches: list[tuple[int, int]]) -> float:
    """How long batches take of which each starts as soon as it may."""
    clock = Clock()
    breaker = CircuitBreaker(0.9, clock=clock)
    for accepted, refused in batches:
        while not breaker.may_start():
            clock.now += 0.25
        breaker.observe(accepted, refused)
    return clock.now


def test_a_flood_of_bad_messages_delays_what_follows_by_seconds() -> None:
    assert seconds_for([(0, 500)] * 4 + [(500, 0)]) == 1 + 2 + 4


def test_good_documents_among_bad_messages_are_not_delayed() -> None:
    assert seconds_for([(5, 495)] * 100) == 0


def test_a_topic_that_cannot_be_read_is_tried_once_a_minute() -> None:
    hour = seconds_for([(0, 500)] * 68)
    assert 3600 <= hour <= 3780


def test_only_one_batch_starts_in_a_pause() -> None:
    clock = Clock()
    breaker = CircuitBreaker(0.9, window=20, clock=clock)
    breaker.observe(0, 20)
    clock.now = 1.0
    assert [breaker.may_start() for _ in range(3)] == [True, False, False]
    clock.now = 2.0
    assert breaker.may_start(), "the batch before was lost: a rebalance took its partition"

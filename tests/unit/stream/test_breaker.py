import pytest

from stream.breaker import CircuitBreaker


@pytest.mark.parametrize(
    ("case", "batches", "is_open"),
    [
        ("a few bad messages do not matter", [(100, 5)] * 30, False),
        ("there are too few messages to decide", [(5, 5)] * 3, False),
        ("nearly all messages are bad", [(5, 5)] * 4, True),
        ("the bad messages were long ago", [(10, 10), (5, 0), (20, 0)], False),
        ("the first readable batch closes it", [(20, 20), (10, 2)], False),
        ("an unreadable batch leaves it open", [(20, 20), (10, 9)], True),
    ],
)
def test_when_the_breaker_is_open(case: str, batches: list[tuple[int, int]], is_open: bool) -> None:
    breaker = CircuitBreaker(0.9, window=20)
    for messages, refused in batches:
        breaker.observe(messages, refused)
    assert breaker.is_open is is_open

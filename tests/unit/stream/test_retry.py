"""Retrying with backoff, with a fake clock and without real waits."""

import logging
import threading
from collections.abc import Callable
from itertools import islice

import pytest

from stream.domain.errors import BrokerError, StoreUnavailable
from stream.retry import Outage, RetryPolicy, StopRequested, retry

POLICY = RetryPolicy(first_pause=1.0, longest_pause=5.0)
log = logging.getLogger("test")


def failing(times: int, error: Exception) -> Callable[[], str]:
    """Work that raises the error so many times, and then succeeds."""
    failures = iter([error] * times)

    def work() -> str:
        if (failure := next(failures, None)) is not None:
            raise failure
        return "done"

    return work


class Time:
    """A fake clock that only advances while someone waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return False


def test_pauses_double_up_to_the_longest() -> None:
    assert list(islice(POLICY.pauses(), 5)) == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_jitter_only_shortens_a_pause() -> None:
    policy = RetryPolicy(first_pause=2.0, longest_pause=2.0, jitter=0.5)
    pauses = list(islice(policy.pauses(), 200))
    assert all(1.0 <= pause <= 2.0 for pause in pauses)
    assert len(set(pauses)) > 1


def test_work_that_succeeds_is_called_once_and_nothing_waits() -> None:
    time = Time()
    assert retry(failing(0, ValueError()), errors=ValueError, policy=POLICY, wait=time.wait) == "done"
    assert time.pauses == []


def test_work_is_retried_after_each_pause_until_it_succeeds() -> None:
    time, failures = Time(), list[Exception]()
    error = StoreUnavailable("connection refused")
    answer = retry(
        failing(3, error),
        errors=(StoreUnavailable, BrokerError),
        policy=POLICY,
        on_failure=failures.append,
        wait=time.wait,
        clock=lambda: time.now,
    )
    assert answer == "done"
    assert time.pauses == [1.0, 2.0, 4.0]
    assert failures == [error] * 3


def test_any_other_error_is_raised_at_once() -> None:
    time = Time()
    with pytest.raises(ZeroDivisionError):
        retry(failing(1, ZeroDivisionError()), errors=StoreUnavailable, policy=POLICY, wait=time.wait)
    assert time.pauses == []


def test_the_last_error_is_raised_after_so_many_attempts() -> None:
    time, policy = Time(), RetryPolicy(first_pause=1.0, longest_pause=1.0, attempts=3)
    with pytest.raises(StoreUnavailable, match="locked"):
        retry(failing(3, StoreUnavailable("locked")), errors=StoreUnavailable, policy=policy, wait=time.wait)
    assert len(time.pauses) == 2
    assert retry(
        failing(2, StoreUnavailable("locked")), errors=StoreUnavailable, policy=policy, wait=time.wait
    )


def test_the_last_error_is_raised_once_the_time_is_up() -> None:
    time, policy = Time(), RetryPolicy(first_pause=1.0, longest_pause=1.0, seconds=3.0)
    with pytest.raises(StoreUnavailable, match="away"):
        retry(
            failing(99, StoreUnavailable("away")),
            errors=StoreUnavailable,
            policy=policy,
            wait=time.wait,
            clock=lambda: time.now,
        )
    assert time.pauses == [1.0] * 4


def test_a_stop_ends_the_waiting() -> None:
    stop, error = threading.Event(), StoreUnavailable("connection refused")
    stop.set()
    with pytest.raises(StopRequested, match="stopped while waiting: connection refused") as caught:
        retry(failing(99, error), errors=StoreUnavailable, policy=POLICY, wait=stop.wait)
    assert caught.value.__cause__ is error


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage("the broker", log, logging.WARNING)
    outage.recovered()
    assert caplog.records == [] and outage.reason is None
    for text in ("refused", "timed out"):
        outage.failed(BrokerError(text), "waiting with 7 documents")
        assert outage.reason == text
    outage.recovered()
    outage.recovered()
    assert outage.reason is None
    assert [(line.levelname, line.message) for line in caplog.records] == [
        ("WARNING", "the broker unavailable, waiting with 7 documents: refused"),
        ("INFO", "the broker back"),
    ]
    outage.failed(BrokerError("refused again"))
    assert caplog.records[-1].message == "the broker unavailable, retrying: refused again"


def test_an_error_without_words_still_counts_as_an_outage() -> None:
    outage = Outage("the database", log)
    outage.failed(StoreUnavailable())
    assert outage.reason == "StoreUnavailable"

"""Periodic tasks and the watchdog: what they wait out, and what ends the monitor."""

import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from monitor.runtime.tasks.periodic import PeriodicTask
from monitor.runtime.tasks.watchdog import Watchdog
from stream.domain.errors import StoreUnavailable
from stream.kafka.settings import KafkaSettings
from stream.lag import InHand
from stream.metrics import StreamMetrics


class Steps:
    """What a task calls: raises the errors one after another, then sets `done`."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors, self.done = list(errors), threading.Event()

    def __call__(self) -> None:
        if not self.errors:
            self.done.set()
            return
        error = self.errors.pop(0)
        if error:
            raise error


def periodic_task(steps: Steps, stopping: threading.Event, failures: list[BaseException]) -> PeriodicTask:
    return PeriodicTask(name="alerts", seconds=0.01, run_once=steps, stopping=stopping, fail=failures.append)


def test_a_task_waits_until_the_database_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    steps = Steps(StoreUnavailable("gone"), StoreUnavailable("gone"), None)
    stopping, failures = threading.Event(), []
    task = periodic_task(steps, stopping, failures)
    task.start()
    assert steps.done.wait(5)
    stopping.set()
    task.join(5)
    assert failures == []
    assert [record.message for record in caplog.records] == [
        "alerts: database or broker unavailable, retrying: gone",
        "alerts: database or broker back",
    ]


def test_a_task_that_waits_for_the_database_stops_when_asked() -> None:
    steps = Steps(*[StoreUnavailable("gone")] * 10_000)
    stopping, failures, ended = threading.Event(), [], threading.Event()
    task = PeriodicTask(
        name="alerts",
        seconds=0.01,
        run_once=steps,
        stopping=stopping,
        fail=failures.append,
        on_end=ended.set,
    )
    task.start()
    stopping.set()
    task.join(5)
    assert not task.is_alive()
    assert ended.is_set() and failures == []


def test_any_other_error_of_a_task_ends_the_monitor() -> None:
    failures: list[BaseException] = []
    error = ZeroDivisionError()
    task = periodic_task(Steps(error), threading.Event(), failures)
    task.start()
    task.join(5)
    assert failures == [error]


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class WorkerState:
    """What the watchdog sees of a worker; times are in the clock's seconds."""

    joined_at: float | None = 1000.0
    last_batch_at: float | None = None
    observed_at: float | None = 1000.0
    waiting: dict[tuple[str, int], int] = field(default_factory=dict)
    caught_up: dict[tuple[str, int], float] = field(default_factory=dict)
    held_since: dict[tuple[str, int], float] = field(default_factory=dict)
    in_hand: dict[str, InHand] = field(default_factory=dict)
    assignments: int = 0


class AnsweringStore:
    def ping(self) -> None:
        """Answers at once."""


@dataclass
class PipelineState:
    trouble: str | None = None


BACKLOG = {("news", 0): 5, ("news", 1): 0}
STUCK_SECONDS = 100.0
NO_BROKER = KafkaSettings(bootstrap_servers="127.0.0.1:1")


@pytest.fixture
def listening() -> Iterator[KafkaSettings]:
    """A port that accepts connections, which is all that the probe of the broker asks for."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield KafkaSettings(bootstrap_servers=f"127.0.0.1:{server.getsockname()[1]}")


class Scene:
    """A watchdog over a worker and a pipeline that the test controls."""

    def __init__(
        self, worker: WorkerState, kafka: KafkaSettings, pipeline: PipelineState | None = None
    ) -> None:
        self.clock, self.metrics = Clock(), StreamMetrics()
        make: Any = Watchdog
        self.watchdog = cast(
            Watchdog,
            make(
                worker=worker,
                pipeline=pipeline or PipelineState(),
                store=AnsweringStore(),
                kafka=kafka,
                metrics=self.metrics,
                stuck_seconds=STUCK_SECONDS,
                clock=self.clock,
            ),
        )

    def run_after(self, seconds: float, *, database_answers: bool = True) -> None:
        """Let the time pass, with the watchdog running every ten seconds."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + 10)
            if database_answers:
                self.watchdog.ping_database()
            self.watchdog.run_once()

    def suspend(self, seconds: float) -> None:
        """The whole process stands still, and goes on."""
        self.clock.now += seconds
        self.watchdog.ping_database()
        self.watchdog.run_once()


STUCK = [
    ("messages wait and no batch ends", WorkerState(waiting=BACKLOG), "5 messages wait and no batch"),
    ("the group is never joined", WorkerState(joined_at=None), "was not joined"),
    ("the worker no longer looks at its lag", WorkerState(observed_at=0.0), "no batch was committed"),
]


@pytest.mark.parametrize(("case", "worker", "message"), STUCK, ids=[case[0] for case in STUCK])
def test_the_watchdog_ends_a_process_that_is_stuck(
    case: str, worker: WorkerState, message: str, listening: KafkaSettings
) -> None:
    scene = Scene(worker, listening)
    scene.run_after(STUCK_SECONDS)
    with pytest.raises(RuntimeError, match=f"{message}.* for 101 s although broker and database answer"):
        scene.run_after(1)


def test_the_watchdog_accepts_a_worker_that_rests_works_or_waits(listening: KafkaSettings) -> None:
    later = 1000 + 2 * STUCK_SECONDS
    waits = PipelineState("database: gone")
    Scene(WorkerState(observed_at=later), listening).run_after(2 * STUCK_SECONDS)
    Scene(WorkerState(observed_at=later, waiting=BACKLOG, last_batch_at=later), listening).run_after(
        2 * STUCK_SECONDS
    )
    Scene(WorkerState(waiting=BACKLOG), NO_BROKER).run_after(2 * STUCK_SECONDS)
    Scene(WorkerState(waiting=BACKLOG), listening, waits).run_after(2 * STUCK_SECONDS)


def test_a_process_that_was_suspended_is_not_stuck_and_is_if_nothing_moves_afterwards(
    listening: KafkaSettings,
) -> None:
    scene = Scene(WorkerState(waiting=BACKLOG), listening)
    scene.suspend(10 * STUCK_SECONDS)
    scene.run_after(STUCK_SECONDS)
    with pytest.raises(RuntimeError, match="no batch was committed"):
        scene.run_after(1)


def test_a_database_that_hangs_counts_as_unavailable_until_it_answers(listening: KafkaSettings) -> None:
    scene = Scene(WorkerState(waiting=BACKLOG), listening)
    scene.run_after(8, database_answers=False)
    assert not scene.watchdog.database_unavailable
    scene.run_after(2 * STUCK_SECONDS, database_answers=False)
    assert scene.watchdog.database_unavailable
    scene.watchdog.ping_database()
    assert not scene.watchdog.database_unavailable


def lag_samples(metrics: StreamMetrics) -> dict[str, float]:
    (family,) = metrics.progress.lag.collect()
    return {sample.labels["partition"]: sample.value for sample in family.samples}


def test_the_lag_of_a_partition_that_was_taken_away_is_no_longer_shown(listening: KafkaSettings) -> None:
    worker = WorkerState()
    scene = Scene(worker, listening)
    for worker.waiting, shown in ((BACKLOG, {"0": 5, "1": 0}), ({("news", 1): 3}, {"1": 3})):
        scene.run_after(1)
        assert lag_samples(scene.metrics) == shown


def test_the_lag_is_unknown_while_the_broker_is_unavailable() -> None:
    scene = Scene(WorkerState(waiting=BACKLOG, caught_up={("news", 0): 7.0}), NO_BROKER)
    scene.run_after(1)
    assert lag_samples(scene.metrics) == {}
    assert [sample.value for sample in scene.metrics.progress.caught_up.collect()[0].samples] == [7.0]


def test_what_is_in_hand_and_which_partitions_are_paused_are_metrics_and_unknown_at_first() -> None:
    worker = WorkerState(caught_up={("news", 0): 7.0, ("news", 1): 7.0, ("comments", 0): 7.0}, assignments=1)
    scene = Scene(worker, NO_BROKER)
    progress = scene.metrics.progress
    (unknown,) = [s.value for s in progress.in_hand.labels("news").collect()[0].samples]
    assert unknown != unknown
    worker.in_hand = {"news": InHand(900, frozenset({1})), "comments": InHand(0, frozenset())}
    scene.run_after(1)
    bytes_in_hand = {s.labels["kafka_topic"]: s.value for s in progress.in_hand.collect()[0].samples}
    assert bytes_in_hand == {"news": 900, "comments": 0}
    paused = {tuple(s.labels.values()): s.value for s in progress.paused.collect()[0].samples}
    assert paused == {("news", "0"): 0, ("news", "1"): 1, ("comments", "0"): 0}
    worker.caught_up, worker.assignments = {("news", 1): 8.0}, 3
    scene.run_after(1)
    assert [s.labels["partition"] for s in progress.paused.collect()[0].samples] == ["1"]
    assert progress.rebalances.collect()[0].samples[0].value == 3

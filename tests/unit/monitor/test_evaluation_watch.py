"""Whether the rules are evaluated: noticed without comparing clocks, said in readiness and log."""

import logging

import pytest
from sqlalchemy import update

from alerts.delivery.pages import PageRouter
from alerts.evaluator import AlertEvaluator
from alerts.history.memory_store import MemoryStore
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from alerts.settings import SHIPPED_RULES
from monitor.runtime.tasks.alert_evaluation import AlertEvaluation, EvaluationWatch, MoodGauges
from stream.domain.documents import EPOCH
from stream.metrics import StreamMetrics
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.sql import database_time
from tests.unit.stream.samples import NOW
from tests.unit.stream.test_leases import move

OVERDUE = 120.0


class Monitor:
    """The evaluation of one of several monitors on one database."""

    def __init__(self, store: Store, name: str) -> None:
        self.seconds, lease = 1000.0, Lease(store, "alerts", name, 20)
        self.watch = EvaluationWatch(
            store=store, lease=lease, overdue_seconds=OVERDUE, clock=lambda: self.seconds
        )
        rule_file, memory = RuleFile(SHIPPED_RULES), MemoryStore([])
        self.metrics = AlertMetrics()
        self.evaluation = AlertEvaluation(
            rule_file=rule_file,
            evaluator=AlertEvaluator(
                rules=rule_file.rules,
                topics=("IPO",),
                reader=memory,
                episodes=memory,
                delivery=PageRouter(),
                window_width=store.width,
                metrics=self.metrics,
            ),
            lease=lease,
            watch=self.watch,
            mood=MoodGauges(store.reads, StreamMetrics(), store.width),
            metrics=self.metrics,
            clock=lambda: NOW,
        )

    def after(self, seconds: float) -> str | None:
        self.seconds += seconds
        self.evaluation.run_once()
        return self.watch.trouble

    @property
    def evaluated_at(self) -> float:
        (family,) = self.metrics.evaluated.collect()
        return float(family.samples[0].value)


def test_every_monitor_knows_that_another_one_evaluates(store: Store) -> None:
    holder, other = Monitor(store, "one:1"), Monitor(store, "two:2")
    for _ in range(4):
        assert holder.after(OVERDUE) is None
        assert other.after(OVERDUE) is None
    assert holder.evaluated_at == NOW.timestamp()
    assert other.evaluated_at != other.evaluated_at, "it never evaluated"


def test_a_holder_that_does_not_evaluate_is_named_in_readiness_and_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    holder, other = Lease(store, "alerts", "stuck:1", 20), Monitor(store, "two:2")
    assert holder.acquire()
    assert other.after(OVERDUE) is None
    message = (
        "no monitor has evaluated the alert rules for 121 s: stuck:1 holds the lease and does not; restart it"
    )
    assert other.after(1) == message
    assert holder.acquire()
    assert other.after(30) is not None
    assert [record.message for record in caplog.records] == [message]

    holder.release()
    assert other.after(1) is None
    assert caplog.records[-1].message == "the alert rules are evaluated again"


def test_a_lease_in_the_future_does_not_stop_the_evaluation(store: Store) -> None:
    """The holder had a clock that was ahead, and died."""
    assert Lease(store, "alerts", "dead:1", 20).acquire()
    with database.writing(store.engine) as connection:
        ahead = database_time(connection, NOW - EPOCH)
        connection.execute(update(schema.leases).values(expires_at=ahead))
    monitor = Monitor(store, "two:2")
    assert monitor.after(1) is None
    assert monitor.evaluated_at == NOW.timestamp()


def test_the_time_of_the_last_evaluation_is_still_shown_when_another_monitor_takes_over(store: Store) -> None:
    first, second = Monitor(store, "one:1"), Monitor(store, "two:2")
    first.after(1)
    move(store, -store.width)
    second.after(1)
    assert first.after(1) is None
    assert first.evaluated_at == NOW.timestamp()

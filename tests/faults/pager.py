"""A process that evaluates the rules and sends pages as a monitor does, with one injected fault.

    python -m tests.faults.pager DATABASE_URL FOLDER WEBHOOK_URL NAME [FAILPOINT]

FOLDER has the rules (rules.yaml) and the time (clock), which the test sets.  When the process first reaches
FAILPOINT, it kills itself.  It has the monitor's own tasks, without Kafka and without a model.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, event

from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.pages import PageRouter
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from monitor.runtime.tasks.alert_evaluation import AlertEvaluation, EvaluationWatch, MoodGauges
from monitor.runtime.tasks.outbox_sending import OutboxSending
from monitor.runtime.tasks.page_delivery import PageDelivery
from stream.metrics import StreamMetrics
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox
from stream.storage.settings import DatabaseSettings

TOPICS = ("Earnings",)
TARGET = "webhook:desk"
# The steps of a page, from the decision to the note that it was sent.
STEPS = ("before_save", "before_commit", "after_save", "before_post", "after_post", "after_note")
# A process that dies leaves its leases to the test, which gives them up as an operator can.
LEASE_SECONDS = 60


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def install(failpoint: str) -> None:
    """Install the fault by wrapping methods of the classes that the tasks are built from."""
    if failpoint == "before_commit":
        SqlEpisodeStore.save = with_fault_at_commit(SqlEpisodeStore.save)  # type: ignore[method-assign]
        return
    when, _, action = failpoint.partition("_")
    owner, name = {
        "save": (SqlEpisodeStore, "save"),
        "post": (Webhooks, "send"),
        "note": (Outbox, "mark_done"),
    }[action]
    setattr(owner, name, with_fault(getattr(owner, name), first=when == "before"))


def with_fault(function: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
    """Die before the function does anything, or when it has done all."""

    def wrapped(*args: Any, **kwargs: Any) -> None:
        if not first:
            function(*args, **kwargs)
        die()

    return wrapped


def with_fault_at_commit(save: Callable[..., None]) -> Callable[..., None]:
    """Die when all of it is written, and before it is committed."""

    def wrapped(*args: Any, **kwargs: Any) -> None:
        event.listen(Engine, "commit", lambda connection: die())
        save(*args, **kwargs)

    return wrapped


def main(url: str, folder: Path, hook: str, name: str) -> None:
    engine = database.connect(DatabaseSettings(url=SecretStr(url)))
    store, metrics, outbox = Store(engine, window_seconds=60), AlertMetrics(), Outbox(engine)

    def clock() -> datetime:
        return datetime.fromisoformat((folder / "clock").read_text())

    def lease(task: str) -> Lease:
        return Lease(store, task, name, LEASE_SECONDS)

    rule_file = RuleFile(folder / "rules.yaml", TOPICS)
    evaluator = AlertEvaluator(
        rules=rule_file.rules,
        topics=TOPICS,
        reader=store.reads,
        episodes=SqlEpisodeStore(store, lease("alerts"), "alerts"),
        delivery=PageRouter((TARGET,)),
        window_width=store.width,
        metrics=metrics,
    )
    evaluation = AlertEvaluation(
        rule_file=rule_file,
        evaluator=evaluator,
        lease=lease("alerts"),
        watch=EvaluationWatch(store=store, lease=lease("alerts"), overdue_seconds=600),
        mood=MoodGauges(store.reads, StreamMetrics(), timedelta(hours=1)),
        metrics=metrics,
        clock=clock,
    )
    sending = OutboxSending(
        targets=[TARGET],
        limit=100,
        outbox=outbox,
        lease=lease(TARGET),
        send=PageDelivery(
            webhooks=Webhooks({"desk": SecretStr(hook)}, 30),
            channels=Channels({}, 30),
            webhook_bytes=100_000,
            channel_bytes=4000,
            outbox=outbox,
            metrics=metrics,
            clock=clock,
        ),
        clock=clock,
        stopping=threading.Event(),
    )
    while True:
        evaluation.run_once()
        sending.run_once()
        time.sleep(0.05)


if __name__ == "__main__":
    _, database_url, place, webhook, own_name, *fault = sys.argv
    for each in fault:
        install(each)
    main(database_url, Path(place), webhook, own_name)

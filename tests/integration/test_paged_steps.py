"""A monitor that is killed between any two steps of a page, and two monitors at once: one page for the desk.

The steps are the writes to its database and their commits, from the evaluation that decides to the note that
the page was sent; each is the last of a process of its own.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, event

from alerts.delivery.notifiers import Channels, Webhooks
from alerts.delivery.pages import PageRouter
from alerts.detectors.threshold import ThresholdRule
from alerts.evaluator import AlertEvaluator
from alerts.metrics import AlertMetrics
from monitor.runtime.tasks.page_delivery import PageDelivery
from stream.domain.errors import LeaseLost
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.outbox import Outbox
from stream.storage.settings import DatabaseSettings
from tests.integration.upgrades import is_through, kill_at
from tests.parts import Receiver
from tests.unit.stream.samples import NOW, classified, write

MINUTE = timedelta(minutes=1)
TARGET = "webhook:desk"
WRITES = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE")
RULE = ThresholdRule.model_validate(
    {"name": "share", "type": "threshold", "watch": "negative_share", "threshold": 0.6, "topics": "all",
     "min_documents": 5, "window": "15m", "keep_firing_for": "1m"}
)  # fmt: skip
# When the rules are evaluated: while it fires, when it resolves, and when the calm is over.
TIMES = [NOW + minutes * MINUTE for minutes in (0, 31, 33, 154)]


class Room:
    """A file with a surge and the calm after it, and a monitor over it."""

    def __init__(self, path: Path, receiver: Receiver, holder: str) -> None:
        self.store = Store(database.connect(settings_of(path)), 60)
        self.lease = Lease(self.store, "alerts", holder, 20)
        self.outbox = Outbox(self.store.engine)
        self.evaluator = AlertEvaluator(
            rules=[RULE],
            topics=("Earnings",),
            reader=self.store.reads,
            episodes=SqlEpisodeStore(self.store, self.lease, "alerts"),
            delivery=PageRouter((TARGET,)),
            window_width=MINUTE,
            metrics=AlertMetrics(),
        )
        self.deliver = PageDelivery(
            webhooks=Webhooks({"desk": SecretStr(receiver.url)}, 5),
            channels=Channels({}, 5),
            webhook_bytes=100_000,
            channel_bytes=4000,
            outbox=self.outbox,
            metrics=AlertMetrics(),
            clock=lambda: TIMES[-1],
        )

    def run(self, clock: Path) -> None:
        """All of it: decide, save, send, and note what was sent.  `clock` has how far time has come, whatever
        becomes of the monitor."""
        for number in range(int(clock.read_text()), len(TIMES)):
            clock.write_text(str(number))
            self.evaluator.evaluate(TIMES[number])
            self.send(TIMES[number])
        self.store.engine.dispose()

    def send(self, now: datetime) -> None:
        while due := self.outbox.due([TARGET], now, 50):
            assert all(entry.attempts == 0 for entry in due), "the page could not be sent"
            self.deliver(due)


def settings_of(path: Path) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": f"sqlite:///{path}"})


@pytest.fixture
def surged(tmp_path: Path, upgraded_file: Path) -> Path:
    path = Path(shutil.copy(upgraded_file, tmp_path / "surged.db"))
    store = Store(database.connect(settings_of(path)), 60)
    bad = [classified(str(i), i, at=NOW - MINUTE, title=f"Bank {i} fails") for i in range(8)]
    calm = [classified(f"c{i}", 20 + i, at=NOW + 30 * MINUTE, sentiment="neutral") for i in range(8)]
    write(store, *bad, *calm)
    store.engine.dispose()
    return path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            work()
        finally:
            os._exit(1)
    return child


def pages_of(receiver: Receiver) -> list[tuple[str, str]]:
    return [(page["page"], page["key"]) for page in receiver.taken]


def killed_run(path: Path, clock: Path, receiver: Receiver, name: str, step: int) -> bool:
    """Run a monitor that is killed at its `step`-th event of this name, and then its successor; whether the
    first came through."""

    kill = kill_at(step)

    def at_write(_connection: object, _cursor: object, statement: str, *_arguments: object) -> None:
        if statement.startswith(WRITES):
            kill()

    def work() -> None:
        event.listen(Engine, name, kill if name == "commit" else at_write)
        Room(path, receiver, "monitor").run(clock)
        os._exit(0)

    clock.write_text("0")
    through = is_through(in_child(work))
    Room(path, receiver, "monitor").run(clock)
    return through


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["before_cursor_execute", "commit"])
def test_a_monitor_killed_between_any_two_steps_sends_one_beginning_and_one_end(
    surged: Path, receiver: Receiver, tmp_path: Path, name: str
) -> None:
    repeated = 0
    for step in range(1, 1000):
        path = Path(shutil.copy(surged, tmp_path / "killed.db"))
        receiver.taken.clear()
        through = killed_run(path, tmp_path / "clock", receiver, name, step)
        pages = pages_of(receiver)
        assert list(dict.fromkeys(kind for kind, _ in pages)) == ["begin", "end"], (step, pages)
        keys = {key.split(":", 1)[1] for _, key in pages}
        # Only what was sent and not noted comes again, with its key.
        assert keys == {"begin:1", "end:2"} and len(pages) <= 3, (step, pages)
        repeated += len(pages) - 2
        for rest in tmp_path.glob("killed.db*"):
            rest.unlink()
        if through:
            break
    assert step > 15 and repeated >= 2, "it was killed between sending each page and noting that"


def test_monitors_that_decide_at_the_same_time_send_one_beginning_and_one_end(
    surged: Path, receiver: Receiver
) -> None:
    def decide(holder: str, now: datetime) -> None:
        room = Room(surged, receiver, holder)
        with suppress(LeaseLost):
            room.evaluator.evaluate(now)
        # The next one may save at once what it decided before this one had saved.
        room.lease.release()
        os._exit(0)

    for now in TIMES:
        children = [in_child(partial(decide, holder, now)) for holder in ("first", "second", "third")]
        assert [is_through(child) for child in children] == [True] * 3
        Room(surged, receiver, "first").send(now)
    assert [kind for kind, _ in pages_of(receiver)] == ["begin", "end"]

"""Two monitors that page, as processes of their own, of which each is killed between every two steps."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stream.domain.records import Batch
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.known import page_keys
from stream.storage.leases import Lease, read_leases, release_leases
from stream.storage.settings import DatabaseSettings
from tests.conftest import ROOT
from tests.faults.pager import STEPS
from tests.parts import Receiver, wait_until
from tests.unit.stream.samples import NOW, classified, no_messages

HOUR = timedelta(hours=1)
# A loaded machine takes its time to start processes; the timeout of the test ends it sooner.
PATIENCE = 600
RULES = """rules: [{name: share, type: threshold, watch: negative_share, threshold: 0.5, topics: all,
  window: 10m, min_documents: 5, count: texts, keep_firing_for: 0s}]"""


@dataclass
class Pagers:
    """The processes over one database, their clock, and what their receiver was sent."""

    settings: DatabaseSettings
    store: Store
    folder: Path
    receiver: Receiver
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    written: int = 0

    def __post_init__(self) -> None:
        (self.folder / "rules.yaml").write_text(RULES)
        self.write_texts(NOW, sentiment="negative", score=-0.5)
        self.episodes = SqlEpisodeStore(self.store, Lease(self.store, "alerts", "test", 20), "alerts")

    def write_texts(self, now: datetime, **label: Any) -> None:
        """Six texts of the minute before, and it is now for all processes at once."""
        at, first = now - timedelta(minutes=1), self.written
        self.written += 6
        texts = [
            classified(str(number), number, at=at, title=f"Shares of day {number}", **label)
            for number in range(first, self.written)
        ]
        self.store.write(Batch(texts), no_messages, at)
        new = self.folder / "clock.new"
        new.write_text(now.isoformat())
        new.replace(self.folder / "clock")

    def start(self, name: str, *failpoint: str) -> subprocess.Popen[bytes]:
        url = self.settings.url.get_secret_value()
        words = [sys.executable, "-m", "tests.faults.pager", url, str(self.folder), self.receiver.url, name]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*words, *failpoint], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ)
            )
        self.running.append(process)
        return process

    def kill_at(self, failpoint: str, name: str) -> None:
        """Run one process until it dies at the step."""
        process = self.start(name, failpoint)
        assert process.wait(PATIENCE) == -signal.SIGKILL, (self.folder / f"{name}.log").read_text()[-3000:]
        self.give_up_leases()

    def kill_all(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.give_up_leases()

    def give_up_leases(self) -> None:
        """On behalf of those that are dead, so that nobody waits for the leases to run out."""
        for held in read_leases(self.store.engine):
            release_leases(self.store.engine, held.name)

    def sent(self) -> Counter[str]:
        """How often the receiver was sent each page, by its key."""
        taken = [page for page in list(self.receiver.taken) for page in (page, *page["others"])]
        assert all(page["key"] == f"{page['incident']}:{page['page']}:{page['number']}" for page in taken)
        return Counter(page["page"] for page in taken)


@pytest.fixture
def pagers(database_settings: DatabaseSettings, store: Store, tmp_path: Path) -> Iterator[Pagers]:
    with Receiver() as receiver:
        made = Pagers(database_settings, store, tmp_path, receiver)
        yield made
        made.kill_all()


def settled(pagers: Pagers, kinds: Sequence[str]) -> bool:
    """Whether these pages were sent, and the database notes that none is left to send."""
    from stream.storage.outbox import Outbox

    is_done = not Outbox(pagers.store.engine).is_due(["webhook:desk"], NOW + 99 * HOUR)
    return is_done and pagers.sent().keys() >= set(kinds)


@pytest.mark.parametrize("step", STEPS)
def test_an_incident_has_one_beginning_and_one_end_wherever_a_monitor_is_killed(
    pagers: Pagers, step: str
) -> None:
    pagers.kill_at(step, "a")
    # Two go on, until the alert is over and the incident is not yet.
    pagers.start("b")
    pagers.start("c")
    wait_until(lambda: settled(pagers, ["begin"]), PATIENCE, "the first page")
    pagers.write_texts(NOW + HOUR, sentiment="neutral", score=0.0)
    wait_until(lambda: not pagers.episodes.open_alerts(), PATIENCE, "the end of the alert")
    pagers.kill_all()
    pagers.write_texts(NOW + 4 * HOUR, sentiment="neutral", score=0.0)
    pagers.kill_at(step, "d")
    pagers.start("e")
    pagers.start("f")
    wait_until(lambda: settled(pagers, ["begin", "end"]), PATIENCE, "the last page")
    # A page that was sent and not yet noted is sent again, by its key; nothing else is.
    times = 2 if step == "after_post" else 1
    assert pagers.sent() == {"begin": times, "end": times}
    (incident, *others) = {page["incident"] for page in pagers.receiver.taken}
    assert not others and page_keys(pagers.store.engine) == [f"{incident}:begin:1", f"{incident}:end:2"]

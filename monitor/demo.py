"""The embedded default: broker, database, feed and monitor in one process, for a first look."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
from kafka.errors import KafkaError

from monitor.daemon import Daemon, utc_now
from monitor.embedded import API_VERSION, EmbeddedBroker
from monitor.sample import Sample, SampleFeed
from monitor.settings import Settings
from stream import broker, database

log = logging.getLogger(__name__)

RULES = Path(__file__).parent / "demo_rules.yaml"
HISTORY = timedelta(minutes=15)
PER_SECOND = 2.0
SURGE_AFTER, SURGE_LASTS, SURGE_PER_SECOND = 30.0, 25.0, 5.0
# The embedded broker drops what lies more than some megabytes back: never run that far ahead.
MOST_LAG = 4000


def demo_settings(settings: Settings, file: Path, bootstrap: str) -> Settings:
    """The settings of the demo: its own broker, database, rules and short windows; the rest as given.

    No page leaves: the news is invented, the desk is not.
    """
    return settings.model_validate(
        settings.model_dump()
        | {
            "kafka": settings.kafka.model_dump()
            | {"bootstrap_servers": bootstrap, "api_version": API_VERSION},
            "database": {"url": f"sqlite:///{file}"},
            "stream": settings.stream.model_dump() | {"window_seconds": 10, "mood_seconds": 60},
            "alerts": settings.alerts.model_dump()
            | {"rules": RULES, "interval_seconds": 1.0, "webhooks": {}, "alertmanagers": {}},
        }
    )


class Demo:
    """Runs the whole monitor on a folder for its database, which starts empty every time."""

    def __init__(self, settings: Settings, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        for name in ("demo.db", "demo.db-wal", "demo.db-shm"):
            (state / name).unlink(missing_ok=True)
        self._broker = EmbeddedBroker()
        self.settings = demo_settings(settings, state / "demo.db", self._broker.bootstrap)
        kafka = self.settings.kafka
        self._broker.create((*kafka.kinds, *kafka.written))
        database.upgrade(self.settings.database)
        self.daemon = Daemon(self.settings)
        self._stopping = threading.Event()
        self._feeder = threading.Thread(target=self._feed, name="feed", daemon=True)
        self.phase = "starting"

    def run(self) -> None:
        """Work until interrupted; then everything is taken down."""
        self._feeder.start()
        try:
            self.daemon.run()
        finally:
            self._stopping.set()
            self._feeder.join(5)
            self._broker.close()

    def _feed(self) -> None:
        feed = SampleFeed(run=format(int(time.time()), "x"))
        producer = broker.producer(self.settings.kafka, linger_ms=20)
        topics = {kind: topic for topic, kind in self.settings.kafka.kinds.items()}

        def send(sample: Sample) -> None:
            producer.send(topics[sample.kind], msgspec.json.encode(sample.message))

        try:
            self.phase = f"history: the last {HISTORY.total_seconds() / 60:.0f} minutes, stamped"
            for sample in feed.history(utc_now(), HISTORY, PER_SECOND):
                send(sample)
            producer.flush(timeout=10)
            self._wait_for(self._caught_up, "history")
            self._live(feed, send)
        except KafkaError as error:
            log.error("the sample feed ended: %s", error)
        finally:
            producer.close(timeout=2)

    def _live(self, feed: SampleFeed, send: Callable[[Sample], None]) -> None:
        """Calm texts all the time, and after half a minute the surge for a while on top."""
        started = time.monotonic()
        calm = surge = 0
        while not self._stopping.wait(0.1):
            if sum(self.daemon.worker.waiting.values()) > MOST_LAG:
                continue
            elapsed = time.monotonic() - started
            surging = min(max(0.0, elapsed - SURGE_AFTER), SURGE_LASTS)
            self.phase = _phase(elapsed)
            for _ in range(int(elapsed * PER_SECOND) - calm):
                calm += 1
                send(feed.calm(utc_now()))
            for _ in range(int(surging * SURGE_PER_SECOND) - surge):
                surge += 1
                send(feed.surge(utc_now()))

    def _caught_up(self) -> bool:
        return self.daemon.judged >= 0.95 * HISTORY.total_seconds() * PER_SECOND

    def _wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and not self._stopping.wait(0.2):
            if time.monotonic() > deadline:
                log.warning("going on although the %s is not through yet", what)
                return


def _phase(elapsed: float) -> str:
    if elapsed < SURGE_AFTER:
        return f"live, calm; bad news about a bank in {SURGE_AFTER - elapsed:.0f} s"
    if elapsed < SURGE_AFTER + SURGE_LASTS:
        return "live: bad news about a bank is breaking"
    return "live, calm again"

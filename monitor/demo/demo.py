"""The embedded default: broker, database, feed and monitor in one process, for a first look."""

import threading
from datetime import timedelta
from pathlib import Path

from monitor.demo.embedded import API_VERSION, EmbeddedBroker
from monitor.demo.feeder import Plan, SampleRun
from monitor.runtime.daemon import Daemon
from monitor.runtime.settings import Settings
from stream.storage import database

RULES = Path(__file__).with_name("rules.yaml")
PLAN = Plan(timedelta(minutes=15), per_second=2.0)
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
            | {"rules": RULES, "interval_seconds": 1.0, "webhooks": {}, "channels": {}, "alertmanagers": {}},
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
        self.daemon = Daemon.build(self.settings)
        self._stopping = threading.Event()
        self._sample = SampleRun(kafka, PLAN, self._stopping, ahead=self._ahead, caught_up=self._caught_up)
        self._feeder = threading.Thread(target=self._sample.run, name="feed", daemon=True)

    def run(self) -> None:
        """Work until interrupted; then everything is taken down."""
        self._feeder.start()
        try:
            self.daemon.run()
        finally:
            self._stopping.set()
            self._feeder.join(5)
            self._broker.close()

    @property
    def phase(self) -> str:
        """What the feed does just now."""
        return self._sample.phase

    def _ahead(self) -> bool:
        return sum(self.daemon.monitor.worker.waiting.values()) > MOST_LAG

    def _caught_up(self) -> bool:
        return (
            self.daemon.monitor.count_documents("ok", "uncertain")
            >= 0.95 * PLAN.history.total_seconds() * PLAN.per_second
        )

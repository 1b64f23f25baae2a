"""The demo: broker, database, sample feed and monitor in one process."""

import threading
from datetime import timedelta
from pathlib import Path

from monitor.demo.embedded import API_VERSION, EmbeddedBroker
from monitor.demo.feeder import Plan, SampleRun
from monitor.runtime.daemon import Daemon
from monitor.runtime.settings import Settings
from stream.storage import database

RULES = Path(__file__).with_name("rules.yaml")
ENTITIES = Path(__file__).with_name("entities.yaml")
PLAN = Plan(timedelta(minutes=15), per_second=2.0)
# The embedded broker keeps only some megabytes per partition: the feed must not get further ahead.
MAX_LAG = 4000


def demo_settings(settings: Settings, file: Path, bootstrap: str) -> Settings:
    """The settings with the demo's own broker, database, rules, companies and short windows.

    Notifications are off: the news is invented, but the receivers are real.
    """
    return settings.model_validate(
        settings.model_dump()
        | {
            "kafka": settings.kafka.model_dump()
            | {"bootstrap_servers": bootstrap, "api_version": API_VERSION},
            "database": {"url": f"sqlite:///{file}"},
            "models": settings.models.model_dump() | {"entities": ENTITIES},
            "stream": settings.stream.model_dump() | {"window_seconds": 10, "mood_seconds": 60},
            "alerts": settings.alerts.model_dump()
            | {"rules": RULES, "interval_seconds": 1.0, "incidents": {"calm_seconds": 20.0}}
            | {"webhooks": {}, "channels": {}, "alertmanagers": {}, "escalation": (), "digest": None},
        }
    )


class Demo:
    """The whole monitor, with its database in a folder; the database is emptied at every start."""

    def __init__(self, settings: Settings, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        for name in ("demo.db", "demo.db-wal", "demo.db-shm"):
            (state / name).unlink(missing_ok=True)
        self._broker = EmbeddedBroker()
        self.settings = demo_settings(settings, state / "demo.db", self._broker.bootstrap)
        kafka = self.settings.kafka
        self._broker.create((*kafka.kinds, *kafka.output_topics))
        database.upgrade(self.settings.database)
        self.daemon = Daemon.build(self.settings)
        self._stopping = threading.Event()
        self._sample = SampleRun(
            kafka, PLAN, self._stopping, is_ahead=self._is_ahead, has_caught_up=self._has_caught_up
        )
        self._feeder = threading.Thread(target=self._sample.run, name="feed", daemon=True)

    def run(self) -> None:
        """Work until interrupted, then stop everything."""
        self._feeder.start()
        try:
            self.daemon.run()
        finally:
            self._stopping.set()
            self._feeder.join(5)
            self._broker.close()

    @property
    def phase(self) -> str:
        """What the sample feed does now, in words."""
        return self._sample.phase

    def _is_ahead(self) -> bool:
        return sum(self.daemon.monitor.worker.waiting.values()) > MAX_LAG

    def _has_caught_up(self) -> bool:
        return (
            self.daemon.monitor.count_documents("ok", "uncertain")
            >= 0.95 * PLAN.history.total_seconds() * PLAN.per_second
        )

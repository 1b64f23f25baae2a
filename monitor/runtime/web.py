"""The web application alone: the desk's pages over the database, without a worker."""

import logging
import signal
import threading
from functools import partial

from prometheus_client import CollectorRegistry

from alerts.errors import RuleError
from alerts.rules.rule_file import RuleFile
from alerts.schedules.mute_file import KnownNames, MuteFile
from models.network.info import read_info
from models.plan import event_types
from monitor.entity_ids import resolver_of_settings
from monitor.runtime import open_files
from monitor.runtime.assembly import process_name, utc_now
from monitor.runtime.http import Endpoint
from monitor.runtime.settings import Settings
from monitor.runtime.signals import handle_signals
from monitor.runtime.tasks.periodic import PeriodicTask
from monitor.web.access.logins import Logins
from monitor.web.app import desk_routes
from monitor.web.desk import PAGE_THREADS, Desk
from monitor.web.threads import Threads
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.stories.publishers import load_publishers

log = logging.getLogger(__name__)

PING_SECONDS = 2.0
# A database that has not answered for so many pings counts as unavailable.
MISSED_PINGS = 4


def web_desk(settings: Settings) -> Desk:
    """The desk of a process without a classifier: it explains no text.

    Raises RuleError, ModelError, SchemaError, and StoreUnavailable if the database does not answer.
    """
    alerts, topics = settings.alerts, tuple(read_info(settings.models.weights).labels["topic"])
    resolve, types = resolver_of_settings(settings.models), tuple(event_types(settings.models))
    publishers = load_publishers(settings.stream.publishers)
    store = Store(database.connect_existing(settings.database), settings.stream.window_seconds, publishers)
    known = KnownNames(topics, time_zone=alerts.time_zone, resolve=resolve)
    lease = Lease(store, "alerts", process_name(), alerts.lease_seconds)
    return Desk(
        settings=settings,
        store=store,
        episodes=SqlEpisodeStore(store, lease, settings.kafka.alerts),
        rule_file=RuleFile(
            alerts.rules, topics, alerts.time_zone, resolve, alerts.watchlist, event_types=types
        ),
        mute_file=MuteFile(alerts.mutes, known) if alerts.mutes else None,
        topics=topics,
        event_types=types,
        clock=utc_now,
        threads=Threads(PAGE_THREADS, settings.http.request_seconds / 2),
        classifier=None,
        logins=Logins(settings.http, store.engine, utc_now),
    )


class WebServer:
    """The desk's pages on the HTTP port, until `stop`."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError if the port cannot be used, and what `web_desk` raises."""
        open_files.raise_limit()
        self._stopping, self._missed = threading.Event(), 0
        self._endpoint = Endpoint(settings.http, CollectorRegistry(), self._problems)
        try:
            self._desk = web_desk(settings)
        except BaseException:
            self._endpoint.close()
            raise
        self._endpoint.open(desk_routes(self._desk), self._desk.live.close, self._desk.logins)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return self._endpoint.url

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM or `stop`."""
        handle_signals({signal.SIGINT: self.stop, signal.SIGTERM: self.stop, signal.SIGHUP: self.stop})
        log.info("web application running: %s", self.url)
        task = partial(PeriodicTask, stopping=self._stopping, fail=lambda _error: self.stop())
        task(name="database", seconds=PING_SECONDS, run_once=self._ping).start()
        task(
            name="rules", seconds=self._desk.settings.alerts.interval_seconds, run_once=self._read_rules
        ).start()
        self._stopping.wait()
        self._endpoint.close()
        self._desk.store.engine.dispose()
        log.info("stopped")

    def stop(self) -> None:
        """Ask for the end, from any thread."""
        self._stopping.set()

    def _problems(self) -> list[str]:
        return ["the database does not answer"] if self._missed >= MISSED_PINGS else []

    def _ping(self) -> None:
        self._missed += 1
        self._desk.store.ping()
        self._missed = 0

    def _read_rules(self) -> None:
        """A file with errors leaves the rules as they were."""
        try:
            if self._desk.rule_file.changed():
                log.info("the rules were read again: %d", len(self._desk.rules))
        except RuleError as error:
            log.error("the rules stay as they were: %s", error)

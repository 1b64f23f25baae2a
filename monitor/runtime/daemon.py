"""The daemon: serves its status, builds the monitor, runs it, and takes it down in order."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable

import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector

from monitor.runtime import open_files
from monitor.runtime.assembly import Monitor, assemble
from monitor.runtime.build import BuildMetrics
from monitor.runtime.classifier import LoadClassifier, load_engine
from monitor.runtime.http import Endpoint
from monitor.runtime.interpreter import tuned_interpreter
from monitor.runtime.log import LEVELS, level_name, lines_lost, set_level
from monitor.runtime.proxies import keep_loopback_direct
from monitor.runtime.settings import Settings, SettingsError
from monitor.runtime.shutdown import Shutdown
from monitor.runtime.signals import handle_signals, ignore_signals
from monitor.runtime.status import ReadinessMetrics, Status
from monitor.web.app import desk_routes

log = logging.getLogger(__name__)

JOIN_SECONDS = 10


class Daemon:
    """One monitor and its HTTP endpoint; `build` makes it, `run` runs it once."""

    def __init__(
        self,
        monitor: Monitor,
        endpoint: Endpoint,
        shutdown: Shutdown,
        read_settings: Callable[[], Settings] | None = None,
    ) -> None:
        self.monitor = monitor
        self._endpoint, self._shutdown, self._read_settings = endpoint, shutdown, read_settings

    @classmethod
    def build(
        cls,
        settings: Settings,
        load: LoadClassifier = load_engine,
        read_settings: Callable[[], Settings] | None = None,
    ) -> "Daemon":
        """Start the HTTP endpoint, which answers that the monitor is starting, and build the monitor.

        `read_settings` reads the settings again on SIGHUP; without it SIGHUP stops the monitor, as the end of
        a terminal should.  Loads the classifier, and needs broker and database to answer.  Raises
        SettingsError where the HTTP port is taken, and what `assemble` raises.
        """
        open_files.raise_limit()
        keep_loopback_direct()
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(lines_lost)
        build = BuildMetrics(registry)
        shutdown = Shutdown()
        status = Status(shutdown.stopping)
        ReadinessMetrics(registry, status.reasons)
        endpoint = Endpoint(settings.http, registry, status.problems)
        try:
            monitor = assemble(
                settings=settings, registry=registry, shutdown=shutdown, http_url=endpoint.url, load=load
            )
        except BaseException:
            endpoint.close()
            raise
        build.show_model(monitor.classifier.version)
        status.built(monitor)
        endpoint.open(desk_routes(monitor.desk), monitor.desk.live.close, monitor.desk.logins)
        return cls(monitor, endpoint, shutdown, read_settings)

    @property
    def url(self) -> str:
        """Where the HTTP endpoint is reached."""
        return self._endpoint.url

    def run(self) -> None:
        """Work until SIGINT, SIGTERM or `stop`, then drain.  Raises the error that ended it otherwise."""
        hang_up = self.stop if self._read_settings is None else self.reload
        handle_signals({signal.SIGINT: self.stop, signal.SIGTERM: self.stop, signal.SIGHUP: hang_up})
        try:
            with tuned_interpreter():
                uvloop.run(self._run())
        finally:
            self._shutdown.stopping.set()
            self._endpoint.close()
            self.monitor.store.engine.dispose()
            # Until the process is gone: another one must not turn a clean end into an unclean one.
            ignore_signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
            self._shutdown.finish()

    def stop(self) -> None:
        """Ask for the end, from any thread; a process that does not end in time is cut short."""
        self._shutdown.request()

    def reload(self) -> None:
        """Use the log level of the settings as they are now, and read the rules and mutes again."""
        self.monitor.rule_file.expire()
        if self.monitor.mute_file is not None:
            self.monitor.mute_file.expire()
        try:
            level = (self._read_settings or (lambda: self.monitor.settings))().log.level
        except SettingsError as error:
            log.error("reload: the log level stays, since the settings have errors: %s", error)
            return
        # At the old level or at the new one: a change from one to the other is seen.
        set_level(min(level, level_name(), key=LEVELS.index))
        log.info(
            "reload: log level %s; rules and mutes are read again within %g s; other settings need a restart",
            level,
            self.monitor.settings.alerts.interval_seconds,
        )
        set_level(level)

    async def _run(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._shutdown.on_request(lambda: loop.call_soon_threadsafe(stop.set))
        for task in self.monitor.tasks:
            task.start()
        description = self.monitor.classifier.description
        log.info("monitor running: model %s, metrics at %s/metrics", description, self.url)
        try:
            await self.monitor.worker.run(stop)
        finally:
            self._shutdown.stopping.set()
            await _join(self.monitor.tasks)
            self.monitor.leases.release_all()
            # The loop closes now, and another request may still come.
            self._shutdown.on_request(self._shutdown.stopping.set)
        log.info("stopped")


async def _join(threads: Iterable[threading.Thread]) -> None:
    """Wait JOIN_SECONDS for all of them together; one that waits for a receiver ends with the process."""
    deadline = time.monotonic() + JOIN_SECONDS
    for thread in threads:
        await asyncio.to_thread(thread.join, max(0.0, deadline - time.monotonic()))

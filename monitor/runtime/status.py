"""What the HTTP endpoint says about the monitor, from its start to its end."""

import threading

from monitor.runtime.assembly import Monitor
from monitor.web.alert_pages import AlertPages


class Status:
    """Readiness and pages.  Until `built` is called the monitor is starting."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._monitor: Monitor | None = None

    def built(self, monitor: Monitor) -> None:
        """From now on the parts of this monitor are asked."""
        self._monitor = monitor

    def problems(self) -> list[str]:
        """Why the monitor is not ready; empty when it is."""
        monitor = self._monitor
        if monitor is None:
            return ["starting"]
        servers = monitor.settings.kafka.bootstrap_servers
        checks = [
            (monitor.worker.joined_at is None, "the consumer group is not joined yet"),
            (monitor.pipeline.trouble is not None, monitor.pipeline.trouble or ""),
            (monitor.watchdog.database_unavailable, "the database does not answer"),
            (monitor.watchdog.broker_unavailable, f"no broker answers at {servers}"),
            (monitor.evaluation_watch.trouble is not None, monitor.evaluation_watch.trouble or ""),
            (self._stopping.is_set(), "stopping"),
        ]
        return [problem for is_true, problem in checks if is_true]

    def pages(self) -> AlertPages | None:
        """The pages for people; None while the monitor is starting."""
        return None if self._monitor is None else self._monitor.pages

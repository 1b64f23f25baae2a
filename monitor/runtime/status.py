"""What the HTTP endpoint says about the monitor, from its start to its end."""

import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from monitor.runtime.assembly import Monitor


class Unready(StrEnum):
    """Why a monitor is not ready; also the values of the label `reason`."""

    STARTING = "starting"
    GROUP = "group"  # the consumer group is not joined yet
    WAITING = "waiting"  # batches wait: for the database, or a circuit breaker is open
    DATABASE = "database"
    BROKER = "broker"
    ALERTS = "alerts"  # no monitor evaluates the alert rules
    STORIES = "stories"  # documents wait too long for their story
    STOPPING = "stopping"


class Status:
    """Readiness.  Until `built` is called the monitor is starting."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._monitor: Monitor | None = None

    def built(self, monitor: Monitor) -> None:
        """From now on the parts of this monitor are asked."""
        self._monitor = monitor

    def reasons(self) -> dict[Unready, str]:
        """Why the monitor is not ready; empty when it is."""
        monitor = self._monitor
        if monitor is None:
            return {Unready.STARTING: "starting"}
        servers = monitor.settings.kafka.bootstrap_servers
        checks = {
            Unready.GROUP: "the consumer group is not joined yet"
            if monitor.worker.joined_at is None
            else None,
            Unready.WAITING: monitor.pipeline.trouble,
            Unready.DATABASE: "the database does not answer"
            if monitor.watchdog.database_unavailable
            else None,
            Unready.BROKER: f"no broker answers at {servers}"
            if monitor.watchdog.broker_unavailable
            else None,
            Unready.ALERTS: monitor.evaluation_watch.trouble,
            Unready.STORIES: monitor.story_watch.trouble,
            Unready.STOPPING: "stopping" if self._stopping.is_set() else None,
        }
        return {reason: problem for reason, problem in checks.items() if problem is not None}

    def problems(self) -> list[str]:
        """The same as sentences."""
        return list(self.reasons().values())


class ReadinessMetrics:
    """Whether the monitor is ready, by reason, as of each scrape."""

    def __init__(
        self, registry: CollectorRegistry, reasons: Callable[[], Mapping[Unready, str]] = dict
    ) -> None:
        self._reasons = reasons
        gauge = Gauge(
            "sentiment_not_ready",
            "1 while the monitor is not ready for this reason; /readyz says more",
            ["reason"],
            registry=registry,
        )
        for reason in Unready:
            gauge.labels(reason).set_function(partial(self._holds, reason))

    def _holds(self, reason: Unready) -> float:
        return float(reason in self._reasons())

"""Shows on /metrics what the database and Kafka say of all monitors together."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from monitor.runtime.settings import Settings
from stream.domain.errors import BrokerError, StoreUnavailable
from stream.kafka import admin
from stream.kafka.settings import KafkaSettings
from stream.metrics import UNKNOWN, InstallationMetrics
from stream.storage import database
from stream.storage.batches import Store
from stream.storage.leases import read_leases
from stream.storage.outbox import KAFKA_PREFIX, Outbox

log = logging.getLogger(__name__)


def topic_targets(settings: Settings) -> list[str]:
    """The Kafka topics that a monitor sends to, as the outbox names them."""
    return [KAFKA_PREFIX + name for name in (*settings.kafka.output_topics, settings.kafka.news)]


def outbox_targets(settings: Settings) -> list[str]:
    """Everything that a monitor sends to, as the outbox names it."""
    return [*topic_targets(settings), *settings.alerts.targets]


def lease_names(settings: Settings) -> list[str]:
    """The leases of a monitor's background tasks."""
    tasks = ("alertmanager", "silences")
    alertmanagers = (f"{task}:{name}" for task in tasks for name in settings.alerts.alertmanagers)
    return ["alerts", "stories", "purge", *alertmanagers, *outbox_targets(settings)]


class InstallationWatch:
    """Reads outbox, leases, schema and the latest document from SQL, and the group's members from Kafka.

    What cannot be read is hidden.
    """

    def __init__(
        self,
        *,
        store: Store,
        outbox: Outbox,
        kafka: KafkaSettings,
        holders: Callable[[], Mapping[str, str]],
        metrics: InstallationMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        """`holders` gives this monitor's name as the holder of each of its leases."""
        self._store, self._outbox, self._kafka = store, outbox, kafka
        self._holders, self._metrics, self._clock = holders, metrics, clock

    def look_at_database(self) -> None:
        """Raises StoreUnavailable."""
        metrics = self._metrics
        try:
            metrics.show_outbox(self._outbox.by_target(self._clock()))
            metrics.show_leases(read_leases(self._store.engine), self._holders())
            received = self._store.reads.last_received()
            metrics.last_document.set(received.timestamp() if received else UNKNOWN)
            metrics.schema_revision.set(int(database.read_revision(self._store.engine) or 0))
        except StoreUnavailable:
            metrics.hide()
            raise

    def look_at_group(self) -> None:
        """The watchdog says that no broker answers; one that does not know the members is no trouble."""
        try:
            self._metrics.workers.set(len(admin.members(self._kafka)))
        except BrokerError as error:
            log.debug("the members of the group are unknown: %s", error)
            self._metrics.workers.set(UNKNOWN)

"""Erases texts that are older than the retention time, in one monitor at a time."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from stream.domain.documents import EPOCH
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.retention import purge

log = logging.getLogger(__name__)


class Purge:
    """Erases old texts and heartbeats, where this monitor holds the lease."""

    def __init__(
        self, *, store: Store, lease: Lease, retention: timedelta | None, clock: Callable[[], datetime]
    ) -> None:
        """`retention` is how long texts are kept; None: for ever, and only heartbeats are erased."""
        self._store, self._lease, self._retention, self._clock = store, lease, retention, clock

    def run_once(self) -> None:
        if not self._lease.acquire():
            return
        now = self._clock()
        erased = purge(self._store, now - self._retention if self._retention else EPOCH, now)
        if erased.documents:
            log.info(
                "erased the texts of %d documents and the evidence of %d alerts",
                erased.documents,
                erased.alerts,
            )

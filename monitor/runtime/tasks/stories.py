"""Assigns documents to stories, in one monitor at a time, and watches how far behind that is."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from alerts.windows.counting import FAR_BEHIND
from stream.domain.errors import LeaseLost, StoreUnavailable
from stream.metrics import UNKNOWN, StoryMetrics
from stream.storage.batches import Store
from stream.storage.story_task import CHUNK, StoryStore

log = logging.getLogger(__name__)


class Stories:
    """Assigns the documents that wait for their story, where this monitor holds the lease."""

    def __init__(self, *, store: StoryStore, metrics: StoryMetrics, stopping: threading.Event) -> None:
        self._store, self._metrics, self._stopping = store, metrics, stopping

    def run_once(self) -> None:
        """Assign documents until few wait.  Raises StoreUnavailable."""
        try:
            while not self._stopping.is_set():
                assigned = self._store.assign_next()
                self._metrics.count(assigned)
                if len(assigned) < CHUNK:
                    return
        except LeaseLost:
            self._store.forget()


class StoryWatch:
    """Notices that documents wait too long for their story, whichever monitor assigns them."""

    def __init__(self, *, store: Store, metrics: StoryMetrics, clock: Callable[[], datetime]) -> None:
        self._store, self._metrics, self._clock = store, metrics, clock
        self._behind = timedelta(0)

    @property
    def trouble(self) -> str | None:
        """Why stories cannot be trusted, for people; None while few wait."""
        if self._behind <= FAR_BEHIND:
            return None
        return (
            f"documents have waited {self._behind.total_seconds():.0f} s for their story, so rules count "
            "texts instead of voices; `monitor status` shows who holds the lease stories"
        )

    def look(self) -> None:
        """Look how long documents wait.  Raises StoreUnavailable."""
        had_trouble = self.trouble is not None
        try:
            oldest = self._store.reads.oldest_waiting()
        except StoreUnavailable:
            self._metrics.waiting_since.set(UNKNOWN)
            raise
        self._metrics.waiting_since.set(oldest.timestamp() if oldest else UNKNOWN)
        self._behind = self._clock() - oldest if oldest else timedelta(0)
        if self.trouble and not had_trouble:
            log.error("%s", self.trouble)
        elif had_trouble and not self.trouble:
            log.info("documents get their stories in time again")

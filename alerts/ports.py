"""What the alerts need of a store: `stream.storage` has it over SQL, `alerts.backtest` over a list."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from stream.domain.alerts import Alert, EvidenceItem, PageRequest, Transition
from stream.domain.sums import Aggregate, Scope, Selection


class AggregateReader(Protocol):
    """What rules ask of the documents.  An empty selection is every document."""

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""

    def sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        """The same by stretches of `width`, counted from the epoch: those with data, in order."""

    def most_negative(self, scope: Scope, limit: int) -> list[EvidenceItem]:
        """The lowest-scored documents."""

    def negative_writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        """How many negative documents each source has, most first, and how many authors wrote them."""

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        """When each source last published a document of whatever sort, those that did."""

    def late_windows(self, since: datetime, before: datetime) -> list[datetime]:
        """The windows that judged documents fall in which were received at `since` or later and published
        before `before`, in order."""


class EpisodeStore(Protocol):
    """Where the episodes of alerts are kept."""

    def open_alerts(self) -> list[Alert]:
        """The episodes that are pending, firing or flapping."""

    def past_alerts(self, since: datetime) -> list[Alert]:
        """The episodes that fired and were resolved at `since` or later, in the order they ended."""

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        transitions: Sequence[Transition],
        page_requests: Sequence[PageRequest],
        now: datetime,
    ) -> None:
        """Write everything or nothing: episodes, ids to drop, transitions, pages that wait to be sent."""

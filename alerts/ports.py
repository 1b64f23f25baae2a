"""What the alert room needs of a store; `stream` has it over SQL, `alerts.replay` over a list of texts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from stream.domain.alerts import Alert, Exhibit, Notice, Turn
from stream.domain.sums import Aggregate, Scope, Selection


class AlertStore(Protocol):
    """An empty selection is every document."""

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""

    def cells(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        """The same by stretches of `width`, counted from the epoch: those with data, in order."""

    def most_negative(self, scope: Scope, limit: int) -> list[Exhibit]:
        """The lowest-scored documents."""

    def writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        """How many negative documents each source has, most first, and how many authors wrote them."""

    def heard(self, scope: Scope) -> dict[str, datetime]:
        """When each source last published a document of whatever sort, those that did."""

    def late(self, since: datetime, before: datetime) -> list[datetime]:
        """The windows that judged documents fall in which were received at `since` or later and published
        before `before`, in order."""

    def open_alerts(self) -> list[Alert]:
        """The episodes that are pending, firing or flapping."""

    def past_alerts(self, since: datetime) -> list[Alert]:
        """The episodes that fired and were resolved at `since` or later, in the order they ended."""

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        turns: Sequence[Turn],
        notices: Sequence[Notice],
        now: datetime,
    ) -> None:
        """Write everything or nothing: episodes, ids to drop, transitions, pages that wait to be sent."""

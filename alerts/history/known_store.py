"""What was known at an earlier moment, as a store that rules can be evaluated over again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.baselines.baseline import HOUR
from alerts.history.memory_store import MemoryStore, Text
from stream.domain.alerts import Alert
from stream.domain.documents import EPOCH, Precision
from stream.domain.sums import Aggregate, Scope, Selection, window_start


@dataclass(frozen=True, slots=True)
class KnownText:
    """A document as it was known: its text, the model that had labelled it, and how often it had changed.

    One that `counts` not has no label, and is in no sum.  `since` says in words what changed later, empty if
    nothing did; `is_unsettled` whether it changed in the very seconds of the moment.
    """

    text: Text
    version: int = 0
    model: str = ""
    received_at: datetime = EPOCH
    counts: bool = True
    since: str = ""
    is_unsettled: bool = False


class KnownStore(MemoryStore):
    """The store as the database was: it counts whole stored windows, and texts without an exact time too."""

    def __init__(
        self,
        known: Sequence[KnownText],
        width: timedelta,
        alerts: Sequence[Alert] = (),
        stories_since: datetime | None = None,
    ) -> None:
        """`width` is that of the stored windows, and `alerts` are the episodes of then, open or ended."""
        super().__init__([_as_timed(each.text) for each in known if each.counts], stories_since)
        self._known, self._width, self._alerts = known, width, alerts
        self.by_key = {each.text.key: each for each in known}

    def _effective(self, selection: Selection, length: timedelta | None) -> Selection:
        return selection

    def _following(self, at: datetime) -> datetime:
        """The start of the first stored window that starts at a time or later."""
        return window_start(at + self._width - timedelta.resolution, self._width)

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        if selection.names_documents:  # the database counts the documents themselves
            return super().sums(start, end, selection)
        return super().sums(self._following(start), self._following(end), selection)

    def known_in(self, scope: Scope) -> list[KnownText]:
        """The documents of a scope, in order of publication."""
        return [self.by_key[text.key] for text in self._in_scope(scope)]

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        seen: dict[str, datetime] = {}
        for text in (each.text for each in self._known):
            is_named = not scope.selection.sources or text.source in scope.selection.sources
            if is_named and text.kind in scope.kinds and scope.start <= text.published_at < scope.end:
                seen[text.source] = max(text.published_at, seen.get(text.source, text.published_at))
        return seen

    def latest_model(self) -> str | None:
        counted = [each for each in self._known if each.counts and each.model]
        return max(counted, key=lambda each: each.received_at).model if counted else None

    def count_by_model(
        self, start: datetime, end: datetime, received_since: datetime | None
    ) -> dict[tuple[datetime, str], int]:
        counts: dict[tuple[datetime, str], int] = {}
        for each in self._known:
            if each.counts and start <= each.text.published_at < end:
                key = (window_start(each.text.published_at, HOUR), each.model)
                counts[key] = counts.get(key, 0) + 1
        return counts

    def past_alerts(self, since: datetime) -> list[Alert]:
        return [
            alert for alert in self._alerts if alert.resolved_at is not None and alert.resolved_at >= since
        ]

    def open_alerts(self) -> list[Alert]:
        return [alert for alert in self._alerts if alert.resolved_at is None]


def _as_timed(text: Text) -> Text:
    """The text; what has no exact time has a date alone for rules that look at late documents."""
    return text if text.precision is Precision.EXACT else replace(text, precision=Precision.DAY)

"""What alerts need from a store.  `stream.storage` implements it over SQL,
`alerts.history.memory_store` over a list."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

from stream.domain.alerts import Alert, EvidenceItem, PageRequest, StoryCounts, Transition
from stream.domain.incidents import Headline, Incident, Moment, Page, PageDocument
from stream.domain.sums import Aggregate, Fewest, LateWindow, MentionSelection, Scope, Selection

ANY = Fewest()

# An item of evidence with the words that carry its sentiment, found in what is shown of it.
WordCheck = Callable[[EvidenceItem], EvidenceItem]


class AggregateReader(Protocol):
    """What rules need to know about documents.  An empty selection means every document."""

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""

    def sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        """The same for each window of `width`, counted from the epoch, in order of time.  Windows without
        data are left out."""

    def entity_sums(
        self, start: datetime, end: datetime, mentions: MentionSelection, fewest: Fewest = ANY
    ) -> list[Aggregate]:
        """For each entity with `fewest` documents or more, the sum over its mentions in documents published
        in [start, end).  The `topic` of such a sum is the entity's id, and its kind stands for all kinds."""

    def entity_sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, mentions: MentionSelection
    ) -> list[Aggregate]:
        """The same for each entity and window of `width`, counted from the epoch, in order of time."""

    def hours_with_mentions(self, start: datetime, end: datetime) -> list[datetime]:
        """The hours that start in [start, end) and have a counted mention of any entity, in order."""

    def entity_names(self, entities: Sequence[str]) -> dict[str, str]:
        """How a reader knows these entities, for those whose names are known."""

    def most_negative(self, scope: Scope, limit: int) -> list[EvidenceItem]:
        """The documents with the lowest scores, lowest first.  Documents without a sentiment and copies are
        left out."""

    def negative_writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        """The number of negative documents of each source, highest first, and the number of their authors."""

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        """When each source last published a document, for the sources that did."""

    def late_windows(self, since: datetime, before: datetime) -> list[LateWindow]:
        """The windows, in order, of the documents that were received at `since` or later and published before
        `before`."""

    def late_voices(self, since: datetime, before: datetime) -> list[LateWindow]:
        """The windows, in order, of the documents that got their story at `since` or later and were published
        before `before`."""

    def voices_since(self) -> datetime | None:
        """The publication time from which on every document has a story, or waits for it; None if documents
        get none."""

    def oldest_waiting(self) -> datetime | None:
        """When the document was received that has waited longest for its story; None if none waits."""

    def story_counts(self, scope: Scope, *, negative: bool) -> StoryCounts:
        """The texts of a scope, and the stories, voices and copies among them; only of the negative texts if
        asked for."""

    def sums_by_origin(self, scope: Scope) -> Mapping[str | None, Aggregate]:
        """For each origin, the sum over its documents with a score; those that have no story yet have the
        origin None.  Of the last base window of the scope all documents count, as in `sums`."""

    def at_one_moment(self, now: datetime) -> AbstractContextManager[Moment]:
        """What is read meanwhile, in this thread, is read at one moment; `now` is that of a backtest."""

    def negative_documents(self, scope: Scope, least_relevance: int, limit: int) -> list[PageDocument]:
        """The negative documents of a scope, at most so many, those published last; in order of publication.
        Each has its entities of at least this relevance."""

    def headlines(self, stories: Sequence[int], until: datetime) -> Mapping[int, Headline]:
        """What stands for each of these stories, as far as they were told until then."""

    def latest_model(self) -> str | None:
        """The model that labelled the document received last; None without any."""

    def count_by_model(
        self, start: datetime, end: datetime, received_since: datetime | None
    ) -> Mapping[tuple[datetime, str], int]:
        """How many documents with a score were published in each hour of [start, end), by the model that
        labelled them; only of those received at `received_since` or later, if it is given."""


class EpisodeStore(Protocol):
    """Where episodes are stored."""

    def open_alerts(self) -> list[Alert]:
        """The episodes that are pending, firing or flapping."""

    def past_alerts(self, since: datetime) -> list[Alert]:
        """The episodes that fired and were resolved at `since` or later, in the order they ended."""

    def page(self, key: str) -> Page | None:
        """The page with this key."""

    def open_incidents(self, closed_since: datetime | None = None) -> list[Incident]:
        """The incidents that have not ended, and those that people closed since then; the oldest first."""

    def last_pages(self, incidents: Collection[str]) -> Mapping[str, Page]:
        """The last page of each of these incidents that has any."""

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        transitions: Sequence[Transition],
        page_requests: Sequence[PageRequest],
        now: datetime,
        incidents: Sequence[Incident] = (),
        pages: Sequence[Page] = (),
    ) -> None:
        """Save the changed episodes and incidents, drop the episodes with the `dropped` ids, and add the
        transitions, the pages and the requests to send them: all of it or nothing."""

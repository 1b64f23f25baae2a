"""The past as a store that rules can be evaluated over, by the sums that are stored anyway.

A backtest of a month evaluates a rule tens of thousands of times.  So the sums of the base windows are read
once, and added up in memory.  The texts themselves are read only where a rule fires.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from alerts.errors import AlertError
from alerts.history.memory_store import NEARLY_A_DAY
from alerts.history.mention_table import ALL_KINDS, MICROSECOND, Integers, MentionTable, microseconds
from alerts.history.running_sums import RunningSums
from alerts.ports import ANY, AggregateReader
from stream.domain.alerts import EvidenceItem, StoryCounts
from stream.domain.documents import EPOCH
from stream.domain.incidents import Headline, Moment, PageDocument
from stream.domain.sums import (
    EVERYTHING,
    SUM_FIELDS,
    Aggregate,
    Fewest,
    LateWindow,
    MentionSelection,
    Scope,
    Selection,
    TimeRange,
    window_start,
)

DAY = timedelta(days=1)
# The sums of so many windows of a topic or an entity are held: 70 bytes each.
MOST_ROWS = 4_000_000


class TooMuchHistory(AlertError):
    """The past has more sums than are held in memory."""


class WindowStore:
    """The store that alerts need, over the stored sums of a time.

    Every text arrives when it is published, as in `alerts.history.memory_store`, and the model and the
    stories are those of today.  Raises what the reader raises, and TooMuchHistory.
    """

    def __init__(
        self,
        reader: AggregateReader,
        times: TimeRange,
        width: timedelta,
        *,
        has_dates: bool,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """`times` begins and ends with a base window of `width`.  `has_dates` is whether the times of some
        texts are not known exactly.  `progress` gets the share of the time that is read, for each sum."""
        self._reader, self._times, self._width = reader, times, width
        self._has_dates, self._progress = has_dates, progress
        self._rows = 0
        self._sums: dict[Selection, RunningSums] = {}
        self._mentions: dict[MentionSelection, MentionTable] = {}

    def windows_with_texts(self) -> list[datetime]:
        """The starts of the base windows that have texts, in order."""
        groups = self._sums_of(EVERYTHING).groups.values()
        stamps = np.unique(np.concatenate([np.empty(0, np.int64), *(stamps for stamps, _ in groups)]))
        return [EPOCH + stamp * MICROSECOND for stamp in stamps.tolist()]

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        """The same as the reader's, of the windows that start in [start, end)."""
        return self._sums_of(self._effective(selection, end - start)).sums(start, end)

    def sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        """The same as the reader's."""
        return self._sums_of(self._effective(selection)).by_window(start, end, width)

    def entity_sums(
        self, start: datetime, end: datetime, mentions: MentionSelection, fewest: Fewest = ANY
    ) -> list[Aggregate]:
        """The same as the reader's."""
        found = self._table_of(mentions, end - start).sums(start, end, _of_ids(mentions))
        return [one for one in found if one.n >= fewest.documents and one.negative >= fewest.negatives]

    def entity_sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, mentions: MentionSelection
    ) -> list[Aggregate]:
        """The same as the reader's."""
        return self._table_of(mentions).sums(start, end, _of_ids(mentions), width)

    def _effective(self, selection: Selection, length: timedelta | None = None) -> Selection:
        """What of a selection is looked at in a window of this length: a date alone fires no shorter one than
        a day."""
        fires = length is not None and length < NEARLY_A_DAY
        return replace(selection, exact_times=fires and self._has_dates)

    def _sums_of(self, selection: Selection) -> RunningSums:
        if selection not in self._sums:
            cells = self._read(
                lambda day: self._reader.sums_by_window(*day, self._width, selection),
            )
            rows: dict[tuple[str, str], list[Aggregate]] = {}
            for cell in cells:
                rows.setdefault((cell.topic, cell.kind), []).append(cell)
            self._sums[selection] = RunningSums.of({key: _arrays(group) for key, group in rows.items()})
        return self._sums[selection]

    def _table_of(self, mentions: MentionSelection, length: timedelta | None = None) -> MentionTable:
        selection = self._effective(mentions.documents, length)
        mentions = replace(mentions, entities=None, documents=selection)
        if mentions not in self._mentions:
            cells = self._read(
                lambda day: self._reader.entity_sums_by_window(*day, self._width, mentions),
            )
            self._mentions[mentions] = _mention_table(sorted(cells, key=lambda cell: cell.start))
        return self._mentions[mentions]

    def _read(self, read: Callable[[TimeRange], list[Aggregate]]) -> list[Aggregate]:
        """What is read of each day, so that no query is long."""
        cells: list[Aggregate] = []
        start, end = self._times
        while start < end:
            following = min(window_start(start, DAY) + DAY, end)
            cells += read(TimeRange(start, following))
            start = following
            self._progress((start - self._times.start) / (end - self._times.start))
            if self._rows + len(cells) > MOST_ROWS:
                raise TooMuchHistory(
                    f"more than {MOST_ROWS:,} sums would have to be held in memory; `monitor backtest` on "
                    "the command line has no such limit"
                )
        self._rows += len(cells)
        return cells

    @contextmanager
    def at_one_moment(self, now: datetime) -> Iterator[Moment]:
        yield Moment(now)  # the past does not change

    def hours_with_mentions(self, start: datetime, end: datetime) -> list[datetime]:
        return self._reader.hours_with_mentions(start, end)

    def entity_names(self, entities: Sequence[str]) -> dict[str, str]:
        return self._reader.entity_names(entities)

    def most_negative(self, scope: Scope, limit: int) -> list[EvidenceItem]:
        return self._reader.most_negative(scope, limit)

    def negative_writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        return self._reader.negative_writers(scope)

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        return self._reader.last_seen_by_source(scope)

    def story_counts(self, scope: Scope, *, negative: bool) -> StoryCounts:
        return self._reader.story_counts(scope, negative=negative)

    def sums_by_origin(self, scope: Scope) -> Mapping[str | None, Aggregate]:
        return self._reader.sums_by_origin(scope)

    def negative_documents(self, scope: Scope, least_relevance: int, limit: int) -> list[PageDocument]:
        return self._reader.negative_documents(scope, least_relevance, limit)

    def headlines(self, stories: Sequence[int], until: datetime) -> Mapping[int, Headline]:
        return self._reader.headlines(stories, until)

    def voices_since(self) -> datetime | None:
        return self._voices_since

    @cached_property
    def _voices_since(self) -> datetime | None:
        return self._reader.voices_since()

    def oldest_waiting(self) -> datetime | None:
        return None  # every text has its story when it arrives, or never

    def late_windows(self, since: datetime, before: datetime) -> list[LateWindow]:
        return []  # every text arrives when it is published

    def late_voices(self, since: datetime, before: datetime) -> list[LateWindow]:
        return []

    def latest_model(self) -> str | None:
        return None  # what was labelled by another model counts as if it were labelled by this one

    def count_by_model(
        self, start: datetime, end: datetime, received_since: datetime | None
    ) -> Mapping[tuple[datetime, str], int]:
        return {}


def _of_ids(mentions: MentionSelection) -> MentionSelection:
    """What is left to select in a table that has the relevance and the kinds of these mentions only."""
    return MentionSelection(mentions.entities)


def _arrays(cells: Sequence[Aggregate]) -> tuple[Integers, Integers]:
    """The stamps in microseconds [n] and the sums [n, len(SUM_FIELDS)]."""
    stamps = np.array([microseconds(cell.start) for cell in cells], np.int64)
    return stamps, np.array([cell.totals for cell in cells], np.int64).reshape(-1, len(SUM_FIELDS))


def _mention_table(cells: Sequence[Aggregate]) -> MentionTable:
    """A row for each entity and window, in order of time."""
    numbers: dict[str, int] = {}
    entity = np.array([numbers.setdefault(cell.topic, len(numbers)) for cell in cells], np.int64)
    stamps, sums = _arrays(cells)
    same = np.zeros(len(cells), np.int64)
    return MentionTable(tuple(numbers), {}, (ALL_KINDS,), stamps, entity, same, same, sums)

"""Past texts in memory, as a store that rules can be evaluated over."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from alerts.history.memory_episodes import MemoryEpisodes
from alerts.history.mention_table import Integers, MentionTable, bounds, microseconds, stored_score
from alerts.history.running_sums import RunningSums
from alerts.ports import ANY
from stream.domain.alerts import EvidenceItem, StoryCounts
from stream.domain.documents import EPOCH, SCORE_SCALE, Kind, Precision, document_key
from stream.domain.entities import EntityMention
from stream.domain.incidents import Headline, Moment, PageDocument
from stream.domain.stories import StoryAssignment
from stream.domain.sums import (
    EVERYTHING,
    Aggregate,
    Counted,
    Fewest,
    LateWindow,
    MentionSelection,
    Scope,
    Selection,
    contribution,
    window_start,
)

HOUR = timedelta(hours=1)
# A window of a day: the last of its stored windows is still filling.
NEARLY_A_DAY = timedelta(hours=23)


@dataclass(frozen=True, slots=True)
class Text:
    """A classified document of the past.

    `sentiment` is None if the model was not certain.  `score` is in units of 1 / SCORE_SCALE.  `precision`
    says how exactly `published_at` is known.  `entities` are those that it is about, `events` the types of
    those that it reports.  `assignment` is its story, None if it has none, and `origin` who
    said it first.
    """

    id: str
    source: str
    kind: str
    published_at: datetime
    content: str
    topic: str
    sentiment: str | None
    score: int
    author: str | None = None
    symbols: tuple[str, ...] = ()
    lang: str | None = None
    words: tuple[str, ...] = ()
    url: str | None = None
    precision: Precision = Precision.EXACT
    entities: tuple[EntityMention, ...] = ()
    events: tuple[str, ...] = ()
    assignment: StoryAssignment | None = None
    origin: str | None = None

    @property
    def is_copy(self) -> bool:
        return self.assignment is not None and self.assignment.copy_of is not None

    @property
    def key(self) -> str:
        """Its identity as one text."""
        return document_key(Kind(self.kind), self.source, self.id)


class MemoryStore(MemoryEpisodes):
    """The store that alerts need, over a fixed list of texts: sums are differences of running totals.

    Every text arrives when it is published, but for those that have a date alone: when they arrived that day
    is not known.  They count in what is usual and in windows of a day or more, and fire no shorter one.
    """

    def __init__(self, texts: Sequence[Text], stories_since: datetime | None = None) -> None:
        """`stories_since` is what `voices_since` says; without it the texts say so."""
        super().__init__()
        self._stories_since = stories_since
        self.texts = sorted(texts, key=lambda text: text.published_at)
        self.stamps = np.array([microseconds(text.published_at) for text in self.texts], np.int64)
        indices: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, text in enumerate(self.texts):
            indices[text.topic, text.kind].append(index)
        self._sums = RunningSums.of({key: self._contributions(group) for key, group in indices.items()})
        self._selected: dict[Selection, MemoryStore] = {}
        self._has_dates = any(text.precision is Precision.DAY for text in texts)

    def _contributions(self, indices: Sequence[int]) -> tuple[Integers, Integers]:
        """Stamps in microseconds [n] and contributions [n, len(SUM_FIELDS)] of one topic and kind."""
        texts = [self.texts[index] for index in indices]
        rows = [contribution(text.sentiment, text.score) for text in texts]
        return self.stamps[list(indices)], np.array(rows, np.int64)

    def _select(self, selection: Selection, length: timedelta | None = None) -> "MemoryStore":
        """The texts of a selection; for a window of this length, if it is given."""
        selection = self._effective(selection, length)
        if selection == EVERYTHING:
            return self
        if selection not in self._selected:
            self._selected[selection] = MemoryStore([t for t in self.texts if _matches(t, selection)])
        return self._selected[selection]

    def _effective(self, selection: Selection, length: timedelta | None) -> Selection:
        """What of a selection is looked at in a window of this length: a date alone fires no shorter one than
        a day."""
        fires = length is not None and length < NEARLY_A_DAY
        return replace(selection, exact_times=fires and self._has_dates)

    def _in_scope(self, scope: Scope, with_dates: bool = False) -> list[Text]:
        selected = self._select(scope.selection, None if with_dates else scope.end - scope.start)
        first, last = bounds(selected.stamps, scope.start, scope.end)
        texts = selected.texts[first:last]
        kept = [t for t in texts if scope.topic in (None, t.topic) and t.kind in scope.kinds]
        return kept if scope.entity is None else [seen for t in kept for seen in _towards(t, scope)]

    def sums(self, start: datetime, end: datetime, selection: Selection) -> list[Aggregate]:
        return self._select(selection, end - start)._sums.sums(start, end)

    def sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection
    ) -> list[Aggregate]:
        return self._select(selection)._sums.by_window(start, end, width)

    def entity_sums(
        self, start: datetime, end: datetime, mentions: MentionSelection, fewest: Fewest = ANY
    ) -> list[Aggregate]:
        found = self._mentions_of(mentions, end - start).sums(start, end, mentions)
        return [
            total for total in found if total.n >= fewest.documents and total.negative >= fewest.negatives
        ]

    def entity_sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, mentions: MentionSelection
    ) -> list[Aggregate]:
        return self._mentions_of(mentions).sums(start, end, mentions, width)

    def hours_with_mentions(self, start: datetime, end: datetime) -> list[datetime]:
        hours = self._hours_with_mentions
        return hours[bisect_left(hours, start) : bisect_left(hours, end)]

    @cached_property
    def _hours_with_mentions(self) -> list[datetime]:
        return sorted(
            {
                window_start(text.published_at, HOUR)
                for text in self.texts
                if any(mention.score is not None for mention in text.entities)
            }
        )

    def _mentions_of(self, mentions: MentionSelection, length: timedelta | None = None) -> "MentionTable":
        return self._select(mentions.documents, length)._mentions

    @cached_property
    def _mentions(self) -> MentionTable:
        return MentionTable.of(self.texts)

    def entity_names(self, entities: Sequence[str]) -> dict[str, str]:
        return self._mentions.names

    def most_negative(self, scope: Scope, limit: int) -> list[EvidenceItem]:
        texts = [t for t in self._in_scope(scope) if t.sentiment is not None and not t.is_copy]
        texts.sort(key=lambda t: (t.score, t.published_at, t.key))
        copies = self._copies_between(scope.start, scope.end)
        return [_evidence(text, copies[text.key]) for text in texts[:limit]]

    def _copies_between(self, start: datetime, end: datetime) -> Counter[str | None]:
        """How many copies of each document were published in [start, end)."""
        first, last = bounds(self.stamps, start, end)
        return Counter(text.assignment.copy_of for text in self.texts[first:last] if text.assignment)

    def story_counts(self, scope: Scope, *, negative: bool) -> StoryCounts:
        texts = self.negative_texts(scope) if negative else self._in_scope(scope)
        assigned = [text.assignment for text in texts if text.assignment]
        return StoryCounts(
            len(texts),
            len({each.story for each in assigned}),
            sum(each.is_voice for each in assigned),
            sum(each.copy_of is not None for each in assigned),
        )

    def voices_since(self) -> datetime | None:
        return self._voices_since

    @cached_property
    def _voices_since(self) -> datetime | None:
        if self._stories_since is not None:
            return self._stories_since
        unassigned = [text.published_at for text in self.texts if text.assignment is None]
        if len(unassigned) == len(self.texts):
            return None
        return unassigned[-1] + timedelta.resolution if unassigned else EPOCH

    def oldest_waiting(self) -> datetime | None:
        return None  # in a backtest every text has its story when it arrives, or never

    def negative_writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        texts = self.negative_texts(scope)
        counts = Counter(t.source for t in texts)
        sources = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        return sources, len({t.author for t in texts if t.author})

    def negative_texts(self, scope: Scope) -> list[Text]:
        """The negative texts of the scope, in order."""
        return [text for text in self._in_scope(scope) if text.sentiment == "negative"]

    @contextmanager
    def at_one_moment(self, now: datetime) -> Iterator[Moment]:
        yield Moment(now)

    def sums_by_origin(self, scope: Scope) -> dict[str | None, Aggregate]:
        found: dict[str | None, Aggregate] = {}
        for text in self._in_scope(scope):
            own = Aggregate.of_document(scope.start, text.topic, text.kind, text.sentiment, text.score)
            known = found.get(text.origin)
            found[text.origin] = own if known is None else known + own
        return found

    def negative_documents(self, scope: Scope, least_relevance: int, limit: int) -> list[PageDocument]:
        return [_page_document(text, least_relevance) for text in self.negative_texts(scope)[-limit:]]

    def headlines(self, stories: Sequence[int], until: datetime) -> dict[int, Headline]:
        """Of each story its first text, which stands for it until then."""
        found: dict[int, Headline] = {}
        for story in stories:
            first = self._first_texts.get(story)
            if first is not None and first.published_at < until:
                at = first.published_at
                found[story] = Headline(story, first.content, first.source, at, first.source)
        return found

    @cached_property
    def _first_texts(self) -> dict[int, Text]:
        return {text.assignment.story: text for text in reversed(self.texts) if text.assignment}

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        texts = self._in_scope(scope, with_dates=True)
        return {t.source: t.published_at for t in texts}

    def late_windows(self, since: datetime, before: datetime) -> list[LateWindow]:
        return []  # in a backtest every text arrives when it is published

    def late_voices(self, since: datetime, before: datetime) -> list[LateWindow]:
        return []

    def latest_model(self) -> str | None:
        return None  # a backtest has one model

    def count_by_model(
        self, start: datetime, end: datetime, received_since: datetime | None
    ) -> dict[tuple[datetime, str], int]:
        return {}


def _evidence(text: Text, copies: int) -> EvidenceItem:
    assignment = text.assignment
    return EvidenceItem(
        source=text.source,
        id=text.id,
        published_at=text.published_at,
        content=text.content,
        score=text.score / SCORE_SCALE,
        words=text.words,
        url=text.url,
        key=text.key,
        precision=text.precision,
        events=text.events,
        story=assignment.story if assignment else None,
        novelty=assignment.novelty if assignment else None,
        is_voice=assignment.is_voice if assignment else None,
        copies=copies,
    )


def _page_document(text: Text, least_relevance: int) -> PageDocument:
    assignment = text.assignment
    mentions = sorted(text.entities, key=lambda mention: (-mention.relevance, mention.entity))
    return PageDocument(
        key=text.key,
        version=0,
        kind=text.kind,
        source=text.source,
        published_at=text.published_at,
        received_at=text.published_at,
        topic=text.topic,
        score=text.score / SCORE_SCALE,
        author=text.author,
        story=assignment.story if assignment else None,
        origin=text.origin,
        is_voice=assignment.is_voice if assignment else None,
        copy_of=assignment.copy_of if assignment else None,
        entities=tuple(one.entity for one in mentions if one.relevance >= least_relevance),
    )


def _towards(text: Text, scope: Scope) -> list[Text]:
    """The text with its sentiment towards the entity of the scope; nothing if it does not count for that."""
    return [
        replace(text, sentiment=mention.sentiment, score=stored_score(mention.score))
        for mention in text.entities
        if mention.entity == scope.entity
        and mention.relevance >= scope.min_relevance
        and mention.score is not None
    ]


def _matches(text: Text, selection: Selection) -> bool:
    return (
        not (selection.exact_times and text.precision is Precision.DAY)
        and (not selection.sources or text.source in selection.sources)
        and (not selection.languages or text.lang in selection.languages)
        and (not selection.symbols or bool(set(selection.symbols) & set(text.symbols)))
        and (not selection.events or bool(set(selection.events) & set(text.events)))
        and _is_counted(text.assignment, selection)
    )


def _is_counted(assignment: StoryAssignment | None, selection: Selection) -> bool:
    """Whether a text counts, as far as that depends on its story."""
    if assignment is None:
        return selection.counted is Counted.TEXTS and not selection.min_novelty
    if selection.counted is Counted.VOICES and not assignment.is_voice:
        return False
    if selection.counted is Counted.STORIES and assignment.sequence != assignment.story:
        return False
    return assignment.novelty >= selection.min_novelty

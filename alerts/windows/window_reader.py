"""Reads what rules look at: the current window, the history before it, and the evidence of a breach."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from alerts.baselines.baseline import HOUR, Baseline, live_ranges, without
from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.detectors.base import (
    ALL_TOPICS,
    DEFAULT_RELEVANCE,
    Observation,
    Rule,
    Subject,
    SubjectWindow,
)
from alerts.incidents.page_inputs import Seen
from alerts.ports import AggregateReader, EpisodeStore, WordCheck
from alerts.schedules.calendars import Calendar, DayType, TradingCalendars
from alerts.windows.entity_windows import LONGEST_GAP, EntityWindows
from alerts.windows.evidence import distinct_stories
from alerts.windows.labelled_hours import LabelledHours
from alerts.windows.own_alerts import own_alert_times
from alerts.windows.rule_window import rule_window
from alerts.wording import story_counts_text
from stream.domain.alerts import Alert
from stream.domain.documents import EPOCH
from stream.domain.incidents import MOST_DOCUMENTS, PageDocument
from stream.domain.sums import Aggregate, Counted, Scope, Selection, TimeRange, window_start

EVIDENCE_ITEMS = 5
# How many documents are read to find that many distinct stories: many documents of one story must not push
# the others out of the evidence.
EVIDENCE_CANDIDATES = 100
# A history of four weeks has so many cells of four minutes.
MOST_CELLS = 10_000
# Documents that arrive later than this raise no alert: what they report is over.
LATE_LIMIT = timedelta(hours=6)
# An alert names so many sources, those with the most negative documents.
NAMED_SOURCES = 10


@dataclass(frozen=True, slots=True)
class History:
    """The cells of every topic before a rule's window, and what was learned from them by topic."""

    end: datetime
    width: timedelta
    cells: Sequence[Aggregate]
    live: Sequence[TimeRange]
    alert_times: Mapping[str, Sequence[TimeRange]]
    counted: Counted
    # The hours that another model labelled, where that matters to the rule.
    of_other_models: Sequence[TimeRange] = ()
    # By topic, and the type of the days of the window.
    expectations: dict[tuple[str, DayType], Expectation] = field(default_factory=dict)

    def expectation(
        self, rule: Rule, spec: BaselineSpec, topic: str, calendar: Calendar | None, day_type: DayType
    ) -> Expectation:
        """What is usual on one topic on such days, computed once.  The rule's own alerts are left out."""
        key = (topic, day_type)
        if key not in self.expectations:
            alert_times = self.alert_times.get(topic, ())
            others = [*self.of_other_models, *self._other_days(spec, calendar, day_type)]
            cells = _topic_cells(
                [c for c in self.cells if not _overlap(others, c.start, self.width)], rule, topic
            )
            calm_cells = [
                cell for cell in cells if not any(alert_time.covers(cell.start) for alert_time in alert_times)
            ]
            live = without(without(self.live, alert_times), others)
            baseline = Baseline(calm_cells, live, self.width, spec.zone)
            self.expectations[key] = Expectation(spec, baseline, cells)
        return self.expectations[key]

    def _other_days(
        self, spec: BaselineSpec, calendar: Calendar | None, day_type: DayType
    ) -> Sequence[TimeRange]:
        if calendar is None:
            return ()
        return calendar.other_days(day_type, TimeRange(self.end - spec.history, self.end), self.width)


class WindowReader:
    """Reads windows, baselines and evidence from the store.

    Between two evaluations it keeps only the histories, for a while: they are many rows and change slowly.
    """

    def __init__(
        self, topics: Sequence[str], reader: AggregateReader, episodes: EpisodeStore, window_width: timedelta
    ) -> None:
        """`window_width` is the width of the stored windows."""
        self._topics, self._reader, self._episodes, self._width = topics, reader, episodes, window_width
        self.check_words: WordCheck = lambda item: item
        self.calendars = TradingCalendars()
        self._stories_since: datetime | None = None
        # Both by rule name, and whether it is the history before late windows.
        self._histories: dict[tuple[str, bool], History] = {}
        self._stale_from: dict[tuple[str, bool], datetime] = {}
        self._steps: dict[str, tuple[tuple[datetime, Counted], Sequence[Aggregate]]] = {}
        self._labelled_hours = LabelledHours(reader)
        self._entities = EntityWindows(reader, episodes, window_width, self._not_compared, self._calendar)

    def look_at_models(self, rules: Sequence[Rule], now: datetime) -> None:
        """Look which hours of what the rules compare were labelled by another model."""
        if self._labelled_hours.look(now, longest_comparison(rules)):
            self._forget_histories()

    def look_at_stories(self, since: datetime | None) -> None:
        """Every document published from this time on has a story; None: there are no stories."""
        if since != self._stories_since:
            self._stories_since = since
            self._forget_histories()

    def _other_models(self, rule: Rule) -> Sequence[TimeRange]:
        """The hours that another model labelled, where that matters to the rule."""
        return self._labelled_hours.of_other_models if rule.compares_labels else ()

    def _not_compared(self, rule: Rule) -> Sequence[TimeRange]:
        """The times that are no part of what is usual: documents without a story have no novelty."""
        others, since = self._other_models(rule), self._stories_since
        return others if since is None or not rule.min_novelty else [TimeRange(EPOCH, since), *others]

    def waits_for_labels(self, rule: Rule, now: datetime) -> bool:
        """Whether the rule cannot compare: another model labelled its window, or too much before it."""
        spec, others = rule.baseline_spec, self._labelled_hours.of_other_models
        if spec is None or not rule.compares_labels or not others:
            return False
        window = self.window(rule, now)
        usable = self._labelled_hours.of_present_model(window.start - spec.history, window.start)
        return usable < spec.shortest or _overlap(others, window.start, window.end - window.start)

    def waits_for_calendar(self, rule: Rule) -> bool:
        """Whether the rule's trading calendar is about to be read for the first time."""
        return rule.baseline_spec is not None and self.calendars.will_be_read(rule.baseline_spec.calendar)

    def _calendar(self, rule: Rule) -> Calendar | None:
        return None if rule.baseline_spec is None else self.calendars.get(rule.baseline_spec.calendar)

    def forget(self) -> None:
        """Drop everything that was kept: the rules may have changed."""
        self._forget_histories()
        self._steps.clear()

    def _forget_histories(self) -> None:
        self._histories.clear()
        self._stale_from.clear()
        self._entities.forget()

    def window(self, rule: Rule, now: datetime) -> TimeRange:
        """The rule's window at `now`."""
        return rule_window(rule, now, self._width)

    def late_windows(self, rule: Rule, now: datetime, late: Iterable[datetime]) -> Iterable[TimeRange]:
        """Past windows of the rule, each ending with one of the `late` stored windows and before the current
        window."""
        current = self.window(rule, now).start
        last: dict[datetime, datetime] = {}
        for start in sorted(late):
            if now - LATE_LIMIT <= start < current:
                last[window_start(start, max(rule.window, self._width))] = start
        for start in last.values():
            end = window_start(start, self._width) + self._width
            yield self.window(rule, end - timedelta.resolution)

    def subject_windows(
        self,
        rule: Rule,
        window: TimeRange,
        open_entities: Sequence[str] = (),
        late_from: datetime | None = None,
    ) -> Iterable[tuple[Subject, SubjectWindow]]:
        """What the rule looks at in the window, topic by topic or entity by entity.  Entities with an open
        episode are looked at, whatever they have in the window.

        The baseline ends where the window begins, and for late windows at `late_from`: where the first of
        them begins.  A late window has only the documents whose time is known exactly.
        """
        if rule.entities is not None:
            yield from self._entities.windows(rule, window, open_entities, late_from)
        elif rule.watches_documents:
            yield from self._document_windows(rule, window, late_from)
        else:
            last_seen = self._reader.last_seen_by_source(scope_of(rule, Subject(ALL_TOPICS), window))
            empty = Aggregate(window.start, ALL_TOPICS, ALL_TOPICS)
            yield (
                Subject(ALL_TOPICS),
                SubjectWindow(
                    total=empty, start=window.start, end=window.end, feed_is_live=True, last_seen=last_seen
                ),
            )

    def _document_windows(
        self, rule: Rule, window: TimeRange, late_from: datetime | None
    ) -> Iterable[tuple[Subject, SubjectWindow]]:
        steps: Sequence[Aggregate] = ()
        if rule.step_length is not None:
            sums = steps = self._completed_steps(rule, rule.step_length, window.end)
        else:
            selection = _selection(rule, late=late_from is not None)
            sums = self._reader.sums(window.start, window.end, selection)
        is_live = bool(sums) or (
            rule.selection != rule.feed and bool(self._reader.sums(window.start, window.end, rule.feed))
        )
        topics, spec = rule.watched_topics(self._topics), rule.baseline_spec
        others = self._not_compared(rule)
        of_other_model = _overlap(others, window.start, window.end - window.start)
        calendar = self._calendar(rule)
        for topic in topics:
            expectation = None
            if spec is not None:
                expectation = partial(
                    self._expectation, rule, spec, topic, window, late_from=late_from, calendar=calendar
                )
            yield (
                Subject(topic),
                SubjectWindow(
                    total=_total(sums, rule, topic, window.start),
                    start=window.start,
                    end=window.end,
                    feed_is_live=is_live,
                    expectation=expectation,
                    share=1 / len(topics),
                    steps=_topic_cells(steps, rule, topic),
                    of_other_model=of_other_model,
                    trading=calendar.trading_hours(window) if calendar else None,
                ),
            )

    def mark_stale(self, start: datetime) -> None:
        """Late documents changed the windows from `start` on: read them again with the next history."""
        for key, history in self._histories.items():
            if start < history.end:
                self._stale_from[key] = min(start, self._stale_from.get(key, start))

    def _expectation(
        self,
        rule: Rule,
        spec: BaselineSpec,
        topic: str,
        window: TimeRange,
        *,
        late_from: datetime | None,
        calendar: Calendar | None,
    ) -> Expectation:
        """What is usual on a topic, learned again a few times a window but no more often than it matters."""
        end = window_start(late_from or window.start, max(self._width, _refresh(rule, spec)))
        key = (rule.name, late_from is not None)
        history = self._histories.get(key)
        if history is not None and history.counted is not rule.count:
            history = None
        if history is None or history.end != end:
            stale_from = self._stale_from.pop(key, end)
            history = self._read_history(rule, spec, end, previous=history, stale_from=stale_from)
            self._histories[key] = history
        day_type = calendar.day_type(window) if calendar else DayType.MIXED
        return history.expectation(rule, spec, topic, calendar, day_type)

    def _read_history(
        self, rule: Rule, spec: BaselineSpec, end: datetime, *, previous: History | None, stale_from: datetime
    ) -> History:
        """Weeks of cells are many rows, so the cells of the `previous` history are used again, but for the
        latest ones and those from `stale_from` on."""
        width = self._cell_width(rule, spec)
        start = window_start(end - spec.history, width)
        kept: list[Aggregate] = []
        read_from = start
        if previous is not None and start < previous.end <= end:
            read_from = max(start, window_start(min(previous.end - LATE_LIMIT, stale_from), width))
            kept = [cell for cell in previous.cells if start <= cell.start < read_from]
        cells = [*kept, *self._reader.sums_by_window(read_from, end, width, rule.selection)]
        longest_gap = max(LONGEST_GAP, 4 * spec.comparison_length)
        feed = self._reader.sums_by_window(start, end, width, rule.feed) if rule.looks_at_few else cells
        live = live_ranges(sorted({cell.start for cell in feed}), width, end, longest_gap)
        alert_times = own_alert_times(rule, self._episodes, start, end, self._width)
        others = self._not_compared(rule)
        return History(end, width, cells, live, alert_times, rule.count, others)

    def _cell_width(self, rule: Rule, spec: BaselineSpec) -> timedelta:
        """Whole stored windows, as long as the rule's window or an hour, and so long that a history of any
        length has at most some thousands of cells."""
        width = max(min(HOUR, rule.window), min(HOUR, spec.history / MOST_CELLS))
        return max(width // self._width, 1) * self._width

    def _completed_steps(self, rule: Rule, length: timedelta, now: datetime) -> Sequence[Aggregate]:
        """The steps of the window that are over, read again several times a step."""
        read_at = window_start(now, max(length / 12, self._width))
        known = self._steps.get(rule.name)
        if known is None or known[0] != (read_at, rule.count):
            end = window_start(now, length)
            cells = self._reader.sums_by_window(end - rule.window, end, length, rule.selection)
            known = self._steps[rule.name] = ((read_at, rule.count), cells)
        return known[1]

    def require_writers(
        self, rule: Rule, subject: Subject, window: TimeRange, observation: Observation, *, late: bool
    ) -> Observation:
        """The observation; no breach if fewer sources, authors or voices wrote about it than the rule
        requires."""
        if not observation.breached:
            return observation
        scope = scope_of(rule, subject, window, late=late)
        enough = self._has_writers(rule, scope) and self._has_voices(rule, scope)
        return observation if enough else replace(observation, breached=False)

    def _has_writers(self, rule: Rule, scope: Scope) -> bool:
        if rule.min_sources <= 1 and rule.min_authors < 1:
            return True
        sources, authors = self._reader.negative_writers(scope)
        return len(sources) >= rule.min_sources and authors >= rule.min_authors

    def _has_voices(self, rule: Rule, scope: Scope) -> bool:
        if rule.min_voices <= 1:
            return True
        return self._reader.story_counts(all_texts(scope), negative=True).voices >= rule.min_voices

    def with_evidence(self, alert: Alert, rule: Rule, window: TimeRange, *, late: bool) -> Alert:
        """The alert with its most negative documents and the sources that wrote them."""
        if not rule.has_evidence:
            return alert
        scope = scope_of(rule, Subject(alert.topic, alert.entity), window, late=late)
        candidates = self._reader.most_negative(all_texts(scope), EVIDENCE_CANDIDATES)
        sources = list(self._reader.negative_writers(scope)[0].items())[:NAMED_SOURCES]
        evidence = tuple(map(self.check_words, distinct_stories(candidates, EVIDENCE_ITEMS)))
        return replace(alert, evidence=evidence, sources=dict(sources))

    def negative_documents(self, seen: Seen) -> list[PageDocument]:
        """The negative documents that a rule saw, with the entities that they are about."""
        start, end = seen.window.start, self.last_end(seen.window.end)
        scope = all_texts(scope_of(seen.rule, seen.subject, TimeRange(start, end), late=seen.late))
        return self._reader.negative_documents(scope, DEFAULT_RELEVANCE, MOST_DOCUMENTS)

    def last_end(self, end: datetime) -> datetime:
        """The end of the stored window that a window ends in: rules see all of it."""
        return window_start(end - timedelta.resolution, self._width) + self._width

    def with_stories(self, alert: Alert, rule: Rule, window: TimeRange, *, late: bool) -> Alert:
        """The alert with the stories, voices and copies behind it, which are known."""
        if not rule.has_evidence:
            return alert
        scope = all_texts(scope_of(rule, Subject(alert.topic, alert.entity), window, late=late))
        counts = self._reader.story_counts(scope, negative=rule.looks_at_negatives)
        return replace(
            alert,
            texts=counts.texts,
            stories=counts.stories,
            voices=counts.voices,
            copies=counts.copies,
            stories_text=story_counts_text(counts, negative=rule.looks_at_negatives),
        )


def first_compared(rule: Rule, window: TimeRange) -> datetime:
    """The earliest time that matters to the rule at this window, or at a late one before it."""
    spec, start = rule.baseline_spec, window.start - LATE_LIMIT
    return start if spec is None else start - spec.history - _refresh(rule, spec)


def _refresh(rule: Rule, spec: BaselineSpec) -> timedelta:
    """How often a history is read again."""
    return max(rule.window / 4, spec.history / 1000)


def longest_comparison(rules: Iterable[Rule]) -> timedelta:
    """How far back rules compare: their longest baseline, and the window after it."""
    lengths = [rule.baseline_spec.history + rule.window for rule in rules if rule.baseline_spec is not None]
    return max(lengths, default=timedelta(0))


def _overlap(ranges: Sequence[TimeRange], start: datetime, length: timedelta) -> bool:
    return any(each.start < start + length and each.end > start for each in ranges)


def _matches(cell: Aggregate, rule: Rule, topic: str) -> bool:
    return topic in (ALL_TOPICS, cell.topic) and cell.kind in rule.kinds


def _total(cells: Iterable[Aggregate], rule: Rule, topic: str, start: datetime) -> Aggregate:
    matching = (cell for cell in cells if _matches(cell, rule, topic))
    return sum(matching, Aggregate(start, topic, ALL_TOPICS))


def _selection(rule: Rule, *, late: bool) -> Selection:
    """The documents that the rule selects; of a late window only those whose time is known exactly."""
    return replace(rule.selection, exact_times=late)


def scope_of(rule: Rule, subject: Subject, window: TimeRange, *, late: bool = False) -> Scope:
    """The documents in the rule's window."""
    return Scope(
        None if subject.topic == ALL_TOPICS else subject.topic,
        rule.kinds,
        window.start,
        window.end,
        _selection(rule, late=late),
        subject.entity,
        rule.min_relevance if subject.entity else 0,
    )


def all_texts(scope: Scope) -> Scope:
    """The same documents, whatever is counted of them."""
    return replace(scope, selection=replace(scope.selection, counted=Counted.TEXTS))


def _topic_cells(cells: Sequence[Aggregate], rule: Rule, topic: str) -> list[Aggregate]:
    """The cells of one topic, with its kinds added up; `cells` are in order of time."""
    matching = [cell for cell in cells if _matches(cell, rule, topic)]
    return [
        sum(same_start, Aggregate(start, topic, ALL_TOPICS))
        for start, same_start in groupby(matching, lambda cell: cell.start)
    ]

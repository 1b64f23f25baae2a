"""What a rule is handed to look at: its window, what was before it, and the documents that stand for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from alerts.baseline import HOUR, Baseline, Stretch, live_stretches, without
from alerts.detectors.observe import Observation, Usual, Watched
from alerts.evidence import stories
from alerts.ports import AggregateReader, EpisodeStore
from alerts.rules import ALL, BaselineRule, HeartbeatRule, Rule, SilenceRule, SlowDriftRule, topics_of
from stream.domain.alerts import Alert
from stream.domain.sums import Aggregate, Scope, window_start

EVIDENCE = 5
# A longer silence in the baseline is a feed that was away, and no part of the usual rate.
LONGEST_GAP = HOUR
# Many copies of one story must not push the others out of the evidence.
LOOKED_AT = 50
# Later documents than these raise nothing: what they tell is over.
LATEST = timedelta(hours=6)
# Of so many sources the alert names those with the most negative texts.
NAMED_SOURCES = 10


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of event time."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class History:
    """What was before a rule's window: cells of every topic, and what was learned from them by topic."""

    end: datetime
    width: timedelta
    cells: Sequence[Aggregate]
    live: Sequence[Stretch]
    past: Sequence[Alert]
    usual: dict[str, Usual] = field(default_factory=dict)

    def learn(self, rule: BaselineRule, topic: str) -> Usual:
        """What is usual on one topic, the rule's own past alerts left out."""
        alerted = [
            (alert.since - rule.window, alert.resolved_at)
            for alert in self.past
            if alert.topic == topic and alert.resolved_at is not None
        ]
        kept = [cell for cell in _by_cell(self.cells, rule, topic) if not _inside(cell.start, alerted)]
        return Usual(rule, Baseline(kept, without(self.live, alerted), self.width))


class Watcher:
    """Reads for the rules.  Between two looks it keeps only what is usual, for a while."""

    def __init__(
        self, topics: Sequence[str], reader: AggregateReader, episodes: EpisodeStore, width: timedelta
    ) -> None:
        """`width` is that of the stored windows."""
        self._topics, self._reader, self._episodes, self._width = topics, reader, episodes, width
        self._histories: dict[tuple[str, bool], History] = {}
        self._stale: dict[tuple[str, bool], datetime] = {}
        self._steps: dict[str, tuple[datetime, Sequence[Aggregate]]] = {}

    def forget(self) -> None:
        """What was learned for rules that may have changed."""
        self._histories.clear()
        self._stale.clear()
        self._steps.clear()

    def period(self, rule: Rule, now: datetime) -> Period:
        """The window ends now and holds whole stored windows; its last one is still filling."""
        start = window_start(now, self._width) - rule.window + self._width
        return Period(min(start, window_start(now, self._width)), now)

    def late_periods(self, rule: Rule, now: datetime, stamps: Iterable[datetime]) -> Iterable[Period]:
        """Whole windows of the past, each ending with a text that came late and is before the current one."""
        current = self.period(rule, now).start
        last: dict[datetime, datetime] = {}
        for stamp in sorted(stamps):
            if now - LATEST <= stamp < current:
                last[window_start(stamp, max(rule.window, self._width))] = stamp
        for stamp in last.values():
            end = window_start(stamp, self._width) + self._width
            yield self.period(rule, end - timedelta.resolution)

    def watched(
        self, rule: Rule, period: Period, late_from: datetime | None = None
    ) -> Iterable[tuple[str, Watched]]:
        """What there is to see in `period`, topic by topic.

        Usual is what was before it, or for windows that are looked at late what was before all of those.
        """
        if isinstance(rule, HeartbeatRule):
            heard = self._reader.last_seen_by_source(_scope(rule, ALL, period))
            nothing = Aggregate(period.start, ALL, ALL)
            yield ALL, Watched(nothing, period.start, period.end, True, heard=heard)
            return
        steps: Sequence[Aggregate] = ()
        if isinstance(rule, SlowDriftRule):
            window = steps = self._whole_steps(rule, period.end)
        else:
            window = self._reader.sums(period.start, period.end, rule.selection)
        topics = topics_of(rule, self._topics)
        for topic in topics:
            total = _total(window, rule, topic, period.start)
            seen = Watched(total, period.start, period.end, bool(window), topics=len(topics))
            if isinstance(rule, BaselineRule):
                seen = replace(seen, usual=partial(self._usual, rule, topic, period.start, late_from))
            yield topic, replace(seen, steps=_by_cell(steps, rule, topic))

    def came_late(self, first: datetime) -> None:
        """Texts of `first` and later have only just come: what is known from there on is read anew."""
        for key, history in self._histories.items():
            if first < history.end:
                self._stale[key] = min(first, self._stale.get(key, first))

    def _usual(self, rule: BaselineRule, topic: str, before: datetime, late_from: datetime | None) -> Usual:
        """What is usual on a topic, learned anew a few times a window but no oftener than it can matter."""
        refresh = max(rule.window / 4, rule.baseline / 1000)
        end = window_start(late_from or before, max(self._width, refresh))
        key = (rule.name, late_from is not None)
        history = self._histories.get(key)
        if history is None or history.end != end:
            stale = self._stale.pop(key, end)
            history = self._histories[key] = self._history(rule, end, history, stale)
        if topic not in history.usual:
            history.usual[topic] = history.learn(rule, topic)
        return history.usual[topic]

    def _history(self, rule: BaselineRule, end: datetime, known: History | None, stale: datetime) -> History:
        """Weeks of cells are many rows: of those that are `known` only the latest are read again, and those
        from `stale` on."""
        width = max(min(HOUR, rule.window) // self._width, 1) * self._width
        start = window_start(end - rule.baseline, width)
        kept: list[Aggregate] = []
        fresh = start
        if known is not None and start < known.end <= end:
            fresh = max(start, window_start(min(known.end - LATEST, stale), width))
            kept = [cell for cell in known.cells if start <= cell.start < fresh]
        cells = [*kept, *self._reader.sums_by_window(fresh, end, width, rule.selection)]
        starts = sorted({cell.start for cell in cells})
        length = rule.step if isinstance(rule, SlowDriftRule) else rule.window
        live = live_stretches(starts, width, end, max(LONGEST_GAP, 4 * length))
        past = [alert for alert in self._episodes.past_alerts(start) if alert.rule == rule.name]
        return History(end, width, cells, live, past)

    def _whole_steps(self, rule: SlowDriftRule, now: datetime) -> Sequence[Aggregate]:
        """The steps of the window that are over, read anew some times a step."""
        asked = window_start(now, max(rule.step / 12, self._width))
        known = self._steps.get(rule.name)
        if known is None or known[0] != asked:
            end = window_start(now, rule.step)
            cells = self._reader.sums_by_window(end - rule.window, end, rule.step, rule.selection)
            known = self._steps[rule.name] = (asked, cells)
        return known[1]

    def with_writers(self, rule: Rule, topic: str, period: Period, seen: Observation) -> Observation:
        """A breach that too few sources or authors speak of is none."""
        if not seen.breached or (rule.min_sources <= 1 and rule.min_authors < 1):
            return seen
        sources, authors = self._reader.negative_writers(_scope(rule, topic, period))
        if len(sources) >= rule.min_sources and authors >= rule.min_authors:
            return seen
        return replace(seen, breached=False)

    def with_evidence(self, alert: Alert, rule: Rule, period: Period) -> Alert:
        """The episode with the documents that stand for it, and who wrote them."""
        if isinstance(rule, SilenceRule | HeartbeatRule):
            return alert
        scope = _scope(rule, alert.topic, period)
        found = self._reader.most_negative(scope, LOOKED_AT)
        sources = list(self._reader.negative_writers(scope)[0].items())[:NAMED_SOURCES]
        return replace(alert, evidence=stories(found, EVIDENCE), sources=dict(sources))


def _total(parts: Iterable[Aggregate], rule: Rule, topic: str, start: datetime) -> Aggregate:
    chosen = (part for part in parts if topic in (ALL, part.topic) and part.kind in rule.kinds)
    return sum(chosen, Aggregate(start, topic, ALL))


def _scope(rule: Rule, topic: str, period: Period) -> Scope:
    """The documents that a rule's window holds."""
    return Scope(None if topic == ALL else topic, rule.kinds, period.start, period.end, rule.selection)


def _by_cell(cells: Sequence[Aggregate], rule: Rule | BaselineRule, topic: str) -> list[Aggregate]:
    """The cells of one topic, its kinds added up; `cells` come in order of time."""
    chosen = [cell for cell in cells if topic in (ALL, cell.topic) and cell.kind in rule.kinds]
    return [
        sum(same, Aggregate(start, topic, ALL)) for start, same in groupby(chosen, lambda cell: cell.start)
    ]


def _inside(moment: datetime, periods: Iterable[Stretch]) -> bool:
    return any(start <= moment < end for start, end in periods)

"""Reads what rules on entities look at: the current windows, and what is usual about each entity.

Only the entities that have as many documents and negative ones as the rule needs are looked at, and those
with an open episode.  Their number decides nothing about the number of queries.

A rule's budget of false pages is shared out half by volume and half equally.  Of N entities in the history,
one with the level m (see `alerts.entity_baseline`) gets the share m / 2 / (sum of all levels) +
1 / 2 / (N + R).  The reserve R is for entities that the history does not know, and each of them gets the
second part.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter

from alerts.baselines.baseline import HOUR, count_documents, live_ranges, without
from alerts.baselines.entity_baseline import Pool, StreamNow, StreamWeek, level
from alerts.baselines.expectation import BaselineSpec, Expectation
from alerts.detectors.base import ALL_TOPICS, Rule, Subject, SubjectWindow
from alerts.ports import AggregateReader, EpisodeStore
from alerts.schedules.calendars import Calendar, DayType
from alerts.windows.own_alerts import own_alert_times
from stream.domain.documents import EPOCH
from stream.domain.sums import Aggregate, Counted, Fewest, MentionSelection, TimeRange, window_start

# In a longer gap of the baseline the feed was down, and the gap is no part of the usual rate.
LONGEST_GAP = HOUR
# How far back the whole stream is looked at: a bad day of the market lasts hours, a burst minutes.
MARKET_LENGTH = timedelta(hours=3)
# So long without any mention, with so many documents, and nobody looked for entities: these hours say nothing
# about what is usual.  Of so many texts one names an entity, even in a stream that seldom does.
UNLINKED_LENGTH, UNLINKED_DOCUMENTS = timedelta(days=1), 500
# The budget is kept for so many entities that the history does not know: a part of those that it knows.
RESERVED_PART, LEAST_RESERVED = 0.1, 10


def _mentions(rule: Rule, entities: tuple[str, ...] | None, *, late: bool = False) -> MentionSelection:
    """The mentions that the rule counts of these entities; of a late window only those whose time is known
    exactly."""
    documents = replace(rule.selection, exact_times=late)
    return replace(rule.mentions, entities=entities, documents=documents)


@dataclass
class EntityHistory:
    """The history before a rule's window: of the stream, in total of every entity, and of the entities that
    were looked at by the hour."""

    end: datetime
    counted: Counted
    spec: BaselineSpec
    week: StreamWeek
    totals: dict[str, Aggregate]
    watched: Sequence[str] | None
    others: Sequence[TimeRange]
    alert_times: Mapping[str, Sequence[TimeRange]]
    cells: dict[str, list[Aggregate]] = field(default_factory=dict)
    expectations: dict[str, Expectation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool = Pool.of(list(self.totals.values()))
        ids = list(self.totals) if self.watched is None else self.watched
        self._levels = dict(zip(ids, self._levels_of(ids), strict=True))
        self._all_levels = sum(self._levels.values())
        reserve = max(LEAST_RESERVED, round(RESERVED_PART * len(ids))) if self.watched is None else 0
        self._equal_parts = len(ids) + reserve
        self._stream_rates = self.week.stream.rates(self.spec.count)

    def _levels_of(self, ids: Sequence[str]) -> list[float]:
        count = self.spec.count
        nothing = Aggregate(EPOCH, "", "")
        events = [float(count(self.totals.get(id_, nothing))) for id_ in ids]
        pool_mean = self.pool.documents if count is count_documents else self.pool.negatives
        return [float(one) for one in level(events, pool_mean)]

    def share(self, entity: str) -> float:
        """The entity's share of the rule's budget of false pages."""
        by_volume = self._levels.get(entity, 0.0) / self._all_levels if self._all_levels else 0.0
        return by_volume / 2 + 1 / 2 / self._equal_parts

    def stream(self, total: Aggregate, time: TimeRange) -> StreamNow:
        """The whole stream in a time in which it has this total."""
        stream = self.week.stream
        return StreamNow(stream, total, stream.expected(self._stream_rates, *time))

    def expectation_now(self, entity: str, own: Aggregate, stream: StreamNow) -> Expectation:
        """What is usual about an entity that has these documents, while the stream is as it is."""
        return self.expectation(entity).in_market(stream.without(own, self.spec.count))

    def expectation(self, entity: str) -> Expectation:
        """What is usual about an entity whose cells were read, computed once."""
        if entity not in self.expectations:
            left_out = [*self.alert_times.get(entity, ()), *self.others]
            cells = self.cells.get(entity, [])
            baseline = self.week.baseline(cells, left_out, self.pool, self.spec.zone)
            self.expectations[entity] = Expectation(self.spec, baseline, cells)
        return self.expectations[entity]


# When the steps of a rule were read and what it counted, the sums of its entities, and their steps.
KnownSteps = tuple[tuple[datetime, Counted], list[Aggregate], dict[str, list[Aggregate]]]


class EntityWindows:
    """Reads the windows of rules on entities.  It keeps their histories for up to an hour."""

    def __init__(
        self,
        reader: AggregateReader,
        episodes: EpisodeStore,
        window_width: timedelta,
        not_compared: Callable[[Rule], Sequence[TimeRange]],
        calendar: Callable[[Rule], Calendar | None],
    ) -> None:
        """`not_compared` are the times that are no part of what is usual, such as those that another model
        labelled; `calendar` is the rule's trading calendar."""
        self._reader, self._episodes, self._width = reader, episodes, window_width
        self._not_compared, self._calendar = not_compared, calendar
        # By rule name, whether it is for late windows, and the type of the days of the window.
        self._histories: dict[tuple[str, bool, DayType], EntityHistory] = {}
        self._steps: dict[str, KnownSteps] = {}
        self._names: dict[str, str] = {}
        self._names_since: datetime | None = None

    def forget(self) -> None:
        """Drop everything that was kept."""
        self._histories.clear()
        self._steps.clear()
        self._names.clear()

    def windows(
        self, rule: Rule, window: TimeRange, open_entities: Sequence[str], late_from: datetime | None
    ) -> Iterable[tuple[Subject, SubjectWindow]]:
        """What the rule looks at in the window, entity by entity."""
        steps: dict[str, list[Aggregate]] = {}
        if rule.step_length is not None:
            totals, steps = self._completed_steps(rule, rule.step_length, window.end, open_entities)
        else:
            totals = self._totals(rule, window, open_entities, late=late_from is not None)
        if not totals:
            return
        history = self._history(rule, window, late_from, totals)
        names = self._named(list(totals), window.end)
        others = self._not_compared(rule)
        is_live = self._is_live(rule, window, totals)
        stream = None if history is None else self._stream_now(rule, history, window)
        calendar = self._calendar(rule)
        for entity, total in totals.items():
            yield (
                Subject(ALL_TOPICS, entity, names[entity]),
                SubjectWindow(
                    total=total,
                    start=window.start,
                    end=window.end,
                    feed_is_live=is_live,
                    expectation=(
                        partial(history.expectation_now, entity, total, stream)
                        if history and stream
                        else None
                    ),
                    share=1.0 if history is None else history.share(entity),
                    steps=steps.get(entity, ()),
                    of_other_model=any(
                        each.start < window.end and each.end > window.start for each in others
                    ),
                    trading=calendar.trading_hours(window) if calendar else None,
                ),
            )

    def _totals(
        self, rule: Rule, window: TimeRange, open_entities: Sequence[str], *, late: bool
    ) -> dict[str, Aggregate]:
        """The sums of the entities to look at, zero where there are none."""
        mentions, end = _mentions(rule, rule.watched_entities, late=late), self._end(window)
        needed = rule.watched_entities or () if rule.looks_for_absence else ()
        fewest = Fewest() if rule.looks_for_absence else Fewest(rule.min_documents, rule.required_negatives)
        sums = self._reader.entity_sums(window.start, end, mentions, fewest)
        return self._with_missing(rule, window.start, end, sums, [*needed, *open_entities])

    def _with_missing(
        self, rule: Rule, start: datetime, end: datetime, sums: Sequence[Aggregate], needed: Sequence[str]
    ) -> dict[str, Aggregate]:
        """The sums by entity, with those of the needed ones that have too little."""
        totals = {total.topic: total for total in sums}
        missing = tuple(sorted(set(needed) - totals.keys()))
        if missing:
            mentions = _mentions(rule, missing)
            totals |= {one: Aggregate(start, one, ALL_TOPICS) for one in missing}
            totals |= {total.topic: total for total in self._reader.entity_sums(start, end, mentions)}
        return totals

    def _end(self, window: TimeRange) -> datetime:
        """The end of the stored window that the window ends in: windows of topics have all of it too."""
        return window_start(window.end - timedelta.resolution, self._width) + self._width

    def _stream_now(self, rule: Rule, history: EntityHistory, window: TimeRange) -> StreamNow:
        """The documents of the window, or of the last hours if it is shorter."""
        time = _market_time(window)
        sums = self._reader.sums(*time, rule.stream)
        total = sum(
            (one for one in sums if one.kind in rule.kinds), Aggregate(time.start, ALL_TOPICS, ALL_TOPICS)
        )
        return history.stream(total, time)

    def _is_live(self, rule: Rule, window: TimeRange, totals: dict[str, Aggregate]) -> bool:
        if any(total.n for total in totals.values()):
            return True
        return bool(self._reader.sums(window.start, window.end, rule.feed))

    def _named(self, entities: Sequence[str], now: datetime) -> dict[str, str]:
        """How a reader knows the entities; the id of one without a name.

        Names are read again every hour, and those that were missing at once.
        """
        hour = window_start(now, HOUR)
        if self._names_since != hour:
            self._names_since, self._names = hour, {}
        unknown = [entity for entity in entities if entity not in self._names]
        if unknown:
            self._names |= self._reader.entity_names(unknown)
        return {entity: self._names.get(entity, entity) for entity in entities}

    def _completed_steps(
        self, rule: Rule, length: timedelta, now: datetime, open_entities: Sequence[str]
    ) -> tuple[dict[str, Aggregate], dict[str, list[Aggregate]]]:
        """The sums of the steps of the window that are over, and the steps, by entity; read again several
        times a step."""
        read_at = window_start(now, max(length / 12, self._width))
        end = window_start(now, length)
        start = window_start(end - rule.window, length)
        known = self._steps.get(rule.name)
        if known is None or known[0] != (read_at, rule.count):
            sums = self._reader.entity_sums(start, end, rule.mentions, Fewest(rule.min_documents))
            known = self._steps[rule.name] = ((read_at, rule.count), sums, {})
        _, sums, steps = known
        totals = self._with_missing(rule, start, end, sums, open_entities)
        unread = tuple(entity for entity in totals if entity not in steps)
        if unread:
            steps |= {entity: [] for entity in unread}
            mentions = _mentions(rule, unread)
            for step in self._reader.entity_sums_by_window(start, end, length, mentions):
                steps[step.topic].append(step)
        return totals, steps

    def _history(
        self, rule: Rule, window: TimeRange, late_from: datetime | None, entities: Iterable[str]
    ) -> EntityHistory | None:
        """The history before the window, or before the first late one, with these entities by the hour; None
        if the rule compares with none."""
        if rule.baseline_spec is None:
            return None
        calendar = self._calendar(rule)
        day_type = calendar.day_type(_market_time(window)) if calendar else DayType.MIXED
        end = window_start(late_from or window.start, HOUR)
        key = (rule.name, late_from is not None, day_type)
        history = self._histories.get(key)
        if history is None or history.end != end or history.counted is not rule.count:
            history = self._histories[key] = self._read_history(rule, rule.baseline_spec, end, day_type)
        unread = tuple(entity for entity in entities if entity not in history.cells)
        if unread:
            history.cells |= {entity: [] for entity in unread}
            start, mentions = end - history.spec.history, _mentions(rule, unread)
            for cell in self._reader.entity_sums_by_window(window_start(start, HOUR), end, HOUR, mentions):
                history.cells[cell.topic].append(cell)
        return history

    def _read_history(
        self, rule: Rule, spec: BaselineSpec, end: datetime, day_type: DayType
    ) -> EntityHistory:
        start, calendar = window_start(end - spec.history, HOUR), self._calendar(rule)
        not_compared = others = self._not_compared(rule)
        if calendar is not None:
            others = [*others, *calendar.other_days(day_type, TimeRange(start, end), HOUR)]
        cells = [
            sum(same_start, Aggregate(at, ALL_TOPICS, ALL_TOPICS))
            for at, same_start in groupby(
                (
                    cell
                    for cell in self._reader.sums_by_window(start, end, HOUR, rule.stream)
                    if cell.kind in rule.kinds
                ),
                attrgetter("start"),
            )
        ]
        longest_gap = max(LONGEST_GAP, 4 * spec.comparison_length)
        unlinked = unlinked_ranges(cells, self._reader.hours_with_mentions(start, end))
        live_hours = live_ranges([cell.start for cell in cells], HOUR, end, longest_gap)
        live = without(without(live_hours, others), unlinked)
        known = [cell for cell in cells if any(live_range.covers(cell.start) for live_range in live)]
        totals: dict[str, Aggregate] = {}
        mentions = _mentions(rule, None)
        for part in without([TimeRange(start, end)], others):
            for total in self._reader.entity_sums(part.start, part.end, mentions):
                totals[total.topic] = totals[total.topic] + total if total.topic in totals else total
        week = StreamWeek.of(known, live, spec.zone)
        return EntityHistory(
            end,
            rule.count,
            spec,
            week,
            totals,
            rule.watched_entities,
            not_compared,
            own_alert_times(rule, self._episodes, start, end, self._width),
        )


def _market_time(window: TimeRange) -> TimeRange:
    """The time in which the whole stream is looked at, with a window."""
    return TimeRange(min(window.start, window.end - MARKET_LENGTH), window.end)


def unlinked_ranges(cells: Sequence[Aggregate], with_mentions: Iterable[datetime]) -> list[TimeRange]:
    """The times in which texts were not linked to entities: before that began, until a backfill.

    `cells` are the hours of the stream in order, `with_mentions` those that have a mention of any entity.
    """
    mentioned = set(with_mentions)
    ranges = []
    for is_mentioned, run in groupby(cells, lambda cell: cell.start in mentioned):
        hours = list(run)
        found = TimeRange(hours[0].start, hours[-1].start + HOUR)
        is_long = found.end - found.start >= UNLINKED_LENGTH
        if not is_mentioned and is_long and sum(cell.n for cell in hours) >= UNLINKED_DOCUMENTS:
            ranges.append(found)
    return ranges

"""Backtests: the alert evaluator itself, run over past texts that are held in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.evaluator import DEFAULT_POLICY, AlertEvaluator
from alerts.history.memory_episodes import MemoryEpisodes
from alerts.history.memory_store import MemoryStore, Text
from alerts.incidents.joining import IncidentPolicy
from alerts.metrics import AlertMetrics
from alerts.ports import AggregateReader
from alerts.schedules.calendars import TradingCalendars
from stream.domain.alerts import Alert
from stream.domain.incidents import Incident, PageKind
from stream.domain.incidents import Page as IncidentPage
from stream.domain.sums import TimeRange, window_start

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# How often rules are evaluated between texts: while an alert is open, and otherwise.
OPEN_STEP, QUIET_STEP = timedelta(minutes=5), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Page:
    """One alert: the episode when it fired, and at the end of the backtest."""

    fired: Alert
    now: Alert

    @property
    def fired_at(self) -> datetime:
        return self.fired.fired_at or self.fired.since


@dataclass(frozen=True, slots=True)
class SentPage:
    """One page of an incident, with its leading alert as it was when it was sent, and the incident as it was
    at the end of the backtest."""

    page: IncidentPage
    alert: Alert
    incident: Incident

    @property
    def kind(self) -> PageKind:
        return self.page.kind

    @property
    def at(self) -> datetime:
        return self.page.at

    @property
    def message(self) -> Mapping[str, Any]:
        return self.page.message


@dataclass(frozen=True, slots=True)
class Replay:
    """What rules would have done over history: the alerts that fired, and the pages, both in order."""

    alerts: Sequence[Page] = ()
    pages: Sequence[SentPage] = ()


def replay(
    rules: Sequence[Rule],
    topics: Sequence[str],
    texts: Sequence[Text],
    start: datetime | None = None,
    progress: Callable[[float], None] = lambda share: None,
    stories_since: datetime | None = None,
    policy: IncidentPolicy = DEFAULT_POLICY,
    calendars: TradingCalendars | None = None,
) -> Replay:
    """What `rules` would have done from `start` on.  Older texts are baseline only.

    `stories_since` is the publication time from which on every text has a story, or waits for it; None: from
    the last one without on.  `calendars` are those that the rules name.
    The rules are evaluated at the end of each minute that has texts, and in between so that alerts resolve.
    `progress` gets the share that is done, from 0 to 1.
    """
    store = MemoryStore(texts, stories_since)
    if not store.texts:
        return Replay()
    begin = max(start or store.texts[0].published_at, store.texts[0].published_at)
    minutes = {window_start(text.published_at, MINUTE) for text in store.texts if text.published_at >= begin}
    times = evaluation_times(minutes, MINUTE, TimeRange(begin, store.texts[-1].published_at + MINUTE))
    return replay_over(store, MINUTE, times, rules, topics, progress, policy, calendars)


def replay_over(
    reader: AggregateReader,
    width: timedelta,
    times: Sequence[datetime],
    rules: Sequence[Rule],
    topics: Sequence[str],
    progress: Callable[[float], None] = lambda share: None,
    policy: IncidentPolicy = DEFAULT_POLICY,
    calendars: TradingCalendars | None = None,
) -> Replay:
    """What `rules` would have done if they had been evaluated at these times, and while an alert is open also
    in between, over a past with base windows of `width`."""
    if not times:
        return Replay()
    episodes = MemoryEpisodes()
    evaluator = AlertEvaluator(
        rules=rules,
        topics=topics,
        reader=reader,
        episodes=episodes,
        delivery=PageRouter(),
        window_width=width,
        metrics=AlertMetrics(),
        policy=policy,
    )
    if calendars is not None:
        evaluator.use_calendars(calendars)
    first, last = times[0], times[-1]
    evaluated_at: datetime | None = None
    for time in times:
        while evaluated_at is not None and episodes.open_alerts() and evaluated_at + OPEN_STEP < time:
            evaluated_at += OPEN_STEP
            evaluator.evaluate(evaluated_at)
        evaluator.evaluate(time)
        evaluated_at = time
        progress((time - first) / (last - first) if last > first else 1.0)
    return _replay_of(episodes)


def _replay_of(episodes: MemoryEpisodes) -> Replay:
    alerts = [Page(alert, episodes.alerts.get(id_, alert)) for id_, alert in episodes.fired.items()]
    pages = [
        SentPage(page, episodes.leading[page.key], episodes.incidents[page.incident])
        for page in episodes.pages
    ]
    return Replay(sorted(alerts, key=lambda page: (page.fired_at, page.fired.rule)), pages)


def evaluation_times(windows: Collection[datetime], width: timedelta, tested: TimeRange) -> list[datetime]:
    """The end of each base window that has texts, and each hour of the tested time."""
    times = {start + width for start in windows}
    hour = window_start(tested.start, QUIET_STEP) + QUIET_STEP
    while hour < tested.end:
        times.add(hour)
        hour += QUIET_STEP
    return sorted(times)

"""A trial: what rules would have sent over the last days, with the numbers of the rule file and with others.

It runs over the stored sums, in a process of its own (`monitor/jobs.py`): it keeps a CPU busy for
seconds to minutes, and the stream must not wait for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from alerts.backtest import Replay, SentPage, evaluation_times, replay_over
from alerts.detectors.base import Rule
from alerts.history.window_store import WindowStore
from alerts.rules.rule_file import load_rule_set
from alerts.schedules.calendars import TradingCalendars
from alerts.windows.window_reader import longest_comparison
from monitor.entity_ids import resolver_of_settings
from monitor.runtime.settings import Settings
from monitor.trading_calendars import names_of, read_calendars
from stream.domain.alerts import Severity
from stream.domain.incidents import PageKind
from stream.domain.sums import TimeRange, window_start
from stream.storage import database
from stream.storage.batches import Store

TRIED_DAYS = 30
# How many pages of a trial are listed, the latest ones; all of them are counted.
LISTED_PAGES = 200
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class TrialRequest:
    """Which `rules` of a rule file are tried together, and until when.

    `texts` are what files would say; none to try the rules as they are.  The model knows `topics` and
    `event_types`.
    """

    rule_file: Path
    rules: tuple[str, ...]
    end: datetime
    topics: tuple[str, ...]
    event_types: tuple[str, ...] = ()
    texts: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TriedPage:
    """A page that would have been sent.  `ended_at` is when its incident was over."""

    incident: str
    kind: PageKind
    at: datetime
    severity: str
    title: str
    rule: str
    subject: str
    summary: str
    uncertainty: str
    ended_at: datetime | None

    @property
    def begins_page(self) -> bool:
        """Whether an incident begins with it that wakes somebody."""
        return self.kind is PageKind.BEGIN and self.severity == Severity.PAGE


@dataclass(frozen=True)
class TriedRules:
    """What rules would have sent: of `pages` the latest LISTED_PAGES, in order of time.

    `incidents` are those that begin with severity page, `updates` the other pages of that severity, and
    `others` the pages of lower severity.  `alerts` are those that fired, by the name of the rule.
    """

    incidents: int
    updates: int
    others: int
    alerts: Mapping[str, int]
    pages: Sequence[TriedPage]


@dataclass(frozen=True)
class TrialResult:
    """What was tried over [start, end), with the documents that were published in it, and what came out.

    `changed` is None if nothing was changed.  `since` is the first hour that has documents, `notes` says what
    could not be taken into account.
    """

    start: datetime
    end: datetime
    since: datetime | None
    documents: int
    present: TriedRules
    changed: TriedRules | None
    notes: Sequence[str]


def run_trial(settings: Settings, request: TrialRequest, report: Report) -> TrialResult:
    """Try the rules.  `report` gets what is being done, and the share of it that is done.

    Raises RuleError, TooMuchHistory and StoreUnavailable.
    """
    versions = _rules(settings, request)
    engine = database.connect_existing(settings.database)
    try:
        store = Store(engine, settings.stream.window_seconds)
        return _Trial(settings, store, request.topics, request.end, report).run(versions)
    finally:
        engine.dispose()


def _rules(settings: Settings, request: TrialRequest) -> list[list[Rule]]:
    """The rules as they are and, if there are texts to try, as they would be."""
    load = partial(
        load_rule_set,
        request.rule_file,
        request.topics,
        settings.alerts.time_zone,
        resolver_of_settings(settings.models),
        event_types=request.event_types,
    )
    sets = [load(texts=texts) for texts in (({}, request.texts) if request.texts else ({},))]
    return [[rule for rule in each.rules if rule.name in request.rules] for each in sets]


class _Trial:
    """One store of sums for all versions of the rules."""

    def __init__(
        self, settings: Settings, store: Store, topics: Sequence[str], end: datetime, report: Report
    ) -> None:
        self._settings, self._store, self._topics, self._report = settings, store, topics, report
        self._end = window_start(end, store.width)

    def run(self, versions: Sequence[Sequence[Rule]]) -> TrialResult:
        every_rule = [rule for rules in versions for rule in rules]
        tested = TimeRange(self._end - timedelta(days=TRIED_DAYS), self._end)
        known = TimeRange(window_start(tested.start - reach(every_rule), self._store.width), self._end)
        reads = self._store.reads
        self._report("reading the sums", 0.0)
        past = WindowStore(
            reads,
            known,
            self._store.width,
            has_dates=reads.has_dates(*known),
            progress=lambda share: self._report("reading the sums", share),
        )
        windows = past.windows_with_texts()
        in_time = [start for start in windows if start >= tested.start]
        times = evaluation_times(in_time, self._store.width, tested) if in_time else []
        calendars, notes = self._calendars(every_rule, known.start)
        results = [
            self._tried(number, len(versions), past, times, rules, calendars)
            for number, rules in enumerate(versions)
        ]
        present, *changed = results
        return TrialResult(
            start=tested.start,
            end=tested.end,
            since=windows[0] if windows else None,
            documents=sum(total.n for total in reads.sums(*tested)),
            present=present,
            changed=changed[0] if changed else None,
            notes=notes,
        )

    def _calendars(self, rules: Sequence[Rule], since: datetime) -> tuple[TradingCalendars, list[str]]:
        names = names_of(rules)
        if names:
            self._report("reading the trading calendars", 0.0)
        read = read_calendars(names, since)
        notes = [
            f"trading calendar {name} cannot be read, so its rules were tried without: {problem}"
            for name, problem in read.problems.items()
        ]
        return TradingCalendars(read.calendars), notes

    def _tried(
        self,
        number: int,
        versions: int,
        past: WindowStore,
        times: Sequence[datetime],
        rules: Sequence[Rule],
        calendars: TradingCalendars,
    ) -> TriedRules:
        what = "trying the changed numbers" if number else "trying the rules as they are"
        found = replay_over(
            past,
            self._store.width,
            times,
            rules,
            self._topics,
            lambda share: self._report(what, (number + share) / versions),
            self._settings.alerts.incidents.policy,
            calendars,
        )
        return tried_rules(found)


def reach(rules: Sequence[Rule]) -> timedelta:
    """How far back rules look, with a day to spare: a history begins with a whole hour or day."""
    windows = [rule.window for rule in rules]
    return max([longest_comparison(rules), *windows]) + timedelta(days=1)


def tried_rules(found: Replay) -> TriedRules:
    """What a backtest found, as it is shown."""
    pages = [_tried_page(page) for page in found.pages]
    counts: dict[str, int] = {}
    for alert in found.alerts:
        counts[alert.fired.rule] = counts.get(alert.fired.rule, 0) + 1
    paging = [page for page in pages if page.severity == Severity.PAGE]
    begun = sum(page.begins_page for page in pages)
    return TriedRules(begun, len(paging) - begun, len(pages) - len(paging), counts, pages[-LISTED_PAGES:])


def _tried_page(page: SentPage) -> TriedPage:
    alert, message = page.alert, page.message
    return TriedPage(
        incident=page.page.incident,
        kind=page.kind,
        at=page.at,
        severity=str(message["severity"]),
        title=str(message["title"]),
        rule=alert.rule,
        subject=alert.subject,
        summary=alert.summary,
        uncertainty=alert.uncertainty,
        ended_at=page.incident.over_since,
    )

"""What rules would have done over history, compared with the events that are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from alerts.backtest import SentPage, replay
from alerts.detectors.base import Rule
from alerts.evaluator import DEFAULT_POLICY
from alerts.history.memory_store import Text
from alerts.incidents.joining import IncidentPolicy
from alerts.schedules.calendars import TradingCalendars
from models.data.dataset import records
from models.errors import DataError
from stream.domain.alerts import Severity
from stream.domain.files.file_times import TimeFormat, parse_time
from stream.domain.incidents import PageKind

# A page from this long before an event begins until this long after it ends counts as a page for it.
TOLERANCE = timedelta(hours=2)
# How long an event lasts when no end is known.
DEFAULT_DURATION = timedelta(days=1)
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Event:
    """Something that should have paged."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class EventOutcome:
    """A known event and the first page for it, if there was one."""

    event: Event
    page: SentPage | None

    @property
    def delay(self) -> timedelta | None:
        """From the start of the event to the page; None if it was missed."""
        return self.page.at - self.event.start if self.page else None


@dataclass(frozen=True)
class Result:
    """What one rule file would have done.

    `pages` are those of severity page: of each incident its beginning, its updates and its end; `others` are
    the rest.  With known events, `event_outcomes` has each of them and `false_pages` the beginnings that
    match none.
    """

    rules: str
    pages: Sequence[SentPage]
    others: Sequence[SentPage]
    event_outcomes: Sequence[EventOutcome] = ()
    false_pages: Sequence[SentPage] = ()

    @property
    def incidents(self) -> int:
        """How many incidents began with severity page."""
        return sum(page.kind is PageKind.BEGIN for page in self.pages)


def run_backtest(
    name: str,
    rules: Sequence[Rule],
    topics: Sequence[str],
    texts: Sequence[Text],
    *,
    start: datetime | None,
    events: Sequence[Event],
    progress: Progress,
    stories_since: datetime | None = None,
    policy: IncidentPolicy = DEFAULT_POLICY,
    calendars: TradingCalendars | None = None,
) -> Result:
    """Run the rules of the file `name` over the texts; texts before `start` are only baseline."""
    pages = replay(
        rules,
        topics,
        texts,
        start,
        lambda share: progress(f"testing {name}", share),
        stories_since,
        policy,
        calendars,
    ).pages
    paging = [page for page in pages if page.message["severity"] == Severity.PAGE]
    others = [page for page in pages if page.message["severity"] != Severity.PAGE]
    news = [page for page in paging if page.kind is not PageKind.END]
    outcomes = [
        EventOutcome(event, next((page for page in news if _is_for(page, event)), None)) for event in events
    ]
    beginnings = [page for page in paging if page.kind is PageKind.BEGIN]
    false_pages = [page for page in beginnings if not any(_is_for(page, event) for event in events)]
    return Result(name, paging, others, outcomes, false_pages if events else ())


def _is_for(page: SentPage, event: Event) -> bool:
    return event.start - TOLERANCE <= page.at <= event.end + TOLERANCE


def read_events(path: Path, times: TimeFormat) -> list[Event]:
    """The events of a .csv or .jsonl file with `start` and optional `name` and `end`.  Raises DataError."""
    events: list[Event] = []
    for where, row in records(path):
        start = _time(where, "start", row.get("start"), times)
        end = _time(where, "end", row["end"], times) if row.get("end") else start + DEFAULT_DURATION
        if end < start:
            raise DataError(f"{where}: the end lies before the start")
        events.append(Event(str(row.get("name") or f"event {len(events) + 1}"), start, end))
    if not events:
        raise DataError(f"{path}: no events; each line needs start, and may have name and end")
    return events


def _time(where: str, name: str, value: object, times: TimeFormat) -> datetime:
    try:
        return parse_time(value, times).at
    except ValueError as error:
        raise DataError(f"{where}: {name} {value!r}: {error}") from error

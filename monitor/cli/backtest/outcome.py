"""What rules would have done over history, compared with the events that are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from alerts.backtest import Page, Text, backtest
from alerts.calendars import TradingCalendars
from alerts.detectors.base import Rule
from models.data.dataset import records
from models.errors import DataError
from stream.domain.alerts import Severity
from stream.domain.files.file_times import TimeFormat, parse_time

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
    page: Page | None

    @property
    def delay(self) -> timedelta | None:
        """From the start of the event to the page; None if it was missed."""
        return self.page.fired_at - self.event.start if self.page else None


@dataclass(frozen=True)
class Result:
    """What one rule file would have done.

    `pages` are the alerts of severity page, `others` the rest.  With known events, `event_outcomes` has each
    of them and `false_pages` the pages that match none.
    """

    rules: str
    pages: Sequence[Page]
    others: Sequence[Page]
    event_outcomes: Sequence[EventOutcome] = ()
    false_pages: Sequence[Page] = ()


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
    calendars: TradingCalendars | None = None,
) -> Result:
    """Run the rules of the file `name` over the texts; texts before `start` are only baseline."""
    pages = backtest(
        rules,
        topics,
        texts,
        start,
        lambda share: progress(f"testing {name}", share),
        stories_since,
        calendars,
    )
    paging = [page for page in pages if page.fired.severity == Severity.PAGE]
    others = [page for page in pages if page.fired.severity != Severity.PAGE]
    outcomes = [
        EventOutcome(event, next((page for page in paging if _is_for(page, event)), None)) for event in events
    ]
    false_pages = [page for page in paging if not any(_is_for(page, event) for event in events)]
    return Result(name, paging, others, outcomes, false_pages if events else ())


def _is_for(page: Page, event: Event) -> bool:
    return event.start - TOLERANCE <= page.fired_at <= event.end + TOLERANCE


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

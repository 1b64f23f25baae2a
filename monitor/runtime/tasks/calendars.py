"""Reads the trading calendars that the rules name, every day and when the rules name others."""

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from alerts.rules.rule_file import RuleFile
from alerts.schedules.calendars import TradingCalendars
from monitor.trading_calendars import (
    REACH,
    CalendarsRead,
    calendar_problems,
    calendars_ending,
    names_of,
)

log = logging.getLogger(__name__)

# Exchanges announce a day off some days ahead, and a new version of the library may bring it at any time.
READ_EVERY = timedelta(days=1)


class CalendarReading:
    """Each monitor does this for its own rules, in a thread of its own: it takes seconds."""

    def __init__(
        self,
        *,
        rule_file: RuleFile,
        calendars: TradingCalendars,
        read: Callable[[Collection[str], datetime], CalendarsRead],
        clock: Callable[[], datetime],
    ) -> None:
        self._rule_file, self._calendars, self._read, self._clock = rule_file, calendars, read, clock
        self._last: tuple[datetime, tuple[str, ...]] | None = None
        self._problems: list[str] = []
        self._ending: list[str] = []

    def run_once(self) -> None:
        """Read them if that is due."""
        now, names = self._clock(), names_of(self._rule_file.rules)
        if not names or not self._is_due(names, now):
            return
        read = self._read(names, now - REACH)
        self._calendars.put(read.calendars, names)
        self._last = (now, names)
        self._tell(read, now)

    def _is_due(self, names: tuple[str, ...], now: datetime) -> bool:
        if self._last is None:
            return True
        at, known = self._last
        # A time in the future: the clock was set back.
        return known != names or not now - READ_EVERY < at <= now

    def _tell(self, read: CalendarsRead, now: datetime) -> None:
        """Log what was read, and what is wrong when it changes."""
        for calendar in read.calendars:
            log.info("trading calendar %s: known until %s", calendar.name, f"{calendar.known.end:%Y-%m-%d}")
        problems, ending = calendar_problems(read), calendars_ending(read, now)
        if problems and problems != self._problems:
            log.error(
                "trading calendars: %s; rules use what was read before, and go on as without a calendar "
                "where nothing was",
                "; ".join(problems),
            )
        if ending and ending != self._ending:
            log.warning("trading calendars: %s", "; ".join(ending))
        self._problems, self._ending = problems, ending

"""Reads the trading calendars that rules name, in a process that ends."""

import json
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alerts.detectors.base import Rule
from alerts.schedules.calendars import Calendar
from stream.domain.sums import TimeRange

PROCESS = Path(__file__).with_name("calendar_process.py")
# One calendar takes one second to twelve, when the machine is busy.
LEAST_SECONDS, SECONDS_EACH = 60.0, 15.0
# Rules compare with at most a year before a window of a year.
REACH = timedelta(days=740)
# What is known for less than this is worth a word.
SOON = timedelta(days=14)


@dataclass(frozen=True)
class CalendarsRead:
    """The calendars that could be read, and what is wrong with each of the others, by its name."""

    calendars: tuple[Calendar, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def names_of(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The calendars that the rules name, in order."""
    specs = [rule.baseline_spec for rule in rules]
    return tuple(sorted({spec.calendar for spec in specs if spec and spec.calendar}))


def read_calendars(names: Collection[str], since: datetime) -> CalendarsRead:
    """The calendars from a day on, and as far ahead as the library knows them: a year at most.

    Takes seconds.  Raises nothing: why a calendar cannot be read is part of the result.
    """
    if not names:
        return CalendarsRead()
    seconds = LEAST_SECONDS + SECONDS_EACH * len(names)
    request = {"names": list(names), "since": since.date().isoformat(), "seconds": seconds}
    try:
        done = subprocess.run(  # noqa: S603  a program of this package, without a shell
            [sys.executable, "-P", str(PROCESS)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=seconds,
            check=True,
            start_new_session=True,  # Ctrl-C is for the monitor
        )
        return _parsed(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        problem = f"the process that reads it failed: {type(error).__name__}"
        return CalendarsRead(problems=dict.fromkeys(names, problem))


def _parsed(answer: Any) -> CalendarsRead:
    read: list[Calendar] = []
    problems = dict(answer["problems"])
    for name, times in answer["calendars"].items():
        if times["days"]:
            read.append(Calendar(name, _ranges(times["hours"]), _ranges(times["days"])))
        else:
            problems[name] = "the library knows none of its days of trading"
    return CalendarsRead(tuple(read), problems)


def _ranges(times: Iterable[tuple[float, float]]) -> tuple[TimeRange, ...]:
    return tuple(TimeRange(_time(start), _time(end)) for start, end in times)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def calendar_problems(read: CalendarsRead) -> list[str]:
    """Which calendars cannot be read, and why, for people."""
    return [f"{name} cannot be read: {problem}" for name, problem in sorted(read.problems.items())]


def calendars_ending(read: CalendarsRead, now: datetime) -> list[str]:
    """Which calendars end soon or have ended, and what that means, for people.

    That is no fault: of some exchanges the library learns a year's holidays when that year is about to begin,
    and no version may know them yet.
    """
    return [
        f"{calendar.name} is known until {calendar.known.end:%Y-%m-%d}; after that its rules compare as "
        "without a calendar, until a version of exchange_calendars knows more"
        for calendar in read.calendars
        if calendar.known.end < now + SOON
    ]

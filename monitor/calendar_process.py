"""Reads trading calendars with exchange_calendars.  A program of its own: the library brings pandas, and
80 MB of memory that its process gives back when it ends.

It reads a request as JSON from standard input: the names of calendars, and the day from which on they are
asked for.  It prints the times of each, in seconds since 1970, and why others cannot be read.  It imports
nothing of the project, so that it starts quickly.
"""

import json
import signal
import sys
import warnings
from datetime import date, datetime, time, timedelta
from typing import Any

MISSING = "the library exchange_calendars is not installed: pip install 'sentiment-monitor[calendars]'"
Times = list[list[float]]


def main() -> None:
    request = json.load(sys.stdin)
    # The parent ends this process in time; this is for one whose parent was killed.
    signal.alarm(int(request["seconds"]) + 2)
    warnings.simplefilter("ignore")
    calendars: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name in request["names"]:
        try:
            calendars[name] = _read(name, date.fromisoformat(request["since"]))
        except ImportError as error:
            missing = error.name == "exchange_calendars"
            problems[name] = MISSING if missing else f"the library cannot be used: {error}"
        except Exception as error:
            problems[name] = f"{type(error).__name__}: {error}"[:200]
    json.dump({"calendars": calendars, "problems": problems}, sys.stdout)


def _read(name: str, since: date) -> dict[str, Times]:
    import exchange_calendars

    try:
        calendar = exchange_calendars.get_calendar(name, start=since.isoformat())
    except ValueError:  # the library begins later
        calendar = exchange_calendars.get_calendar(name)
    hours: Times = []
    days: Times = []
    for session, times in calendar.schedule.iterrows():
        if session.date() < since:
            continue
        first, last = times["open"].timestamp(), times["close"].timestamp()
        has_break = times["break_start"] == times["break_start"]  # NaT equals nothing
        pause = [times["break_start"].timestamp(), times["break_end"].timestamp()] if has_break else []
        edges = [first, *pause, last]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            _add(hours, start, end)
        midnight = _midnight(session.date(), calendar.tz)
        _add(
            days, min(midnight, first), max(_midnight(session.date() + timedelta(days=1), calendar.tz), last)
        )
    return {"hours": hours, "days": days}


def _midnight(day: date, zone: Any) -> float:
    return datetime.combine(day, time(), zone).timestamp()


def _add(times: Times, start: float, end: float) -> None:
    """Add a time that does not begin before the last one; they become one if they touch."""
    if times and start <= times[-1][1]:
        times[-1][1] = max(end, times[-1][1])
    else:
        times.append([start, end])


if __name__ == "__main__":
    main()

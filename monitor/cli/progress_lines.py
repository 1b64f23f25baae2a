"""Progress as plain lines, for logs: how much is done, how fast, and how long the rest takes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

import click

SECONDS_BETWEEN_LINES = 5.0
MEGABYTE = 1e6
Update = Callable[[float, float | None, str], None]


class Unit(StrEnum):
    """What is counted."""

    ITEMS = "items"
    BYTES = "bytes"
    SHARE = "share"  # of 1


class ProgressLines:
    """The latest state of a task, as a line.

    A task may have stages: a new one begins where less is done than before, or the total is another.
    """

    def __init__(self, what: str, unit: Unit, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._unit, self._clock = what, unit, clock
        self._done = self._first = 0.0
        self._total: float | None = None
        self._started = self._stage_started = clock()

    def update(self, done: float, total: float | None, what: str) -> None:
        """So much is done of a total, None if that is unknown."""
        if done < self._done or total != self._total:
            self._first, self._stage_started = done, self._clock()
        self._done, self._total, self._what = done, total, what

    def line(self) -> str:
        """Done of total, rate and time left, as far as they are known."""
        now = self._clock()
        seconds, done = now - self._stage_started, self._done - self._first
        rate = done / seconds if seconds > 0 else 0.0
        parts = [self._amount()] if self._done else []
        if rate and self._unit is not Unit.SHARE:
            parts.append(f"{_number(rate, self._unit)}/s")
        if rate and self._total is not None and self._done < self._total:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        return f"{self._what}: {', '.join([*parts, f'{duration(now - self._started)} so far'])}"

    def _amount(self) -> str:
        if self._unit is Unit.SHARE:
            return f"{100 * self._done:.0f} %"
        done = _number(self._done, self._unit)
        return done if self._total is None else f"{done} of {_number(self._total, self._unit)}"


@contextmanager
def plain_lines(what: str, unit: Unit, seconds: float) -> Iterator[Update]:
    """Print a line on standard error every so many seconds, also while nothing moves."""
    lines, ended = ProgressLines(what, unit), threading.Event()

    def print_lines() -> None:
        while not ended.wait(seconds):
            with suppress(OSError, ValueError):  # nobody reads standard error
                click.echo(lines.line(), err=True)

    printing = threading.Thread(target=print_lines, name="progress", daemon=True)
    printing.start()
    try:
        yield lines.update
    finally:
        ended.set()
        printing.join()


def duration(seconds: float) -> str:
    """A duration to two digits or so, such as 40 s, 12 min or 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _number(value: float, unit: Unit) -> str:
    if unit is Unit.BYTES:
        return f"{value / MEGABYTE:.1f} MB"
    return f"{value:.1f}" if value < 10 and value != int(value) else f"{value:.0f}"

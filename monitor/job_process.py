"""Runs one function in a process of its own; `monitor/jobs.py` starts it.

It reads the function and its arguments from standard input, and prints a line of JSON for what is being done,
and one for the result or for what went wrong.
"""

import logging
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from alerts.errors import AlertError
from models.errors import ModelError
from stream.domain.errors import StreamError

# Gets what is being done, and the share of it that is done.
Report = Callable[[str, float], None]
REPORT_SECONDS = 0.3


class Line(msgspec.Struct, omit_defaults=True):
    """What a job says: how far it is, or its result as JSON, or why it has none."""

    step: str = ""
    share: float = 0.0
    problem: str | None = None
    result: str | None = None


class Reporter:
    """Prints lines; those of progress not more often than somebody looks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._last = 0.0

    def progress(self, step: str, share: float) -> None:
        """Say what is being done."""
        now = time.monotonic()
        if now - self._last >= REPORT_SECONDS:
            self._last = now
            self.send(Line(step=step, share=min(max(share, 0.0), 1.0)))

    def send(self, line: Line) -> None:
        """Write a line whole, however long it is."""
        left = memoryview(msgspec.json.encode(line) + b"\n")
        while left:
            left = left[os.write(self._descriptor, left) :]


def main() -> None:
    seconds, niceness, function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  the monitor itself wrote it
    # The monitor ends this process in time; this is for one whose monitor was killed.
    signal.alarm(int(seconds) + 5)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody reads it any more: end
    os.nice(niceness)
    reporter = Reporter(os.dup(1))
    os.dup2(2, 1)  # what a library prints is no line of this protocol
    logging.disable(logging.WARNING)  # what rules do on trial is nothing that happens
    reporter.send(run(function, arguments, reporter.progress))


def run(function: Callable[..., Any], arguments: Sequence[Any], report: Report) -> Line:
    """The last line of a job."""
    try:
        return Line(result=msgspec.json.encode(function(*arguments, report)).decode())
    except (AlertError, ModelError, StreamError) as error:
        return Line(problem=str(error))


if __name__ == "__main__":
    main()

"""What the process does on a signal, from its start to its end."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

Action = Callable[[], object]
# Nothing is meant by these, but by default they kill.
MEANINGLESS = (signal.SIGUSR1, signal.SIGUSR2)


def handle_signals(actions: Mapping[signal.Signals, Action]) -> None:
    """From now on run the action of a signal when it arrives, in a thread of its own.

    A handler interrupts the main thread anywhere, even in the middle of a log line, so it must not log.
    Outside of the main thread nothing is installed.
    """
    if _may_install():
        for number, action in actions.items():
            signal.signal(number, _in_thread(action))
        ignore_signals(MEANINGLESS)


def ignore_signals(numbers: tuple[signal.Signals, ...]) -> None:
    """From now on do nothing on these, for a process that is ending already."""
    if _may_install():
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def end_while_starting() -> None:
    """SIGTERM before the monitor runs: nothing is in progress, so the process ends at once, with status 0."""
    log.info("stopped while starting")
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)


def _may_install() -> bool:
    return threading.current_thread() is threading.main_thread()


def _in_thread(action: Action) -> Callable[..., None]:
    return lambda *_: threading.Thread(target=action, name="signal", daemon=True).start()

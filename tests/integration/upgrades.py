"""Upgrade databases in processes that kill themselves, or all at once.

    python -m tests.integration.upgrades each URL          killed at every statement, until one comes through
    python -m tests.integration.upgrades some URL          killed at every fourth
    python -m tests.integration.upgrades last URL          killed once, when only the commit is missing
    python -m tests.integration.upgrades together URL ...  three at once on each database

Prints how many were killed, or how many came through.  An upgrade that fails ends this program with its error.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, event

from stream.storage import database
from stream.storage.settings import DatabaseSettings

AT_ONCE = 3


def start(url: str, listener: Callable[..., None] | None = None, name: str = "") -> int:
    """The id of a process that upgrades, and calls the listener at each event `name`."""
    child = os.fork()
    if child == 0:
        if listener is not None:
            event.listen(Engine, name, listener)
        database.upgrade(DatabaseSettings(url=SecretStr(url)))
        os._exit(0)
    return child


def is_through(child: int) -> bool:
    """Wait for a process that upgrades; False if it was killed."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, "an upgrade failed"
    return True


def kill_at(call: int) -> Callable[..., None]:
    """A listener that kills the process when it is called for the `call`-th time."""
    calls = 0

    def listener(*_arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)

    return listener


def count_kills(how: str, url: str) -> int:
    if how == "last":
        return int(not is_through(start(url, kill_at(1), "commit")))
    killed, step = 0, {"each": 1, "some": 4}[how]
    while not is_through(start(url, kill_at(killed * step + 1), "before_cursor_execute")):
        killed += 1
    return killed


def count_together(urls: list[str]) -> int:
    return sum(sum([is_through(child) for child in [start(url) for _ in range(AT_ONCE)]]) for url in urls)


def main(how: str, *urls: str) -> None:
    print(count_together(list(urls)) if how == "together" else count_kills(how, *urls))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

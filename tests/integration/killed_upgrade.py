"""Upgrade a database in processes that kill themselves.

    python -m tests.integration.killed_upgrade URL each    at every statement, until an upgrade comes through
    python -m tests.integration.killed_upgrade URL some    at every fourth
    python -m tests.integration.killed_upgrade URL last    once, when only the commit is missing

Prints how many were killed.  An upgrade that fails in any other way ends this program with its error.
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


def kill_at(call: int) -> Callable[..., None]:
    """A listener that kills the process when it is called for the `call`-th time."""
    calls = 0

    def listener(*_arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)

    return listener


def was_killed(url: str, name: str, call: int) -> bool:
    """Upgrade in a process of its own that dies at the `call`-th event `name`; False if it got through."""
    child = os.fork()
    if child == 0:
        event.listen(Engine, name, kill_at(call))
        database.upgrade(DatabaseSettings(url=SecretStr(url)))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return False
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "the upgrade failed"
    return True


def main(url: str, when: str) -> None:
    killed = 0
    if when == "last":
        killed = int(was_killed(url, "commit", 1))
    else:
        step = {"each": 1, "some": 4}[when]
        while was_killed(url, "before_cursor_execute", killed * step + 1):
            killed += 1
    print(killed)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

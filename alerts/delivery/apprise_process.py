"""Sends one page through Apprise.  A program of its own: its process can be ended at any time.

Apprise's time limits are for each read, it reads answers of any length, and some of its services have no
limit at all.  A thread cannot be ended, and would go on reading.

It reads a request as JSON from standard input, and prints whether the page was sent, and the HTTP status of a
refusal if there is one.  It imports nothing of the project, so that it starts quickly.
"""

import contextlib
import json
import logging
import re
import resource
import signal
import sys
from pathlib import Path

import apprise

# Memory for sending: a service that answers without end must not take the machine's.
MEMORY_BYTES = 256_000_000
HTTP_STATUS = re.compile(r"\berror=([1-5]\d\d)\b")


class Statuses(logging.Handler):
    """Collects the HTTP statuses of refusals, which Apprise tells its log only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found += map(int, HTTP_STATUS.findall(record.getMessage()))


def main() -> None:
    request = json.load(sys.stdin)
    # The parent ends this process in time; this is for one whose parent was killed.
    signal.alarm(int(request["seconds"]) + 2)
    channel = apprise.Apprise()
    channel.add(request["url"])
    for service in channel:
        service.overflow_mode = apprise.OverflowMode.SPLIT  # a text that is too long is sent in parts
    statuses = Statuses()
    logging.getLogger("apprise").addHandler(statuses)
    _limit_memory()
    sent = channel.notify(
        body=request["body"], title=request["title"], body_format="text", notify_type=request["kind"]
    )
    json.dump({"sent": bool(sent), "status": statuses.found[-1] if statuses.found else None}, sys.stdout)


def _limit_memory() -> None:
    with contextlib.suppress(OSError, ValueError):  # only Linux has it
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()

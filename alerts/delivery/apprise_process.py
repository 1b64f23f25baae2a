"""Sends one page through Apprise.  A program of its own: its process can be ended at any time.

Apprise's time limits are for each read, it reads answers of any length, and some of its services have no
limit at all.  A thread cannot be ended, and would go on reading.

It reads a request as JSON from standard input, and prints whether Apprise takes the page for sent, and the
answers to what it posted.  It imports nothing of the project, so that it starts quickly.
"""

import contextlib
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import apprise
import requests

# Memory for sending: a service that answers without end must not take the machine's.
MEMORY_BYTES = 256_000_000
ANSWER_BYTES, MAX_ANSWERS = 64_000, 20


class Answers:
    """Collects what services answer: Apprise looks at the status, and some refuse a page under HTTP 200."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        self._send = requests.Session.send

    def listen(self) -> None:
        def send(session: requests.Session, request: Any, **options: Any) -> requests.Response:
            response = self._send(session, request, **options)
            if request.method == "POST":
                body = (response.content or b"")[:ANSWER_BYTES].decode(errors="replace")
                self.found = [*self.found, (response.status_code, body)][-MAX_ANSWERS:]
            return response

        requests.Session.send = send  # type: ignore[method-assign,assignment]


def main() -> None:
    request = json.load(sys.stdin)
    # The parent ends this process in time; this is for one whose parent was killed.
    signal.alarm(int(request["seconds"]) + 2)
    channel = apprise.Apprise()
    channel.add(request["url"])
    for service in channel:
        service.overflow_mode = apprise.OverflowMode.SPLIT  # a text that is too long is sent in parts
    answers = Answers()
    answers.listen()
    _limit_memory()
    sent = channel.notify(
        body=request["body"], title=request["title"], body_format="text", notify_type=request["kind"]
    )
    json.dump({"sent": bool(sent), "answers": answers.found}, sys.stdout)


def _limit_memory() -> None:
    with contextlib.suppress(OSError, ValueError):  # only Linux has it
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()

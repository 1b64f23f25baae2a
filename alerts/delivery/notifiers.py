"""Notifiers deliver pages.  They report whether a failure may be temporary; the caller retries.

An attempt ends in its time whatever the receiver does, and a slow receiver delays no other: the caller has a
thread for each.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from alerts.delivery.post import Answer, is_local, post
from stream.domain.documents import printable

# These statuses reject the page itself; any other failure may be temporary.
REFUSALS = {400, 413, 422}
TOO_LARGE = 413
LONGEST_EXPLANATION, SHORTEST_SECRET = 200, 6
APPRISE = Path(__file__).with_name("apprise_process.py")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a page was not delivered, whether a retry can help, and whether less of it could be accepted."""

    reason: str
    recoverable: bool
    too_large: bool = False


class Webhooks:
    """Posts pages as JSON to receivers by name; an attempt takes `seconds` at most."""

    def __init__(self, urls: Mapping[str, SecretStr], seconds: float) -> None:
        self._urls, self._seconds = urls, seconds

    def send(self, receiver: str, body: bytes) -> Failure | None:
        """Try once.  The reason of a failure never contains the URL, which may hold a secret."""
        url = self._urls[receiver].get_secret_value()
        try:
            answer = post(url, body, self._seconds)
        except TimeoutError:
            return _too_slow(self._seconds)
        # No receiver may end the monitor, whatever its answer makes a client raise.
        except Exception as error:
            return Failure(type(error).__name__, True)
        return None if answer.is_success else _refusal(answer.status, _explanation(answer, url))


class Channels:
    """Sends pages as plain text through Apprise: e-mail, Slack, Teams, PagerDuty, Telegram and many more.

    An attempt takes `seconds` at most.
    """

    def __init__(self, urls: Mapping[str, SecretStr], seconds: float) -> None:
        self._urls, self._seconds = urls, seconds

    def send(self, channel: str, title: str, body: str, *, ended: bool) -> Failure | None:
        """Try once.  `ended` says that the alert is over, which services show or act on.

        A failure without an HTTP status counts as temporary: Apprise does not say why it failed.
        """
        url = self._urls[channel].get_secret_value()
        kind = "success" if ended else "failure"
        request = {"url": url, "title": title, "body": body, "kind": kind, "seconds": self._seconds}
        try:
            done = subprocess.run(  # noqa: S603  a program of this package, without a shell
                [sys.executable, "-P", str(APPRISE)],
                input=json.dumps(request).encode(),
                capture_output=True,
                timeout=self._seconds,
                check=True,
                # A proxy cannot reach this machine on the monitor's behalf.
                env={**os.environ, "no_proxy": "*"} if is_local(url) else None,
                start_new_session=True,  # Ctrl-C is for the monitor
            )
            result = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            return _too_slow(self._seconds)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return Failure(f"the process that sends it failed: {type(error).__name__}", True)
        if result["sent"]:
            return None
        if result["status"] is None:
            return Failure("the channel refused the page or cannot be reached", True)
        return _refusal(result["status"])


def _refusal(status: int, explanation: str = "") -> Failure:
    return Failure(f"HTTP {status}{explanation}", status not in REFUSALS, status == TOO_LARGE)


def _too_slow(seconds: float) -> Failure:
    return Failure(f"no complete answer within {seconds:g} s", True)


def _explanation(answer: Answer, url: str) -> str:
    """What the receiver says about a failure, without any part of the URL, which may hold a secret."""
    text = printable(answer.body.decode(errors="replace")).strip()
    if not text or any(part in text for part in re.split(r"[/?&=:@#]+", url) if len(part) >= SHORTEST_SECRET):
        return ""
    return f": {text[:LONGEST_EXPLANATION]}"


def is_channel(url: str) -> bool:
    """Whether Apprise supports such a URL."""
    import apprise  # slow to import, so only when a channel is configured

    return bool(apprise.Apprise.instantiate(url, suppress_exceptions=True))


def outcome(failure: Failure | None) -> str:
    """The outcome of an attempt, as metrics and the deliveries table name it."""
    if failure is None:
        return "sent"
    return "failed" if failure.recoverable else "refused"

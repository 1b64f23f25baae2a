"""Notifiers deliver pages.  They report whether a failure may be temporary; the caller retries.

An attempt ends in its time whatever the receiver does, and a slow receiver delays no other: the caller has a
thread for each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from alerts.delivery.answers import Attempt, Failure, explanation
from alerts.delivery.channel_urls import scheme_of
from alerts.delivery.digest_text import DIGEST, digest_markdown_text, digest_plain_text, is_digest
from alerts.delivery.incident_services import incident_request, is_incident_service, keyed_url
from alerts.delivery.page_text import markdown_text, plain_text
from alerts.delivery.post import Answer, is_local, post, quotes_url
from alerts.delivery.quoting import RENDERS_MARKDOWN
from stream.domain.alerts import AlertState

# What Apprise calls a page, by its state; it shows others as failures.
KINDS = {AlertState.RESOLVED: "success", DIGEST: "info"}
APPRISE = Path(__file__).with_name("apprise_process.py")


class Webhooks:
    """Posts pages as JSON to receivers by name; an attempt takes `seconds` at most."""

    def __init__(self, urls: Mapping[str, SecretStr], seconds: float) -> None:
        self._urls, self._seconds = urls, seconds

    def send(self, receiver: str, body: bytes) -> Failure | None:
        """Try once.  The reason of a failure never contains the URL, which may hold a secret."""
        return self.attempt(receiver, body).failure

    def attempt(self, receiver: str, body: bytes) -> Attempt:
        """The same, with what the receiver answered."""
        return _post(self._urls[receiver].get_secret_value(), body, self._seconds)


class Channels:
    """Sends pages as text through Apprise: e-mail, Slack, Teams, Telegram and many more; an incident service
    such as PagerDuty is sent an incident.

    An attempt takes `seconds` at most.
    """

    def __init__(self, urls: Mapping[str, SecretStr], seconds: float) -> None:
        self._urls, self._seconds = urls, seconds

    def takes_single_alerts(self, channel: str) -> bool:
        """Whether each alert is sent by itself, since it has an incident of its own there."""
        return is_incident_service(self._urls[channel].get_secret_value())

    def text(self, channel: str, page: Mapping[str, Any]) -> tuple[str, str]:
        """The page as (title, body), as the service of the channel shows it."""
        renders_markdown = scheme_of(self._urls[channel].get_secret_value()) in RENDERS_MARKDOWN
        if is_digest(page):
            return (digest_markdown_text if renders_markdown else digest_plain_text)(page)
        return (markdown_text if renders_markdown else plain_text)(page)

    def send(self, channel: str, page: Mapping[str, Any]) -> Failure | None:
        """Try once.

        A failure without an HTTP status counts as temporary: Apprise does not say why it failed.
        """
        return self.attempt(channel, page).failure

    def attempt(self, channel: str, page: Mapping[str, Any]) -> Attempt:
        """The same, with what the service answered, as far as Apprise lets it be known."""
        url = self._urls[channel].get_secret_value()
        incident = incident_request(url, page)
        if incident is not None:
            body = msgspec.json.encode(incident.body)
            return _post(incident.url, body, self._seconds, headers=incident.headers, secret=url)
        title, text = self.text(channel, page)
        kind = KINDS.get(page["state"], "failure")
        request = {"url": keyed_url(url, page), "title": title, "body": text, "kind": kind}
        return self._send_by_apprise(url, {**request, "seconds": self._seconds})

    def _send_by_apprise(self, url: str, request: Mapping[str, Any]) -> Attempt:
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
            return Attempt.failed(f"the process that sends it failed: {type(error).__name__}")
        answers = [Answer(status, body.encode()) for status, body in result["answers"]]
        return _attempt_of_channel(result["sent"], answers, url)


def _attempt_of_channel(sent: bool, answers: Sequence[Answer], url: str) -> Attempt:
    """What the answers report.  Apprise knows what a status means, and looks at no body.

    Some answer a login, and hold the token of a session: no body of a success is quoted.
    """
    attempts = [
        Attempt.of_answer(answer, url, quotes_body=not answer.is_success)
        for answer in answers
        if answer.is_success or not sent
    ]
    failed = [attempt for attempt in attempts if attempt.failure]
    if failed:
        return failed[-1]
    if sent:
        return attempts[-1] if attempts else Attempt(None, "taken; its protocol has no HTTP answer")
    return Attempt.failed("the channel refused the page or cannot be reached")


def _post(
    url: str, body: bytes, seconds: float, *, headers: Mapping[str, str] | None = None, secret: str = ""
) -> Attempt:
    """Try once.  What comes of it contains no part of the URL, nor of `secret`."""
    try:
        answer = post(url, body, seconds, headers)
    except TimeoutError:
        return _too_slow(seconds)
    # No receiver may end the monitor, whatever its answer makes a client raise.
    except Exception as error:
        said = "" if quotes_url(error) else explanation(str(error).encode(), f"{url}/{secret}")
        return Attempt.failed(f"{type(error).__name__}{said}")
    return Attempt.of_answer(answer, f"{url}/{secret}")


def _too_slow(seconds: float) -> Attempt:
    return Attempt.failed(f"no complete answer within {seconds:g} s")


def outcome(failure: Failure | None) -> str:
    """The outcome of an attempt, as metrics and the deliveries table name it."""
    if failure is None:
        return "sent"
    return "failed" if failure.recoverable else "refused"

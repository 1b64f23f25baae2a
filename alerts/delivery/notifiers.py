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

from alerts.delivery.answers import Failure, explanation, failure_of
from alerts.delivery.channel_urls import scheme_of, service_of
from alerts.delivery.incidents import incident_request, is_incident_service, keyed_url
from alerts.delivery.pages import markdown_text, plain_text
from alerts.delivery.post import Answer, is_local, post
from alerts.delivery.quoting import RENDERS_MARKDOWN
from stream.domain.alerts import AlertState

APPRISE = Path(__file__).with_name("apprise_process.py")


class Webhooks:
    """Posts pages as JSON to receivers by name; an attempt takes `seconds` at most."""

    def __init__(self, urls: Mapping[str, SecretStr], seconds: float) -> None:
        self._urls, self._seconds = urls, seconds

    def send(self, receiver: str, body: bytes) -> Failure | None:
        """Try once.  The reason of a failure never contains the URL, which may hold a secret."""
        url = self._urls[receiver].get_secret_value()
        return _post(url, body, self._seconds)


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
        scheme = scheme_of(self._urls[channel].get_secret_value())
        return (markdown_text if scheme in RENDERS_MARKDOWN else plain_text)(page)

    def send(self, channel: str, page: Mapping[str, Any]) -> Failure | None:
        """Try once.

        A failure without an HTTP status counts as temporary: Apprise does not say why it failed.
        """
        url = self._urls[channel].get_secret_value()
        incident = incident_request(url, page)
        if incident is not None:
            body = msgspec.json.encode(incident.body)
            return _post(incident.url, body, self._seconds, headers=incident.headers, secret=url)
        title, text = self.text(channel, page)
        kind = "success" if page["state"] == AlertState.RESOLVED else "failure"
        request = {"url": keyed_url(url, page), "title": title, "body": text, "kind": kind}
        return self._send_by_apprise(url, {**request, "seconds": self._seconds})

    def _send_by_apprise(self, url: str, request: Mapping[str, Any]) -> Failure | None:
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
        answers = [Answer(status, body.encode()) for status, body in result["answers"]]
        return _failure_of_channel(result["sent"], answers, url)


def _failure_of_channel(sent: bool, answers: Sequence[Answer], url: str) -> Failure | None:
    """The failure that the answers report.  Apprise knows what a status means, and looks at no body."""
    looked_at = [answer for answer in answers if answer.is_success or not sent]
    failures = [failure for answer in looked_at if (failure := failure_of(answer, url))]
    if failures:
        return failures[-1]
    if sent:
        return None
    said = explanation(answers[-1].body, url) if answers else ""
    return Failure(f"the channel refused the page or cannot be reached{said}", True)


def _post(
    url: str, body: bytes, seconds: float, *, headers: Mapping[str, str] | None = None, secret: str = ""
) -> Failure | None:
    """Try once.  The reason of a failure contains no part of the URL, nor of `secret`."""
    try:
        answer = post(url, body, seconds, headers)
    except TimeoutError:
        return _too_slow(seconds)
    # No receiver may end the monitor, whatever its answer makes a client raise.
    except Exception as error:
        return Failure(type(error).__name__, True)
    return failure_of(answer, f"{url}/{secret}")


def _too_slow(seconds: float) -> Failure:
    return Failure(f"no complete answer within {seconds:g} s", True)


def is_channel(url: str) -> bool:
    """Whether Apprise supports such a URL."""
    return service_of(url) is not None


def outcome(failure: Failure | None) -> str:
    """The outcome of an attempt, as metrics and the deliveries table name it."""
    if failure is None:
        return "sent"
    return "failed" if failure.recoverable else "refused"

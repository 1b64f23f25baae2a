"""Notifiers deliver pages.  They report whether a failure may be temporary; the caller retries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

# These statuses reject the page itself; any other failure may be temporary.
REFUSALS = {400, 413, 422}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a page was not delivered, and whether a retry can help."""

    reason: str
    recoverable: bool


class Webhooks:
    """Posts pages as JSON to receivers by name."""

    def __init__(self, urls: Mapping[str, SecretStr], seconds: float) -> None:
        self._urls = urls
        self._client = httpx.Client(timeout=seconds, follow_redirects=False)

    def send(self, receiver: str, body: bytes) -> Failure | None:
        """Try once.  The reason of a failure never contains the URL, which may hold a secret."""
        url = self._urls[receiver].get_secret_value()
        headers = {"Content-Type": "application/json"}
        try:
            # Only the status counts: do not wait for a body.
            with self._client.stream("POST", url, content=body, headers=headers) as response:
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Failure(type(error).__name__, True)
        if response.is_success:
            return None
        return Failure(f"HTTP {status}", status not in REFUSALS)

    def close(self) -> None:
        self._client.close()


class Channels:
    """Sends pages as plain text through Apprise: e-mail, Slack, Teams, PagerDuty, Telegram and many more."""

    def __init__(self, urls: Mapping[str, SecretStr]) -> None:
        self._channels = {name: _channel(url.get_secret_value()) for name, url in urls.items()}

    def send(self, channel: str, title: str, body: str, *, ended: bool) -> Failure | None:
        """Try once.  `ended` says that the alert is over, which services show or act on.

        Apprise does not say why a delivery failed, so every failure counts as temporary.
        """
        kind = "success" if ended else "failure"
        if self._channels[channel].notify(body=body, title=title, body_format="text", notify_type=kind):
            return None
        return Failure("the channel refused the page or cannot be reached", True)


def _channel(url: str) -> Any:
    import apprise  # slow to import, so only when a channel is configured

    channel = apprise.Apprise()
    channel.add(url)
    for service in channel:
        service.overflow_mode = apprise.OverflowMode.SPLIT  # a text that is too long is sent in parts
    return channel


def is_channel(url: str) -> bool:
    """Whether Apprise supports such a URL."""
    import apprise

    return bool(apprise.Apprise.instantiate(url, suppress_exceptions=True))


def outcome(failure: Failure | None) -> str:
    """The outcome of an attempt, as metrics and the deliveries table name it."""
    if failure is None:
        return "sent"
    return "failed" if failure.recoverable else "refused"

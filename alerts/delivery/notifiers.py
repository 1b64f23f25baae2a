"""Delivering a page.  A notifier says whether a failure may pass: retrying lives in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

# Answers that say the page itself cannot be taken; every other failure may pass.
REFUSALS = {400, 413, 422}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a page was not delivered, and whether another try can help."""

    reason: str
    recoverable: bool


class Webhooks:
    """Posts pages as JSON to receivers by name."""

    def __init__(self, urls: Mapping[str, SecretStr], seconds: float) -> None:
        self._urls = urls
        self._client = httpx.Client(timeout=seconds, follow_redirects=False)

    def send(self, receiver: str, body: bytes) -> Failure | None:
        """One attempt.  The URL, which may hold a secret, is in no reason."""
        url = self._urls[receiver].get_secret_value()
        headers = {"Content-Type": "application/json"}
        try:
            # Only the status counts: a body is not waited for.
            with self._client.stream("POST", url, content=body, headers=headers) as answer:
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Failure(type(error).__name__, True)
        if answer.is_success:
            return None
        return Failure(f"HTTP {status}", status not in REFUSALS)

    def close(self) -> None:
        self._client.close()


class Channels:
    """Sends pages as plain text through Apprise: e-mail, Slack, Teams, PagerDuty, Telegram and many more."""

    def __init__(self, urls: Mapping[str, SecretStr]) -> None:
        self._channels = {name: _channel(url.get_secret_value()) for name, url in urls.items()}

    def send(self, channel: str, title: str, body: str, *, ended: bool) -> Failure | None:
        """One attempt; `ended` is that the alert is over, which services show or act on.

        Apprise does not say why one failed, so each may be worth another try.
        """
        kind = "success" if ended else "failure"
        if self._channels[channel].notify(body=body, title=title, body_format="text", notify_type=kind):
            return None
        return Failure("the channel did not take it", True)


def _channel(url: str) -> Any:
    import apprise  # slow to load, so only where there is a channel

    made = apprise.Apprise()
    made.add(url)
    for service in made:
        service.overflow_mode = apprise.OverflowMode.SPLIT  # what is too long comes in parts
    return made


def is_channel(url: str) -> bool:
    """Whether Apprise knows how to send to such a URL."""
    import apprise

    return bool(apprise.Apprise.instantiate(url, suppress_exceptions=True))


def outcome(failure: Failure | None) -> str:
    """What became of an attempt, as the metrics call it."""
    if failure is None:
        return "sent"
    return "failed" if failure.recoverable else "refused"

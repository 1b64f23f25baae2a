"""Delivering a page.  A notifier says whether a failure may pass: retrying lives in one place."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

# Answers that may be different the next time.
RECOVERABLE = {408, 425, 429}


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
        url = self._urls.get(receiver)
        if url is None:
            return Failure(f"receiver {receiver!r} is not in alerts.webhooks any more", False)
        try:
            answer = self._client.post(
                url.get_secret_value(), content=body, headers={"Content-Type": "application/json"}
            )
        except httpx.HTTPError as error:
            return Failure(type(error).__name__, True)
        except httpx.InvalidURL:
            return Failure("its URL cannot be used", False)
        if answer.is_success:
            return None
        status = answer.status_code
        return Failure(f"HTTP {status}", status in RECOVERABLE or status >= 500)

    def close(self) -> None:
        self._client.close()

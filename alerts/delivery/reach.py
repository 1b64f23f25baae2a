"""Whether receivers can be reached, without sending them anything that they could take for a page."""

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from alerts.delivery.channel_urls import scheme_of, service_of
from alerts.delivery.post import head

# What Apprise's services call the address that they post to.
ADDRESSES = ("notify_url", "webhook_url", "cloud_notify_url", "api_url")
# Services of Apprise that post to the host in their URL; others hide tokens there.
NAMED_HOST = {"json", "jsons", "xml", "xmls", "form", "forms"}
MAIL = "smtp"


class Reached(NamedTuple):
    """A receiver, and why it cannot be reached: None if it can, `unknown` if its address is not known."""

    name: str
    problem: str | None
    unknown: bool = False


def look(addresses: Iterable[tuple[str, str | None]], seconds: float) -> list[Reached]:
    """Try to reach each of these receivers, all at once; an attempt takes `seconds` at most.

    `addresses` are names with the URLs that pages are posted to, or None where that is not known.
    """
    with ThreadPoolExecutor(16, "reach") as threads:
        return list(threads.map(lambda one: _reach(one[0], one[1], seconds), addresses))


def _reach(name: str, url: str | None, seconds: float) -> Reached:
    if url is None:
        return Reached(name, None, unknown=True)
    try:
        parts = urlsplit(url)
        if parts.scheme == MAIL:
            with socket.create_connection((parts.hostname or "", parts.port or 25), seconds):
                return Reached(name, None)
        # Any answer will do.  The path may hold a secret, and a service may act on a request to it.
        head(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/", seconds)
    except TimeoutError:
        return Reached(name, f"no answer within {seconds:g} s")
    except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        return Reached(name, str(error) or type(error).__name__)
    return Reached(name, None)


def address_of_channel(url: str) -> str | None:
    """The URL that a channel posts to, `smtp://HOST:PORT` for e-mail; None if it is not known."""
    service = service_of(url)
    if host := getattr(service, "smtp_host", None):
        return f"{MAIL}://{host}:{service.port}"
    if scheme_of(url) in NAMED_HOST or "." in (service.host or "") or service.port:
        return str(service.request_url)
    found = (getattr(service, name, None) for name in ADDRESSES)
    return next((at for at in found if isinstance(at, str) and "{" not in urlsplit(at).netloc), None)

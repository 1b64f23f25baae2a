"""Whether receivers can be reached, without sending them anything that they could take for a page."""

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from alerts.delivery.channel_urls import scheme_of, service_of
from alerts.delivery.post import head, quotes_url

# What Apprise's services call the address that they post to.
ADDRESSES = ("notify_url", "webhook_url", "api_url")
# What they call it in these modes.
ADDRESS_IN_MODE = {"bot": "api_url", "cloud": "cloud_notify_url"}
# The services, by their first scheme, that post to the host in their URL, and the modes in which others do.
# The rest has a token or the domain of a sender there.
SELF_HOSTED = {
    "apprises", "barks", "embys", "enigma2s", "evolutions", "forms", "goalerts", "gorushs", "gotifys",
    "hassios", "humhubs", "jellyfins", "jsons", "kodis", "matrixs", "mmosts", "nclouds", "nctalks", "onebots",
    "parseps", "pjets", "signals", "smseagles", "synologys", "workflow", "xmls",
}  # fmt: skip
OWN_SERVER, OTHER_SERVER = {"private", "selfhosted"}, {"t2bot"}
MAIL = "smtp"


class Reached(NamedTuple):
    """A receiver, and why it cannot be reached: None if it can, `unknown` if its address is not known."""

    name: str
    problem: str | None
    unknown: bool = False


def try_to_reach(addresses: Iterable[tuple[str, str | None]], seconds: float) -> list[Reached]:
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
        said = "" if quotes_url(error) else str(error)
        return Reached(name, said or type(error).__name__)
    return Reached(name, None)


def address_of_channel(url: str) -> str | None:
    """The URL that a channel posts to, `smtp://HOST:PORT` for e-mail; None if it is not known."""
    service = service_of(url)
    if host := getattr(service, "smtp_host", None):
        return f"{MAIL}://{host}:{service.port}"
    mode = str(getattr(service, "mode", ""))
    if mode not in OWN_SERVER:
        names = (ADDRESS_IN_MODE.get(mode, ""), *ADDRESSES)
        fixed = next((at for at in (getattr(service, name, None) for name in names) if _is_fixed(at)), None)
        if fixed or mode in OTHER_SERVER or scheme_of(url) not in SELF_HOSTED:
            return fixed
    return str(service.request_url)


def _is_fixed(address: object) -> bool:
    """Whether it is a URL whose host is no template of Apprise's."""
    return isinstance(address, str) and "{" not in (urlsplit(address).netloc or "{")

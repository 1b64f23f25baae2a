"""The service that a channel's URL names, as Apprise understands it."""

from collections.abc import Mapping
from functools import cache
from typing import Any


@cache
def service_of(url: str) -> Any:
    """The service of Apprise for this URL; None if Apprise does not know such a URL."""
    import apprise  # slow to import, so only when a channel is configured

    return apprise.Apprise.instantiate(url, suppress_exceptions=True)


def is_channel(url: str) -> bool:
    """Whether Apprise supports such a URL."""
    return service_of(url) is not None


def options_of(url: str) -> Mapping[str, str]:
    """The options behind the `?` by their names in lower case.  Apprise's URLs may have a `#` before it."""
    found = service_of(url).parse_url(url) or {}
    return {name: str(value) for name, value in found.get("qsd", {}).items()}


def scheme_of(url: str) -> str:
    """The first scheme of the service, which may have several, and take the address that it shows people."""
    service = service_of(url)
    schemes = getattr(service, "secure_protocol", None) or getattr(service, "protocol", None) or ""
    return str(schemes if isinstance(schemes, str) else schemes[0])

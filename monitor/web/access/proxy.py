"""The user whom a trusted proxy names in a header."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from monitor.web.access.groups import NotAllowed, user_of
from monitor.web.access.settings import LoginSettings
from monitor.web.access.users import User

Headers = Iterable[tuple[bytes, bytes]]


class TrustedProxy:
    """Believes the headers of requests that come from the addresses of the proxies, and of no other."""

    def __init__(self, settings: LoginSettings) -> None:
        self._settings = settings
        self._networks = [ip_network(address) for address in settings.proxy.addresses]

    def user(self, address: str, headers: Headers) -> User:
        """The user of a request from this address.  Raises NotAllowed."""
        if not self._trusts(address):
            raise NotAllowed(f"{address or 'this client'} is not one of http.login.proxy.addresses")
        headers = list(headers)
        name = _only(headers, self._settings.proxy.user_header)
        groups = _only(headers, self._settings.proxy.groups_header)
        if not name:
            raise NotAllowed(f"the proxy sent no {self._settings.proxy.user_header}: it must log people in")
        return user_of(name, filter(None, map(str.strip, groups.split(","))), self._settings)

    def _trusts(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)
        return any((mapped or ip) in network for network in self._networks)


def _only(headers: Headers, name: str) -> str:
    """The value of a header, which must not be there twice: one of the two may be the visitor's own."""
    found = [value for key, value in headers if key.lower() == name.lower().encode()]
    if len(found) > 1:
        raise NotAllowed(f"the request has {name} more than once: the proxy must replace what visitors send")
    try:
        return found[0].decode().strip() if found else ""
    except UnicodeDecodeError as error:
        raise NotAllowed(f"{name} is not UTF-8") from error

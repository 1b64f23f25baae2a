"""What every request must satisfy before it reaches a page: its method, its Host, and its size."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = ("GET", "HEAD")
# The most bytes of a request: its target and its headers.
HEAD_BYTES = 16_384
# The most bytes of the body of a POST: a rule file or a watchlist.
BODY_BYTES = 262_144
ALL_HOSTS = "*"


class AllowedHosts:
    """The names by which the monitor may be addressed, against DNS rebinding.

    A page on another site can make its own name resolve to this machine and then read the monitor through
    the visitor's browser, which sends that name in the Host header.  Such a name has a dot and is in public
    DNS.  So these are allowed: IP addresses (probes, service discovery), names without a dot (containers,
    machines of the local network), `localhost`, and the names in `names`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """`names` are hosts without port; `*` allows every one."""
        self._names = {name.lower().rstrip(".") for name in names if name}

    def allow(self, header: str) -> bool:
        """Whether a request with this Host header, such as `monitor:9108` or `[::1]:9108`, is answered."""
        if ALL_HOSTS in self._names:
            return True
        host = _host(header)
        if host is None:
            return False
        return "." not in host or host in self._names or host.endswith(".localhost") or _is_ip(host)


class Gate:
    """The application behind checks that hold for every path.

    It answers 405 to a method other than GET and HEAD, and POST where the application takes it; 413 to a
    body that is not expected or too long, 411 to one of unknown length, 431 to long headers, and 421 to a
    Host that is not allowed.  HEAD is answered as GET; the server leaves out the body.
    `prefix` is the path under which a proxy publishes the monitor: it is removed, in case the proxy did not.
    """

    def __init__(
        self,
        app: App,
        hosts: AllowedHosts,
        prefix: str,
        refused: Callable[[str, str], object],
        takes_post: Callable[[str], bool],
    ) -> None:
        """`refused` gets the reason, `method`, `size`, `body` or `host`, and the Host header; `takes_post`
        says whether a path, percent-encoded, has a handler of POST."""
        self._app, self._hosts, self._prefix, self._refused = app, hosts, prefix, refused
        self._takes_post = takes_post

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, method = dict(scope["headers"]), scope["method"]
        host = headers.get(b"host", b"").decode("latin-1")
        raw_path = self._without_prefix(scope["raw_path"])
        posts = method == "POST" and self._takes_post(raw_path.decode("latin-1"))
        if method not in METHODS and not posts:
            self._refused("method", host)
            error = f"only {' and '.join(METHODS)} are answered"
            await _refuse(send, 405, error, [(b"allow", ", ".join(METHODS).encode())])
        elif _size(scope) > HEAD_BYTES:
            self._refused("size", host)
            await _refuse(send, 431, f"a request has at most {HEAD_BYTES} bytes", [])
        elif problem := _body_problem(headers, BODY_BYTES if posts else 0):
            self._refused("body", host)
            await _refuse(send, *problem, [])
        # HTTP/1.0 knows no Host: simple probes leave it out, browsers never do.
        elif b"host" in headers and not self._hosts.allow(host):
            self._refused("host", host)
            error = f"{host[:100]!r} is not a name of this monitor; add it to http.allowed_hosts"
            await _refuse(send, 421, error, [])
        else:
            inner = {
                "method": "POST" if posts else "GET",
                "raw_path": raw_path,
                "path": unquote(raw_path.decode("ascii")),
            }
            await self._app({**scope, **inner}, receive, send)

    def _without_prefix(self, raw_path: bytes) -> bytes:
        prefix = self._prefix.encode()
        if prefix and (raw_path == prefix or raw_path.startswith(prefix + b"/")):
            return raw_path.removeprefix(prefix) or b"/"
        return raw_path


def _body_problem(headers: Mapping[bytes, bytes], most: int) -> tuple[int, str] | None:
    """The status and the reason why a request with such a body is refused; None if it is not."""
    if b"transfer-encoding" in headers:
        return (411, "the body needs a Content-Length") if most else (413, "a request has no body")
    length = headers.get(b"content-length", b"0")
    # The server has checked that it is a number.
    if int(length) <= most:
        return None
    return 413, f"a body has at most {most} bytes" if most else "a request has no body"


async def _refuse(send: Send, status: int, error: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Answer, and close the connection: the rest of the request is not read."""
    body = json.dumps({"error": error}).encode() + b"\n"
    fixed = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": fixed + headers})
    await send({"type": "http.response.body", "body": body})


def _size(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return headers + len(scope["raw_path"]) + len(scope["query_string"])


def _host(header: str) -> str | None:
    """The host of a Host header in lower case; None if the header is not a host and a port."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    if parts.netloc != header or "@" in header or not parts.hostname:
        return None
    return parts.hostname.lower().rstrip(".")


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

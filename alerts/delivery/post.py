"""One request with a time limit for the whole attempt: name lookup, connection, request and answer together.

The time limits of HTTP clients are for each read, so a receiver that sends a byte now and then would hold an
attempt for ever.  Here the attempt is a coroutine that is cancelled when its time is up.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import httpx

# As much of an answer is read: what a service says about a page is short.
ANSWER_BYTES = 64_000
# What is read is looked at as it is, and is never unpacked.
UNPACKED = {"Accept-Encoding": "identity"}
AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of an answer and the beginning of its body."""

    status: int
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        return httpx.codes.is_success(self.status)


class AnswerTooLong(Exception):
    """An answer has more bytes than its reader takes."""


def post(url: str, body: bytes, seconds: float, headers: Mapping[str, str] | None = None) -> Answer:
    """Post JSON with these headers besides, and follow no redirect.

    Raises TimeoutError when the time is up, httpx.HTTPError and httpx.InvalidURL.
    """
    own = {"Content-Type": "application/json", **UNPACKED}
    return _run(_request("POST", url, seconds, headers={**own, **(headers or {})}, body=body), seconds)


def head(url: str, seconds: float) -> Answer:
    """Ask for nothing but whether the server answers; raises what `post` raises."""
    return _run(_request("HEAD", url, seconds, headers={}), seconds)


def get(
    url: str,
    seconds: float,
    max_bytes: int,
    *,
    direct: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The whole answer of a server on this machine, which no proxy is asked for; or, if not `direct`, of any.

    Raises AnswerTooLong if it has more than `max_bytes`, and what `post` raises.
    """
    sent = {**UNPACKED, **(headers or {})}
    return _run(_request("GET", url, seconds, headers=sent, max_bytes=max_bytes, direct=direct), seconds)


def delete(url: str, seconds: float) -> Answer:
    """Delete what is there; raises what `post` raises."""
    return _run(_request("DELETE", url, seconds, headers=UNPACKED), seconds)


def _run(request: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        try:
            return runner.run(asyncio.wait_for(request, seconds))
        except httpx.TimeoutException as error:
            raise TimeoutError from error


def quotes_url(error: Exception) -> bool:
    """Whether the words of an error of a request may quote a part of the URL, such as a password."""
    return isinstance(error, ValueError | httpx.InvalidURL)


def is_local(url: str) -> bool:
    """Whether the URL names this machine, which no proxy can reach on the monitor's behalf."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


async def _request(
    method: str,
    url: str,
    seconds: float,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    max_bytes: int | None = None,
    direct: bool = False,
) -> Answer:
    """`max_bytes` is for the whole body; without it the beginning is read.  `direct` is without a proxy."""
    # None: without the proxy of the environment.
    mounts = {"http://": None, "https://": None, "all://": None} if direct or is_local(url) else None
    # A TLS handshake that is cancelled leaves its socket open, one that runs into this limit does not.
    timeout = httpx.Timeout(seconds, connect=0.8 * seconds)
    async with (
        httpx.AsyncClient(
            verify=_tls(tuple(map(os.environ.get, AUTHORITIES))),
            timeout=timeout,
            follow_redirects=False,
            mounts=mounts,
        ) as client,
        client.stream(method, url, content=body, headers=headers) as response,
    ):
        reading = _beginning(response, seconds) if max_bytes is None else _whole(response, max_bytes)
        return Answer(response.status_code, await reading)


async def _beginning(response: httpx.Response, seconds: float) -> bytes:
    """The beginning of the body; what does not come in half of the attempt's time is left out."""
    body = b""
    try:
        async with asyncio.timeout(seconds / 2):
            async for part in response.aiter_raw():
                body += part
                if len(body) >= ANSWER_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError):
        pass  # the status is known
    return body[:ANSWER_BYTES]


async def _whole(response: httpx.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > max_bytes:
            raise AnswerTooLong
    return bytes(body)


@cache
def _tls(authorities: tuple[str | None, ...]) -> SSLContext:
    """`authorities` are the variables by which OpenSSL and httpx find the certificates that they trust."""
    return httpx.create_ssl_context()


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in daemon threads: asyncio's own would be waited for, however long a lookup hangs."""

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        found: asyncio.Future[Any] = self.create_future()

        def settle(result: Any, error: Exception | None) -> None:
            if found.done():
                return
            if error is None:
                found.set_result(result)
            else:
                found.set_exception(error)

        def look_up() -> None:
            result, error = None, None
            try:
                result = socket.getaddrinfo(*args, **options)
            except (OSError, UnicodeError) as failed:
                error = failed
            if not self.is_closed():
                self.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=look_up, name="name lookup", daemon=True).start()
        return await found

"""Keeps HTTP connections within their limits: how many there are, and deadlines that no client can extend."""

import asyncio
import logging
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.runtime.settings import HttpSettings
from monitor.web.gate import Receive, Scope, Send

log = logging.getLogger(__name__)

REFUSALS = ("host", "method", "size", "body", "login", "csrf", "rate", "malformed", "slow", "evicted")
CHECK_SECONDS = 0.5
LOG_SECONDS = 60.0


class HttpMetrics:
    """The metrics of the HTTP port."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge(
            "sentiment_http_connections", "Open connections to the HTTP port", registry=registry
        )
        self.refused = Counter(
            "sentiment_http_refused",
            "Requests refused (host, method, size, body, login, csrf, rate, malformed) and connections ended "
            "(slow, evicted)",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSALS:
            self.refused.labels(reason)


class Connections:
    """The open connections, in the order in which each last began to wait for its client."""

    def __init__(self, settings: HttpSettings, limit: int, metrics: HttpMetrics) -> None:
        """At most `limit` are open: a new one ends the one that has waited longest."""
        self.settings = settings
        self._limit, self._metrics = limit, metrics
        # Dictionaries keep their order; the values are not used.
        self._waiting: dict[Connection, None] = {}
        self._answering: dict[Connection, None] = {}
        self._logged_at = -LOG_SECONDS

    def make(self, **arguments: Any) -> "Connection":
        """The protocol of a new connection, as uvicorn asks for it."""
        return Connection(self, **arguments)

    def open(self, connection: "Connection") -> None:
        """A new connection; it may end another."""
        if len(self._waiting) + len(self._answering) >= self._limit:
            self._evict()
        self.wait(connection)

    def wait(self, connection: "Connection") -> None:
        """The connection waits for its client from now on."""
        self.remove(connection)
        self._waiting[connection] = None
        self._show()

    def answer(self, connection: "Connection") -> None:
        """The connection's request is being answered from now on."""
        self.remove(connection)
        self._answering[connection] = None
        self._show()

    def remove(self, connection: "Connection") -> None:
        self._waiting.pop(connection, None)
        self._answering.pop(connection, None)
        self._show()

    def count(self, reason: str) -> None:
        self._metrics.refused.labels(reason).inc()

    async def enforce_deadlines(self) -> None:
        """Close connections whose time is over, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = time.monotonic()
            for connection in (*self._waiting, *self._answering):
                if now > connection.deadline:
                    connection.close("slow" if connection.owes_something else None)

    def _show(self) -> None:
        self._metrics.connections.set(len(self._waiting) + len(self._answering))

    def _evict(self) -> None:
        """End the connection that has waited longest; if none waits, the one that is answered longest."""
        oldest = next(iter(self._waiting or self._answering))
        oldest.close("evicted")
        if time.monotonic() - self._logged_at > LOG_SECONDS:
            self._logged_at = time.monotonic()
            log.warning(
                "%d HTTP connections are open, the most there may be (http.max_connections): "
                "new ones end those that wait longest; sentiment_http_refused_total counts them",
                self._limit,
            )


class Connection(H11Protocol):
    """uvicorn's HTTP connection, with one deadline for what its client or the monitor does now.

    From the connect, or the first byte of a later request, the request must be complete within
    `header_seconds`; its answer must be taken within `request_seconds`; between two requests the
    connection may idle for `idle_seconds`.
    """

    def __init__(self, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._connections, self._limits = connections, connections.settings
        self._inner, self.app = self.app, self._answer
        self._requests = 0
        self._idle = self._client_is_done = False
        self.deadline = 0.0

    @property
    def owes_something(self) -> bool:
        """Whether a request or an answer is incomplete, or no request ever came."""
        return not self._idle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline(self._limits.header_seconds)
        self._connections.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self._idle = False
            self._set_deadline(self._limits.header_seconds)
        try:
            super().data_received(data)
        except Exception as error:  # garbage behind a request that is being answered
            log.debug("a connection was closed: %r", error)
            self.close("malformed")

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more.  Whether to stay open: while it waits for an answer."""
        self._client_is_done = True
        return self._requests > 0

    def send_400_response(self, msg: str) -> None:
        self._connections.count("malformed")
        super().send_400_response(msg)

    def close(self, reason: str | None) -> None:
        """Close at once, without waiting for the client; `reason` is counted."""
        if reason is not None:
            self._connections.count(reason)
        self._connections.remove(self)
        self.transport.abort()

    def _renew(self) -> None:
        """The client has taken a part of an answer that has no end, such as an event."""
        self._set_deadline(self._limits.request_seconds)

    def _set_deadline(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, while which the client has no say in how long the connection stays."""
        self._requests += 1
        self._idle = False
        self._set_deadline(self._limits.request_seconds)
        self._connections.answer(self)
        try:
            scope["extensions"] = {"renew_deadline": self._renew}
            await self._inner(scope, receive, send)
        finally:
            self._requests -= 1
            if not self._requests and not self.transport.is_closing():
                self._wait_for_next()

    def _close_if_answered(self) -> None:
        if not self._requests:
            self.transport.close()

    def _wait_for_next(self) -> None:
        if self._client_is_done:
            # Not now: the next of several requests sent at once may be about to begin.
            self.loop.call_soon(self._close_if_answered)
            return
        # Bytes that the client has not taken yet still have to go within the deadline of the request.
        if not self.transport.get_write_buffer_size():
            self._idle = True
            self._set_deadline(self._limits.idle_seconds)
        self._connections.wait(self)

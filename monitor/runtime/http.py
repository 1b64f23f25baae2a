"""The HTTP port, in a thread with an event loop of its own: it answers while the others work."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

import uvicorn
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry

from monitor.runtime.connections import Connections, HttpMetrics
from monitor.runtime.open_files import share_of_open_files
from monitor.runtime.settings import HttpSettings, SettingsError
from monitor.web.access.door import Door
from monitor.web.access.logins import Logins
from monitor.web.app import Site
from monitor.web.gate import HEAD_BYTES, AllowedHosts, Gate

log = logging.getLogger(__name__)

# Connections that wait to be accepted.  As many are accepted in one round of the event loop, and the files of
# those that they replace are closed two rounds later: at most three times as many are open beyond the cap.
BACKLOG = 48
# At the end, answers in progress have so long.
STOP_SECONDS = 1


class Endpoint:
    """Serves until `close`.  Raises SettingsError if the port cannot be used."""

    def __init__(
        self,
        settings: HttpSettings,
        registry: CollectorRegistry,
        problems: Callable[[], list[str]],
    ) -> None:
        """`problems` says why the monitor is not ready, empty when it is."""
        self._settings, self._socket = settings, _listen(settings)
        self.url = f"http://{_host_name(settings)}:{self._socket.getsockname()[1]}"
        self._connections = Connections(
            settings, share_of_open_files(settings.max_connections), HttpMetrics(registry)
        )
        self._on_close: Callable[[], object] = lambda: None
        self._site = Site(registry, problems, settings.path_prefix)
        self._door = Door(self._site, settings, self._refused)
        self._server = uvicorn.Server(self._configuration())
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def open(
        self,
        routes: Iterable[HTTPRouteHandler],
        on_close: Callable[[], object] = lambda: None,
        logins: Logins | None = None,
    ) -> None:
        """Serve these too from now on; until then their paths answer that the monitor is starting.

        `on_close` ends the answers that have no end.  Where the settings have a login, `logins` says who
        comes in, and nobody does without it.
        """
        self._on_close = on_close
        self._site.open(routes)
        if logins is not None:
            self._door.open(logins)

    def close(self) -> None:
        """Stop serving; quick, whatever the clients do."""
        self._on_close()
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS + 2)

    def _configuration(self) -> uvicorn.Config:
        names = (
            *self._settings.allowed_hosts,
            urlsplit(self._settings.public_url).hostname or "",
            socket.gethostname(),
        )
        prefix, takes_post = self._settings.path_prefix, self._site.takes_post
        gate = Gate(self._door, AllowedHosts(names), prefix, self._refused, takes_post)
        return uvicorn.Config(
            cast(Any, gate),
            http=cast(Any, self._connections.make),
            ws="none",
            lifespan="off",
            interface="asgi3",
            backlog=BACKLOG,
            h11_max_incomplete_event_size=HEAD_BYTES,
            # Connections have deadlines of their own, which are shorter.
            timeout_keep_alive=round(self._settings.idle_seconds) + 60,
            timeout_graceful_shutdown=STOP_SECONDS,
            # The connection's own address counts, never what a client says about itself.
            proxy_headers=False,
            server_header=False,
            log_config=None,
            access_log=False,
        )

    def _refused(self, reason: str, host: str) -> None:
        self._connections.count(reason)
        log.debug("a request was refused: %s, Host %r", reason, host[:100])

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException:
            log.critical("the HTTP port ended: it answers no more until a restart", exc_info=True)

    async def _serve(self) -> None:
        asyncio.get_running_loop().set_exception_handler(_log_error)
        deadlines = asyncio.create_task(self._connections.enforce_deadlines())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            deadlines.cancel()
            with suppress(asyncio.CancelledError):
                await deadlines


def _log_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error of one connection, in one line."""
    log.warning("HTTP: %s: %r", context.get("message"), context.get("exception"))


def _listen(settings: HttpSettings) -> socket.socket:
    is_v6 = ":" in settings.host
    try:
        listener = socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if is_v6 else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=is_v6 and ip_address(settings.host).is_unspecified and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise SettingsError(
            f"http.port: {settings.port} on {settings.host} cannot be used: {error.strerror}; "
            "set http.port (MONITOR_HTTP__PORT) to another"
        ) from error
    # Headers and body are written one after the other: the body must not wait for the client's confirmation.
    # asyncio does not set this for a socket that was made elsewhere; connections inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _host_name(settings: HttpSettings) -> str:
    host = socket.gethostname() if ip_address(settings.host).is_unspecified else settings.host
    return f"[{host}]" if ":" in host else host

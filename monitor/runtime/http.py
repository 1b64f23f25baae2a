"""The HTTP endpoint: /metrics, /healthz, /readyz and the evidence pages, served by threads of its own."""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from monitor.runtime.settings import HttpSettings, SettingsError
from stream.domain.errors import StoreUnavailable

Problems = Callable[[], list[str]]
Pages = Callable[[str], str | None]
PATHS = ["/metrics", "/healthz", "/readyz", "/alerts"]
# Pages show texts from outside: the browser must run no script and load nothing.
PAGE_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


class _Server(ThreadingWSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # seconds; an idle connection must not occupy its thread for ever

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: Prometheus asks every few seconds."""


class Endpoint:
    """Serves until `close`.  Raises SettingsError if the port is taken."""

    def __init__(
        self, settings: HttpSettings, registry: CollectorRegistry, problems: Problems, pages: Pages
    ) -> None:
        """`problems` says why the monitor is not ready, empty when it is; `pages` gives a path's HTML."""
        self._metrics, self._problems, self._pages = make_wsgi_app(registry), problems, pages
        server = _ServerV6 if ":" in settings.host else _Server
        try:
            self._server = make_server(
                settings.host, settings.port, self._serve, server, handler_class=_QuietHandler
            )
        except OSError as error:
            raise SettingsError(
                f"http.port: {settings.port} on {settings.host} cannot be used: {error.strerror}; "
                "set http.port (MONITOR_HTTP__PORT) to another"
            ) from error
        all_addresses = ip_address(settings.host).is_unspecified
        host = socket.gethostname() if all_addresses else settings.host
        host = f"[{host}]" if ":" in host else host
        self.url = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            body: Iterable[bytes] = self._metrics(environ, start)
            return body
        if path == "/healthz":
            return _answer(start, "200 OK", {"status": "alive"})
        if path == "/readyz":
            problems = self._problems()
            status = "503 Service Unavailable" if problems else "200 OK"
            return _answer(start, status, {"ready": not problems, "troubles": problems})
        if path == "/alerts" or path.startswith("/alerts/"):
            return self._page(path, start)
        return _answer(start, "404 Not Found", {"paths": PATHS})

    def _page(self, path: str, start: Callable[..., Any]) -> list[bytes]:
        try:
            page = self._pages(path)
        except StoreUnavailable as error:
            return _answer(
                start, "503 Service Unavailable", {"error": f"the database is unavailable: {error}"}
            )
        if page is None:
            return _answer(start, "404 Not Found", {"error": "no such alert", "paths": PATHS})
        start("200 OK", list(PAGE_HEADERS))  # a copy: the server adds to the list
        return [page.encode()]


def _answer(start: Callable[..., Any], status: str, body: dict[str, Any]) -> list[bytes]:
    start(status, [("Content-Type", "application/json; charset=utf-8")])
    return [json.dumps(body).encode() + b"\n"]

"""The web application: metrics, health, and the pages of alerts."""

import asyncio
import gzip
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote

from anyio import CapacityLimiter, to_thread
from litestar import Litestar, Request, Response, get
from litestar.exceptions import HTTPException
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from monitor.web.rendering import render
from stream.domain.errors import StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
PATHS = ["/metrics", "/healthz", "/readyz", "/alerts", "/runbooks"]
ALERT_PATH, INCIDENT_PATH = b"/alerts/", b"/incidents/"
# Threads that read pages from the database, and how many requests may wait for one.
PAGE_THREADS, MAX_WAITING = 4, 32
CHARSET = "; charset=utf-8"
JSON = f"application/json{CHARSET}"
HEADERS = {"X-Content-Type-Options": "nosniff"}
# Pages show texts from outside: the browser must run no script and load nothing.
PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True)
class Elsewhere:
    """The path of the page that tells of what was asked for."""

    path: str


class Pages(Protocol):
    """The HTML of the pages for people.  The methods raise StoreUnavailable."""

    def alerts(self) -> str:
        """The list of alerts."""

    def alert(self, id_: str) -> "str | Elsewhere | None":
        """One alert, or where it is told of; None if there is none with this id."""

    def incident(self, id_: str) -> str | None:
        """One incident; None if there is none with this id."""


class Overloaded(Exception):
    """The answer was not ready in time, or too many requests wait for theirs."""


class Threads:
    """Runs blocking functions, at most `number` at a time, and waits for none longer than `seconds`."""

    def __init__(self, number: int, seconds: float) -> None:
        self._number, self._seconds = number, seconds
        self._limiter: CapacityLimiter | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns.  Raises Overloaded; the function then runs to its end unobserved."""
        if self._limiter is None:  # it belongs to the running event loop
            self._limiter = CapacityLimiter(self._number)
        if self._limiter.statistics().tasks_waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} requests are waiting")
        task = asyncio.ensure_future(to_thread.run_sync(function, limiter=self._limiter))
        done, _ = await asyncio.wait({task}, timeout=self._seconds)
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise Overloaded(f"no answer within {self._seconds:g} s")
        return task.result()


class Site:
    """The handlers of all paths."""

    def __init__(
        self,
        registry: CollectorRegistry,
        problems: Callable[[], list[str]],
        pages: Callable[[], Pages | None],
        seconds: float,
    ) -> None:
        """`problems` says why the monitor is not ready, and must not block; `pages` gives None until there
        are any; an answer must be ready within `seconds`."""
        self._registry, self._problems, self._pages = registry, problems, pages
        self._page_threads = Threads(PAGE_THREADS, seconds)

    def app(self) -> Litestar:
        """The ASGI application."""
        handlers = {
            "/metrics": self.metrics,
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/alerts": self.alerts,
            "/runbooks": self.runbooks,
            "/alerts/{rest:path}": self.alert,
            "/incidents/{rest:path}": self.incident,
        }
        return Litestar(
            route_handlers=[get(path)(cast(Any, handler)) for path, handler in handlers.items()],
            exception_handlers={
                HTTPException: _http_error,
                StoreUnavailable: _unavailable,
                Overloaded: _unavailable,
                Exception: _unexpected,
            },
            openapi_config=None,
            logging_config=None,
            debug=False,
            pdb_on_exception=False,
        )

    async def metrics(self, request: AnyRequest) -> Response[bytes]:
        """In the format that Prometheus asks for, compressed if it may be; `name[]` selects metrics."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        names = request.query_params.getall("name[]", [])
        registry: Any = self._registry.restricted_registry(names) if names else self._registry
        compressed = "gzip" in request.headers.get("accept-encoding", "")
        headers = HEADERS | {"Vary": "Accept, Accept-Encoding"}
        # In this thread: it takes a few milliseconds, and must not wait for pages.
        body = encode(registry)
        if compressed:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1)
        return Response(body, headers=headers, media_type=_without_charset(content_type))

    async def healthz(self) -> Response[bytes]:
        return _json({"status": "alive"})

    async def readyz(self) -> Response[bytes]:
        problems = self._problems()
        return _json({"ready": not problems, "troubles": problems}, 503 if problems else 200)

    async def alerts(self) -> Response[str]:
        return _page(await self._page_threads.run(self._ready_pages().alerts))

    async def runbooks(self) -> Response[str]:
        """It needs no database, since that may be what the alert is about."""
        return _page(render("runbooks.html"))

    async def alert(self, request: AnyRequest) -> Response[Any]:
        pages, id_ = self._ready_pages(), _id(request, ALERT_PATH)
        page = await self._page_threads.run(lambda: pages.alert(id_))
        if isinstance(page, Elsewhere):
            return Response(b"", status_code=302, headers=PAGE_HEADERS | {"Location": page.path})
        return _json({"error": "no such alert", "paths": PATHS}, 404) if page is None else _page(page)

    async def incident(self, request: AnyRequest) -> Response[Any]:
        pages, id_ = self._ready_pages(), _id(request, INCIDENT_PATH)
        page = await self._page_threads.run(lambda: pages.incident(id_))
        return _json({"error": "no such incident", "paths": PATHS}, 404) if page is None else _page(page)

    def _ready_pages(self) -> Pages:
        pages = self._pages()
        if pages is None:
            raise Overloaded("the monitor is starting")
        return pages


def _id(request: AnyRequest, path: bytes) -> str:
    """The id behind a path.  It is taken from the raw path, percent-encoded: it may have any character."""
    return unquote(request.scope["raw_path"].removeprefix(path).decode("ascii"))


def _without_charset(content_type: str) -> str:
    """Litestar adds the charset to types of text; Prometheus refuses a type that has it twice."""
    return content_type.removesuffix(CHARSET) if content_type.startswith("text/") else content_type


def _json(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    content = json.dumps(body).encode() + b"\n"
    return Response(content, status_code=status, headers=HEADERS | (headers or {}), media_type=JSON)


def _page(html: str) -> Response[str]:
    return Response(html, headers=PAGE_HEADERS, media_type="text/html")


def _http_error(_request: AnyRequest, error: HTTPException) -> Response[bytes]:
    if error.status_code == 404:
        return _json({"error": "no such path", "paths": PATHS}, 404)
    return _json({"error": error.detail}, error.status_code, error.headers)


def _unavailable(_request: AnyRequest, error: Exception) -> Response[bytes]:
    what = "the database is unavailable: " if isinstance(error, StoreUnavailable) else ""
    return _json({"error": f"{what}{error}"}, 503, {"Retry-After": "5"})


def _unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    path = request.scope["raw_path"].decode("ascii", "replace")[:200]
    log.error("GET %s failed: %r", path, error, exc_info=error)
    return _json({"error": "the monitor failed to answer; its log says why"}, 500)

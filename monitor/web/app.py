"""The web application: metrics and health, the desk's pages, and the API that they use."""

import gzip
import re
from collections.abc import Callable, Iterable
from typing import Any

from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import FromPath
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from monitor.web.answers import HEADERS, AnyRequest, Errors, html_answer, json_answer, may_compress
from monitor.web.api import documents as documents_api
from monitor.web.api import entities as entities_api
from monitor.web.api import incidents as incidents_api
from monitor.web.api import stories as stories_api
from monitor.web.api import stream as stream_api
from monitor.web.desk import Desk
from monitor.web.errors import NoSuch, Overloaded
from monitor.web.gate import Receive, Scope, Send
from monitor.web.pages import (
    entity,
    health,
    incidents,
    login,
    overview,
    rules,
    story,
    text,
    topic,
    watchlists,
)
from monitor.web.rendering import render
from monitor.web.static_files import static_files, version

PATHS = ["/", "/metrics", "/healthz", "/readyz", "/alerts", "/incidents", "/runbooks", "/api/openapi.json"]
CHARSET = "; charset=utf-8"
PAGES = (overview, topic, entity, story, text, incidents, rules, watchlists, health, login)
APIS = (incidents_api, entities_api, stories_api, documents_api, stream_api)
API_VERSION = "1"
# A browser keeps a file for a year without asking again: a changed one has another address.
FOREVER = "public, max-age=31536000, immutable"


def desk_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of every page and of the API."""
    return [handler for module in (*PAGES, *APIS) for handler in module.routes(desk)]


class Site:
    """The ASGI application.  Until `open` is called it serves metrics, health and the runbooks alone."""

    def __init__(self, registry: CollectorRegistry, problems: Callable[[], list[str]], prefix: str) -> None:
        """`problems` says why the monitor is not ready, and must not block; `prefix` begins every link."""
        self._registry, self._problems, self._prefix = registry, problems, prefix
        self._errors = Errors(prefix, PATHS).handlers()
        self._posts: tuple[re.Pattern[str], ...] = ()
        self._app = self._make([_starting("/"), _starting("/{rest:path}")])

    def open(self, routes: Iterable[HTTPRouteHandler]) -> None:
        """Serve these too from now on; callable from any thread."""
        handlers = list(routes)
        app = self._make(handlers)
        self._posts = tuple(
            _pattern(path) for each in handlers if "POST" in each.http_methods for path in each.paths
        )
        self._app = app

    def takes_post(self, path: str) -> bool:
        """Whether a POST to this path, as it stands in the request, has a handler."""
        return any(pattern.fullmatch(path) for pattern in self._posts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: Any = self._app
        await app(scope, receive, send)

    def _make(self, routes: Iterable[HTTPRouteHandler]) -> Litestar:
        return Litestar(
            route_handlers=[*self._own_routes(), *routes],
            exception_handlers=self._errors,
            openapi_config=OpenAPIConfig(
                title="Sentiment monitor",
                version=API_VERSION,
                path="/api",
                render_plugins=[JsonRenderPlugin()],
            ),
            logging_config=None,
            debug=False,
            pdb_on_exception=False,
        )

    def _own_routes(self) -> list[HTTPRouteHandler]:
        """What needs no database."""

        @get("/metrics", include_in_schema=False)
        async def metrics(request: AnyRequest) -> Response[bytes]:
            return self._metrics(request)

        @get("/healthz", include_in_schema=False)
        async def healthz() -> Response[bytes]:
            return json_answer({"status": "alive"})

        @get("/readyz", include_in_schema=False)
        async def readyz() -> Response[bytes]:
            problems = self._problems()
            return json_answer({"ready": not problems, "troubles": problems}, 503 if problems else 200)

        @get("/runbooks", include_in_schema=False)
        async def runbooks(request: AnyRequest) -> Response[bytes]:
            html = render("runbooks.html", prefix=self._prefix, path="/runbooks", user=request.user)
            return html_answer(html, compress=may_compress(request))

        return [metrics, healthz, readyz, runbooks, _static()]

    def _metrics(self, request: AnyRequest) -> Response[bytes]:
        """In the format that Prometheus asks for, compressed if it may be; `name[]` selects metrics."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        names = request.query_params.getall("name[]", [])
        registry: Any = self._registry.restricted_registry(names) if names else self._registry
        headers = HEADERS | {"Vary": "Accept, Accept-Encoding"}
        # In this thread: it takes a few milliseconds, and must not wait for pages.
        body = encode(registry)
        if may_compress(request):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1)
        return Response(body, headers=headers, media_type=_without_charset(content_type))


def _static() -> HTTPRouteHandler:
    """The application's own files."""

    @get("/static/{digest:str}/{name:path}", include_in_schema=False)
    async def static(request: AnyRequest, digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        file = static_files().get(name.lstrip("/"))
        if file is None:
            raise NoSuch("no such file")
        # One of another version may be asked for while several monitors are replaced one by one.
        caching = FOREVER if digest == version() else "no-store"
        headers = HEADERS | {"Cache-Control": caching, "Vary": "Accept-Encoding"}
        if not may_compress(request):
            return Response(file.plain, headers=headers, media_type=file.media_type)
        compressed = headers | {"Content-Encoding": "gzip"}
        return Response(file.compressed, headers=compressed, media_type=file.media_type)

    return static


def _starting(path: str) -> HTTPRouteHandler:
    """The answer to every other path while there is no desk yet."""

    @get(path, include_in_schema=False)
    async def starting() -> None:
        raise Overloaded("the monitor is starting")

    return starting


def _pattern(path: str) -> re.Pattern[str]:
    """What matches the paths of a handler: a parameter in braces is one segment, or all of the rest."""
    parts = re.split(r"(\{[^}]*\})", path)
    return re.compile("".join(map(_part_pattern, parts)))


def _part_pattern(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    return ".+" if part.endswith(":path}") else "[^/]+"


def _without_charset(content_type: str) -> str:
    """Litestar adds the charset to types of text; Prometheus refuses a type that has it twice."""
    return content_type.removesuffix(CHARSET) if content_type.startswith("text/") else content_type

"""Answers of the web application: HTML and JSON, their headers, and what each error looks like."""

import gzip
import json
import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from monitor.web.errors import BadRequest, Conflict, NoSuch, Overloaded
from monitor.web.rendering import render
from stream.domain.errors import StoreUnavailable

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
JSON = "application/json; charset=utf-8"
HEADERS = {"X-Content-Type-Options": "nosniff"}
# Pages show texts from outside: the browser runs and loads nothing but the application's own files.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
PAGE_HEADERS = HEADERS | {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    # Not `no-referrer`: with that, browsers hide from us too that a form is our own.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Accept-Encoding",
}
# Below this many bytes compression gains nothing.
SMALL = 1000
API = "/api/"


def wants_html(request: AnyRequest) -> bool:
    """Whether a browser asks for a page, which gets errors as pages too."""
    return "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith(API)


def may_compress(request: AnyRequest) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def html_answer(html: str, *, compress: bool, status: int = 200) -> Response[bytes]:
    """A page, or a part of one."""
    body, headers = html.encode(), dict(PAGE_HEADERS)
    if compress and len(body) > SMALL:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=5)
    return Response(body, status_code=status, headers=headers, media_type="text/html")


def json_answer(
    body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response[bytes]:
    content = json.dumps(body).encode() + b"\n"
    return Response(content, status_code=status, headers=HEADERS | (headers or {}), media_type=JSON)


class Errors:
    """The answers to errors: a page for a browser, JSON for everything else."""

    def __init__(self, prefix: str, paths: list[str]) -> None:
        """`prefix` begins every link; `paths` are those that a wrong address is told of."""
        self._prefix, self._paths = prefix, paths

    def handlers(self) -> dict[int | type[Exception], Any]:
        """By the type of the error, as Litestar takes them."""
        return {
            HTTPException: self._http,
            NoSuch: self._no_such,
            BadRequest: self._bad_request,
            Conflict: self._conflict,
            StoreUnavailable: self._database_away,
            Overloaded: self._overloaded,
            Exception: self._unexpected,
        }

    def _http(self, request: AnyRequest, error: HTTPException) -> Response[bytes]:
        if error.status_code == 404:
            return self._no_such(request, NoSuch("no such path"))
        return self._answer(request, error.status_code, error.detail, error.headers)

    def _no_such(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        return self._answer(request, 404, str(error), more={"paths": self._paths})

    def _bad_request(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        return self._answer(request, 400, str(error))

    def _conflict(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        return self._answer(request, 409, str(error))

    def _database_away(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        return self._answer(request, 503, f"the database is unavailable: {error}", {"Retry-After": "5"})

    def _overloaded(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        return self._answer(request, 503, str(error), {"Retry-After": "5"})

    def _unexpected(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        path = request.scope["raw_path"].decode("ascii", "replace")[:200]
        log.error("%s %s failed: %r", request.method, path, error, exc_info=error)
        return self._answer(request, 500, "the monitor failed to answer; its log says why")

    def _answer(
        self,
        request: AnyRequest,
        status: int,
        message: str,
        headers: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> Response[bytes]:
        if not wants_html(request):
            return json_answer({"error": message} | (more or {}), status, headers)
        html = render(
            "error.html",
            prefix=self._prefix,
            path=request.scope["path"],
            user=None,
            status=status,
            message=message,
        )
        answer = html_answer(html, compress=may_compress(request), status=status)
        answer.headers.update(headers or {})
        return answer

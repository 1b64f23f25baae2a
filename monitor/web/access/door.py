"""The door of the web application: who comes in, and that only our own forms change something.

It stands before every handler, so that a page that somebody adds is closed until they say otherwise.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from monitor.runtime.settings import HttpSettings
from monitor.web.access.door_request import DoorRequest
from monitor.web.access.groups import NotAllowed
from monitor.web.access.logins import Logins
from monitor.web.access.rate_limit import RateLimit
from monitor.web.access.settings import is_loopback
from monitor.web.access.users import LOCAL, User
from monitor.web.access.visit import Cookies
from monitor.web.answers import JSON, PAGE_HEADERS
from monitor.web.errors import Overloaded
from monitor.web.gate import App, Receive, Scope, Send
from monitor.web.rendering import render
from stream.domain.errors import StreamError

log = logging.getLogger(__name__)

METRICS = "/metrics"
OPEN = frozenset({METRICS, "/healthz", "/readyz"})
# Changes by one user: so many at once, and then so many a minute.
BURST, A_MINUTE = 60, 120
# How often, in seconds, an answer that goes on asks whether its login does.
RECHECK_SECONDS = 15
NO_SCRAPE = "/metrics wants a login, or as a bearer token what http.login.metrics_token is set to"
CLOSED = "only /metrics, /healthz and /readyz are served here"
HOW_TO_SET = (
    f"http.host is %s, which others reach, and no login is set: {CLOSED}. Set http.login.method to password, "
    "with a file of http.login.passwords that `monitor access password` writes; to openid; or to proxy: "
    "docs/access.md shows how"
)
Headers = dict[str, str]


class Refused(Exception):
    """The door answers in place of the application."""

    def __init__(
        self, status: int, error: str, reason: str | None = None, headers: Headers | None = None
    ) -> None:
        """`reason` is counted: `login`, `csrf` or `rate`."""
        super().__init__(error)
        self.status, self.reason, self.headers = status, reason, headers or {}


class Door:
    """The application behind the login.  Handlers find `user`, a User, and `visit`, a Visit, in the scope.

    Unknown visitors get the login page, /healthz and /readyz, and whoever has the token for it /metrics.
    Without a login, on an address that others reach, nobody gets more than the last three.
    """

    def __init__(self, app: App, http: HttpSettings, refused: Callable[[str, str], object]) -> None:
        """`refused` gets the reason, `login`, `csrf` or `rate`, and the Host header."""
        self._app, self._http, self._login, self._refused = app, http, http.login, refused
        self._cookies = Cookies(http.public_url.startswith("https://"), http.path_prefix)
        self._rate = RateLimit(BURST, A_MINUTE)
        self._logins: Logins | None = None
        self._is_closed = http.login.method == "none" and not is_loopback(http.host)
        _say_what_is_open(http, self._is_closed)

    def open(self, logins: Logins) -> None:
        """Let people in from now on; callable from any thread."""
        self._logins = logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = DoorRequest(scope, self._cookies)
        try:
            user = await self._admit(request)
            if request.method == "POST":
                receive = await self._check_post(request, user, receive)
        except Refused as refused:
            if refused.reason:
                self._refused(refused.reason, request.host)
            await self._answer(request, refused, send)
        else:
            await self._app(request.inner(user), receive, self._sending(request, user, send))

    async def _admit(self, request: DoorRequest) -> User | None:
        """Who comes in; None for an unknown visitor who asks for what is open to them.  Raises Refused."""
        if request.path in OPEN:
            if request.path == METRICS and not await self._may_scrape(request):
                raise Refused(401, NO_SCRAPE, "login", {"WWW-Authenticate": "Bearer"})
            return None
        if self._is_closed:
            raise Refused(403, f"{CLOSED}: no login is set (http.login.method)", "login")
        user = await self._user(request)
        if user is None and not request.is_for_login:
            raise self._log_in_first(request)
        return user

    async def _may_scrape(self, request: DoorRequest) -> bool:
        """Whether /metrics is for whoever asks: without a login it is for everybody."""
        token = self._login.metrics_token
        if self._login.method == "none" or (token and request.has_bearer(token.get_secret_value())):
            return True
        try:
            return await self._find_user(request) is not None
        except (NotAllowed, StreamError, Overloaded):
            return False

    async def _user(self, request: DoorRequest) -> User | None:
        """Who asks, None if nobody knows.  Raises Refused."""
        try:
            return await self._find_user(request)
        except NotAllowed as error:
            raise Refused(403, str(error), "login") from error
        except (StreamError, Overloaded) as error:
            raise Refused(503, f"nobody can be let in now: {error}", headers={"Retry-After": "5"}) from error

    async def _find_user(self, request: DoorRequest) -> User | None:
        if self._login.method == "none":
            return LOCAL
        logins = self._logins
        if logins is None:
            raise Overloaded("the monitor is starting")
        asker = request.asker
        if self._login.method == "proxy" or asker.token is None:
            return logins.user(asker)
        return await logins.session_threads.run(lambda: logins.user(asker))

    def _log_in_first(self, request: DoorRequest) -> Refused:
        address = f"{self._http.path_prefix}/login"
        if request.wants_html and request.method == "GET":
            return Refused(303, "log in first", headers={"Location": f"{address}?next={request.target}"})
        # htmx follows this header: a part of a page must not be replaced by the login page.
        return Refused(401, f"log in first, at {address}", "login", {"HX-Redirect": address})

    async def _check_post(self, request: DoorRequest, user: User | None, receive: Receive) -> Receive:
        """What the application receives in place of `receive`.  Raises Refused."""
        wait = self._rate.take(user.name if user else request.visit.address, time.monotonic())
        if wait:
            headers = {"Retry-After": str(math.ceil(wait))}
            raise Refused(429, "that was too often: wait a little", "rate", headers)
        body = await _read_body(receive)
        if not request.is_from_us(body, self._http.public_url):
            error = "this form is out of date or of another site: reload the page, and send it again"
            raise Refused(403, error, "csrf")
        return _replay(body, receive)

    def _sending(self, request: DoorRequest, user: User | None, send: Send) -> Send:
        """Sends the answer with the visit's cookie, and ends one that outlasts its login."""
        checked, is_over = time.monotonic(), False

        async def sending(message: Any) -> None:
            nonlocal checked, is_over
            if is_over:
                return
            if message["type"] == "http.response.start":
                message = _with_cookie(message, request.visit.set_cookie)
            elif time.monotonic() - checked > RECHECK_SECONDS:
                checked = time.monotonic()
                is_over = await self._has_left(request, user)
            await send({"type": "http.response.body"} if is_over else message)

        return sending

    async def _has_left(self, request: DoorRequest, user: User | None) -> bool:
        """Whether the login of a request has ended.  While the database does not answer it goes on."""
        try:
            return await self._user(request) != user
        except Refused as refused:
            return refused.status != 503

    async def _answer(self, request: DoorRequest, refused: Refused, send: Send) -> None:
        is_page = request.wants_html and not self._is_closed and refused.status != 303
        if is_page:
            body = render("refused.html", prefix=self._http.path_prefix, message=str(refused)).encode()
            headers = PAGE_HEADERS | {"Content-Type": "text/html; charset=utf-8"}
        else:
            body = json.dumps({"error": str(refused)}).encode() + b"\n"
            headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Type": JSON}
        headers |= refused.headers | {"Content-Length": str(len(body))}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refused.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


def _with_cookie(message: Any, cookie: str | None) -> Any:
    if cookie is None:
        return message
    return {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie.encode())]}


async def _read_body(receive: Receive) -> bytes:
    """The whole body, whose length the gate has limited; what came of it if the client left."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, and then what `receive` does."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Any:
        return waiting.pop() if waiting else await receive()

    return receiving


def _say_what_is_open(http: HttpSettings, is_closed: bool) -> None:
    if is_closed:
        log.error(HOW_TO_SET, http.host)
    elif not (is_loopback(http.host) or http.public_url.startswith("https://")):
        log.warning(
            "people log in over plain HTTP, which others on the way can read: put a proxy with TLS in front, "
            "and its https:// address into http.public_url"
        )

"""The login page, and the ways out."""

import time
from urllib.parse import quote

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from monitor.web.access.groups import NotAllowed
from monitor.web.access.logins import CALLBACK, Logins
from monitor.web.access.openid import ProviderError
from monitor.web.access.rate_limit import RateLimit
from monitor.web.access.users import User
from monitor.web.access.visit import Visit, visit_of
from monitor.web.answers import PAGE_HEADERS, AnyRequest, html_answer, may_compress
from monitor.web.desk import Desk
from monitor.web.rendering import render

# Logins as one user, and from one address, where a proxy may stand: so many at once, then so many a minute.
BY_NAME, BY_ADDRESS = (10, 2), (60, 30)
TOO_OFTEN = "that was too often: wait a minute"


class LoginPage:
    """The handlers' work."""

    def __init__(self, logins: Logins, prefix: str) -> None:
        self._logins, self._prefix = logins, prefix
        self._by_name, self._by_address = RateLimit(*BY_NAME), RateLimit(*BY_ADDRESS)

    def show(self, request: AnyRequest, next_: str, message: str = "", status: int = 200) -> Response[bytes]:
        """The page with the form, or with the way to the provider."""
        html = render(
            "login.html",
            prefix=self._prefix,
            method=self._logins.settings.method,
            csrf=visit_of(request).csrf,
            next=next_,
            message=message,
        )
        return html_answer(html, compress=may_compress(request), status=status)

    def go(self, path: str) -> Response[bytes]:
        """To a page of ours."""
        return _redirect(self._prefix + path)

    def is_too_often(self, visit: Visit, name: str | None = None) -> bool:
        """Whether this address, or somebody with this name, tries too often; counts the attempt."""
        now = time.monotonic()
        waits = [self._by_address.take(visit.address, now)]
        if name is not None:
            waits.append(self._by_name.take(name, now))
        return any(waits)

    async def log_in(self, request: AnyRequest, name: str, password: str, next_: str) -> Response[bytes]:
        """By name and password.  Raises StoreUnavailable and Overloaded."""
        visit, logins = visit_of(request), self._logins
        if self.is_too_often(visit, name):
            return self.show(request, next_, TOO_OFTEN, 429)
        try:
            token = await logins.login_threads.run(
                lambda: logins.check_password(name, password, visit.address)
            )
        except NotAllowed as error:
            return self.show(request, next_, str(error), 403)
        return self._enter(visit, token, next_)

    async def go_to_provider(self, request: AnyRequest, next_: str) -> Response[bytes]:
        """To the provider's page.  Raises Overloaded."""
        visit, logins = visit_of(request), self._logins
        if self.is_too_often(visit):
            return self.show(request, next_, TOO_OFTEN, 429)
        visit.keep()
        try:
            address = await logins.login_threads.run(lambda: logins.openid.login_address(visit.token, next_))
        except ProviderError as error:
            return self.show(request, next_, str(error), 502)
        return _redirect(address)

    async def arrive(self, request: AnyRequest) -> Response[bytes]:
        """Back from the provider.  Raises StoreUnavailable and Overloaded."""
        visit, logins = visit_of(request), self._logins
        query = request.scope["query_string"].decode("latin-1")
        if self.is_too_often(visit):
            return self.show(request, "/", TOO_OFTEN, 429)

        def enter() -> tuple[str, str]:
            arrival = logins.openid.arrive(visit.token, query)
            return logins.begin(arrival.user, visit.address), arrival.next

        try:
            token, next_ = await logins.login_threads.run(enter)
        except NotAllowed as error:
            return self.show(request, "/", str(error), 403)
        except ProviderError as error:
            return self.show(request, "/", str(error), 502)
        return self._enter(visit, token, next_)

    async def log_out(self, request: AnyRequest) -> Response[bytes]:
        """Out, on this browser.  Raises StoreUnavailable and Overloaded."""
        visit, logins, user = visit_of(request), self._logins, request.user
        if user is not None:
            await logins.session_threads.run(lambda: logins.end(user, visit.token, visit.address))
            visit.log_out()
        return self.go("/login")

    def _enter(self, visit: Visit, token: str, next_: str) -> Response[bytes]:
        visit.log_in(token, self._logins.settings.session_seconds)
        return self.go(own_path(next_))


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers of this page."""
    page, method = LoginPage(desk.logins, desk.prefix), desk.settings.http.login.method

    @get("/login", include_in_schema=False)
    async def login(request: AnyRequest) -> Response[bytes]:
        next_ = own_path(request.query_params.get("next", "/"))
        user: User | None = request.user
        return page.show(request, next_) if user is None else page.go(next_)

    @post("/login", include_in_schema=False)
    async def log_in(request: AnyRequest) -> Response[bytes]:
        form = await request.form()
        name, password, next_ = (str(form.get(field, "")) for field in ("name", "password", "next"))
        return await page.log_in(request, name, password, own_path(next_))

    @get("/login/openid", include_in_schema=False)
    async def go_to_provider(request: AnyRequest) -> Response[bytes]:
        return await page.go_to_provider(request, own_path(request.query_params.get("next", "/")))

    @get(CALLBACK, include_in_schema=False)
    async def arrive(request: AnyRequest) -> Response[bytes]:
        return await page.arrive(request)

    @post("/logout", include_in_schema=False)
    async def log_out(request: AnyRequest) -> Response[bytes]:
        return await page.log_out(request)

    ways = {"password": [log_in, log_out], "openid": [go_to_provider, arrive, log_out]}
    return [login, *ways.get(method, [])]


def own_path(text: str) -> str:
    """The address of a page of ours that somebody wanted; the overview for any other address."""
    is_own = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_own else "/"


def _redirect(address: str) -> Response[bytes]:
    headers = PAGE_HEADERS | {"Location": quote(address, safe="/:?&=#%+~,;@!$'()*[]")}
    return Response(b"", status_code=303, headers=headers, media_type="text/plain")

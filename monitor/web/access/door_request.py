"""What the door wants to know of a request."""

from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from monitor.web.access.logins import CALLBACK, Asker
from monitor.web.access.tokens import matches
from monitor.web.access.users import User
from monitor.web.access.visit import BROWSER_HEADERS, CSRF_FIELD, CSRF_HEADER, Cookies, Visit
from monitor.web.gate import Scope

# What somebody who has not logged in may ask for besides metrics and health: the login page, and its style
# sheet, `/static/HASH/desk.css`.
LOGIN, SHEET = frozenset({"/login", "/login/openid", CALLBACK}), "desk.css"
API = "/api/"
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 1000


class DoorRequest:
    """A request, with its path as the application routes it."""

    def __init__(self, scope: Scope, cookies: Cookies) -> None:
        self._scope = scope
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self.path = "/" + "/".join(filter(None, scope["path"].split("/")))
        self.method: str = scope["method"]
        self.host = self.header(b"host")
        client = scope.get("client")
        self._token = cookies.read(self._headers)
        self.visit = Visit(cookies, self._token, client[0] if client else "")

    def header(self, name: bytes) -> str:
        """The value of a header, empty if it is not there."""
        return self._headers.get(name, b"").decode("latin-1")

    def inner(self, user: User | None) -> dict[str, Any]:
        """The scope that the application gets."""
        return {**self._scope, "user": user, "visit": self.visit}

    @property
    def asker(self) -> Asker:
        """What it says about who sent it."""
        mode = self.header(b"sec-fetch-mode")
        is_active = self.method == "POST" or mode in ("", "navigate")
        return Asker(self._token, self.visit.address, self._scope["headers"], is_active)

    @property
    def is_for_login(self) -> bool:
        """Whether an unknown visitor may send it."""
        parts = self.path.split("/")
        return self.path in LOGIN or (len(parts) == 4 and parts[1] == "static" and parts[3] == SHEET)

    @property
    def wants_html(self) -> bool:
        """Whether a browser opens a page."""
        return "text/html" in self.header(b"accept") and not self.path.startswith(API)

    @cached_property
    def target(self) -> str:
        """Path and query, escaped for the query of another address."""
        query = self._scope["query_string"].decode("latin-1")
        return quote(self._scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""), safe="/")

    def has_bearer(self, token: str) -> bool:
        """Whether it has this bearer token."""
        scheme, _, given = self.header(b"authorization").partition(" ")
        return scheme.lower() == "bearer" and matches(given.strip(), token)

    def is_from_us(self, body: bytes, public_url: str) -> bool:
        """Whether a POST comes from a form or script of ours, or from no browser.

        A program that is no browser sends nothing that another site can make it send, so it needs no token.
        """
        if not BROWSER_HEADERS & self._headers.keys():
            return True
        return self._is_same_origin(public_url) and self.visit.has_sent(self._csrf(body))

    def _csrf(self, body: bytes) -> str:
        """The token of the forms that it has, in a header or in a field."""
        if CSRF_HEADER in self._headers:
            return self.header(CSRF_HEADER)
        if not self.header(b"content-type").startswith(FORM):
            return ""
        try:
            fields = parse_qs(body.decode(), max_num_fields=MOST_FIELDS)
        except ValueError:
            return ""
        return fields.get(CSRF_FIELD, [""])[0]

    def _is_same_origin(self, public_url: str) -> bool:
        if self.header(b"sec-fetch-site") not in ("", "same-origin", "none"):
            return False
        origin = self.header(b"origin")
        # A browser hides the origin, as `null`, where a policy of the page says so.  The token still counts.
        return origin in ("", "null") or urlsplit(origin).netloc in (self.host, urlsplit(public_url).netloc)

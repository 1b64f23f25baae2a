"""The browser behind a request, known by the token in its cookie."""

from http.cookies import CookieError, SimpleCookie
from typing import Any

from monitor.web.access.tokens import derive, is_token, matches, new_token

COOKIE = "monitor_session"
CSRF_HEADER, CSRF_FIELD = b"x-csrf-token", "csrf"
# What only browsers send.  Other sites can make a browser send requests, and no other program.
BROWSER_HEADERS = frozenset({b"cookie", b"origin", b"referer", b"sec-fetch-site"})


class Cookies:
    """How the cookie is written: whether only over TLS, and for which paths."""

    def __init__(self, secure: bool, prefix: str) -> None:
        self._attributes = f"Path={prefix or '/'}; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
        # A name that browsers take only over TLS, from the host itself: no other host can set it.
        self.name = f"__Host-{COOKIE}" if secure and not prefix else COOKIE

    def write(self, token: str, seconds: int | None) -> str:
        """The cookie for so many seconds; None: until the browser is closed."""
        age = "" if seconds is None else f"; Max-Age={seconds}"
        return f"{self.name}={token}; {self._attributes}{age}"

    def read(self, headers: dict[bytes, bytes]) -> str | None:
        """The token of a request; None if it has none that we can have given."""
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return None
        found = cookies.get(self.name)
        return found.value if found is not None and is_token(found.value) else None


class Visit:
    """One request of a browser.  Its handler may begin or end a login, which changes the cookie."""

    def __init__(self, cookies: Cookies, token: str | None, address: str) -> None:
        """`token` is that of the cookie; `address` is the client's, as the connection has it."""
        self._cookies, self.address = cookies, address
        self._is_new = token is None
        self.token = token or new_token()
        self.set_cookie: str | None = None

    @property
    def csrf(self) -> str:
        """What every form of this browser must send; a browser without a cookie gets one."""
        self.keep()
        return derive(self.token, "csrf")

    def keep(self) -> None:
        """Give a browser without a cookie one, so that it is known when it comes back."""
        if self._is_new and self.set_cookie is None:
            self.set_cookie = self._cookies.write(self.token, None)

    def has_sent(self, csrf: str) -> bool:
        """Whether a request has the token of our forms."""
        return not self._is_new and matches(csrf, derive(self.token, "csrf"))

    def log_in(self, token: str, seconds: int) -> None:
        """The browser gets the token of its session, in place of one that others may have seen or set."""
        self.token, self.set_cookie = token, self._cookies.write(token, seconds)

    def log_out(self) -> None:
        """The browser forgets its token."""
        self.set_cookie = self._cookies.write("", 0)


def visit_of(connection: Any) -> Visit:
    """The visit of a request that came through the door."""
    visit: Visit = connection.scope["visit"]
    return visit

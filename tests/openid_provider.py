"""A real OpenID provider, django-oauth-toolkit, in a process of its own.  `tests/openid_site` is its site."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx

from tests.parts import PartMissing, free_port, wait_until

CLIENT_ID, CLIENT_SECRET = "monitor", "a-secret-of-the-tests"
PASSWORD = "a-password-of-the-tests"
# Each user's groups; None: the provider says nothing of groups.
USERS: dict[str, list[str] | None] = {
    "mia": ["trading", "everyone"],
    "olga": ["operators"],
    "bo": [],
    "kim": None,
}


class OpenIdProvider:
    """The provider, and what a person does in its pages.  It wants PKCE of every client."""

    def __init__(self, folder: Path, redirect_uri: str) -> None:
        try:
            import oauth2_provider  # noqa: F401
        except ImportError as error:
            raise PartMissing("django-oauth-toolkit is not installed") from error
        self._folder, self._redirect_uri, self.port = folder, redirect_uri, free_port()
        self.monitor_port = urlsplit(redirect_uri).port
        self.issuer = f"http://127.0.0.1:{self.port}/o"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        words = [sys.executable, "-m", "tests.openid_site", str(self.port), self._redirect_uri]
        environ = os.environ | {"OPENID_FOLDER": str(self._folder), "OPENID_ISSUER": self.issuer}
        with (self._folder / "provider.log").open("wb") as log:
            self._process = subprocess.Popen(words, env=environ, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._is_up, 120, f"the provider on port {self.port}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def log_in(self, address: str, name: str) -> str:
        """Log in at the provider's page at this address; where the provider then sends the browser."""
        with httpx.Client(follow_redirects=True, timeout=30) as browser:
            page = browser.get(address)
            field = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert field is not None, page.text
            form = {"csrfmiddlewaretoken": field[1], "username": name, "password": PASSWORD}
            answer = browser.post(page.url, data=form, follow_redirects=False)
            while True:
                target = urljoin(str(answer.url), answer.headers["location"])
                if target.startswith(self._redirect_uri):
                    return target
                answer = browser.get(target, follow_redirects=False)

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self._folder / "provider.log").read_text()[-3000:])
        return httpx.get(f"{self.issuer}/.well-known/openid-configuration").status_code == 200

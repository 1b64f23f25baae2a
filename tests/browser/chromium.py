"""Chromium as somebody at the desk has it, and what went wrong in it.

The browser is that of the machine: Playwright drives it and brings none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.parts import program

Scheme = Literal["light", "dark"]
PHONE, DESKTOP = 390, 1600
# Milliseconds that something may take on a machine that runs all tests at once.
PATIENCE = 60_000
# What a browser may load that is in no network.
LOCAL_SCHEMES = ("data", "blob")

REFUSED = (
    "Failed to load resource: the server responded with a status of",
    "Form submission canceled because the form is not connected",
)


def installed() -> str:
    """The path of the machine's Chromium.  Raises PartMissing."""
    return program("chromium", "chromium-browser")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, without a window.  Raises PartMissing."""
    path = installed()
    with sync_playwright() as playwright:
        # A container has no user namespaces for its sandbox, and little shared memory.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody with a browser window, and the `faults` that they would meet: errors on the console, which
    include what the content security policy refuses, dialogs, and requests to another host."""

    context: BrowserContext
    base: str
    page: Page = field(init=False)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        self.context.on("request", self._request)

    @classmethod
    def of(
        cls,
        browser: Browser,
        base: str,
        *,
        width: int = DESKTOP,
        height: int = 900,
        scheme: Scheme = "light",
        **options: Any,
    ) -> Self:
        """A visitor of the pages at `base`, in a time zone of their own."""
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale="en-GB",
            timezone_id="Asia/Shanghai",
            **options,
        )
        context.set_default_timeout(PATIENCE)
        return cls(context, base)

    def visit(self, path: str) -> int:
        """Go to a page, and wait until it has what it loads; the status of its answer."""
        answer = self.page.goto(self.base + path, wait_until="load")
        assert answer is not None
        self.settle()
        return answer.status

    def settle(self) -> None:
        """Wait until the scripts have done what they do at once: an open event stream is never idle."""
        self.page.wait_for_timeout(300)

    def weigh(self, path: str) -> int:
        """The bytes over the wire, headers included, of a first visit of a page."""
        session = self.context.new_cdp_session(self.page)
        session.send("Network.enable")
        received: list[int] = []
        session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
        self.visit(path)
        session.detach()
        return round(sum(received))

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return max(0, int(width))

    def expect_refusals(self) -> None:
        """Forget that the browser noted answers such as 404 and 503, or the end of what a second click began."""
        self.faults[:] = [fault for fault in self.faults if not any(note in fault for note in REFUSED)]

    def close(self) -> None:
        self.context.close()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in LOCAL_SCHEMES and f"{parts.scheme}://{parts.netloc}" != self.base:
            self.faults.append(f"request to another host: {request.url}")

"""The pages behind an alert's link, out of a real database over real HTTP."""

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from alerts.delivery.pages import PageRouter
from monitor.runtime.settings import HttpSettings, Settings
from monitor.web.desk import Desk
from monitor.web.rendering import format_published, is_web_url, mark_words
from stream.domain.alerts import Alert, EvidenceItem, PageRequest, Severity, Transition
from stream.domain.documents import Document, Kind, Precision, Prediction
from stream.domain.incidents import Incident
from stream.domain.records import Batch, ClassifiedDocument, MessagePosition, Partition
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.leases import Lease
from tests.desk_parts import desk_over, new_store, serving

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
EVIL = '<script>alert("x")</script>'
ALERT = Alert(
    "abc", "surge", "Earnings", "page", "firing", NOW, 4.5, 3.0, 40, "chance 1e-9", f"many {EVIL}",
    usual=1.5, fired_at=NOW, sources={EVIL: 3},
    evidence=(
        EvidenceItem("wire", EVIL, NOW, f"Shares fall {EVIL}", -0.9, ("fall", "script"), "javascript:alert(1)"),
        EvidenceItem("wire", "b", NOW, "Bank closes", -0.8, (), 'https://wire.example/"onclick=', "news:wire:b"),
        EvidenceItem("wire", "c", NOW, "Bank opens", -0.7, key="news:wire:c", judged_by="large-1"),
    ),
)  # fmt: skip


@pytest.fixture
def desk(make_desk: Callable[[str], Desk]) -> Desk:
    return make_desk("")


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[[str], Desk]]:
    """A desk with one alert, published under an address."""
    store = new_store(tmp_path)
    document = Document("a", Kind.NEWS, "wire", NOW - timedelta(minutes=5), title="Shares fall")
    prediction = Prediction("m", "en", "Earnings", "negative", -0.9, {"topic": {"Earnings": 1.0}})
    position = MessagePosition(Kind.NEWS, Partition("c", "news", 0), 0, b"{}")
    store.write(Batch([ClassifiedDocument(position, document, prediction)]), lambda new, dead: [], NOW)
    alerts = SqlEpisodeStore(store, Lease(store, "alerts", "me", 20), "alerts")
    message = {"id": "abc", "key": "abc:firing"}
    transitions, request = (
        [Transition(ALERT, "pending", NOW, message)],
        PageRequest("webhook:desk", "abc:firing", "r", message, NOW),
    )
    alerts.save([ALERT], [], transitions, [request], NOW)

    def make(public_url: str) -> Desk:
        settings = Settings(http=HttpSettings(public_url=public_url))
        return desk_over(store, lambda: NOW + timedelta(minutes=1), settings=settings)

    yield make
    store.engine.dispose()


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    with serving(desk) as address:
        yield address


def test_a_text_on_an_alert_page_has_its_key_as_its_address_and_one_of_version_0_2_0_its_id(
    url: str,
) -> None:
    page = httpx.get(f"{url}/alerts/abc").text
    assert '<tr id="news:wire:b">' in page and "UTC, news:wire:b</span>" in page
    assert page.count("<tr id=") == 2 and "UTC, &lt;script&gt;" in page


def test_an_alert_page_says_which_of_two_models_labelled_a_text(url: str) -> None:
    page = httpx.get(f"{url}/alerts/abc").text
    assert "news:wire:c, labelled by large-1</span>" in page and page.count("labelled by") == 1


def test_an_alert_page_shows_the_evidence_and_runs_none_of_it(url: str) -> None:
    with urllib.request.urlopen(f"{url}/alerts/abc", timeout=5) as answer:
        page, headers = answer.read().decode(), answer.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert page.count("<script") == page.count('<script src="/static/') and "javascript:" not in page
    assert 'href="javascript' not in page and '"onclick=' not in page
    for text in ("surge: Earnings", "4.5", "1.5", "chance 1e-9", "Shares <mark>fall</mark>", "Bank closes"):
        assert text in page
    for text in ("pending", "webhook:desk", "waiting", "1 texts, 1 negative", "&lt;<mark>script</mark>&gt;"):
        assert text in page or text == "pending"


def test_the_list_links_to_every_alert_and_an_unknown_one_is_not_found(url: str) -> None:
    with urllib.request.urlopen(f"{url}/alerts", timeout=5) as answer:
        page = answer.read().decode()
    assert 'href="/alerts/abc"' in page and page.count("<script") == page.count('<script src="/static/')
    for path in ("/alerts/nothing", "/alerts/../settings", "/alerts/%00", "/other"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url + path, timeout=5)
        with caught.value as error:
            assert error.code == 404


def test_a_link_to_an_alert_leads_to_its_incident_which_shows_texts_and_runs_none_of_them(
    make_desk: Callable[[str], Desk],
) -> None:
    desk = make_desk("https://desk.example.com/mood")
    incident = Incident("i/1", NOW, Severity.PAGE, f"Bank {EVIL}", alerts=("abd",))
    alert = replace(ALERT, id="abd", incident="i/1")
    desk.episodes.save([alert], [], [], [], NOW, [incident])
    with serving(desk) as address:
        moved = httpx.get(f"{address}/alerts/abd")
        assert (moved.status_code, moved.headers["Location"]) == (302, "/mood/incidents/i%2F1#abd")
        shown = httpx.get(f"{address}/incidents/i%2F1")
        assert shown.status_code == 200 and "default-src 'none'" in shown.headers["Content-Security-Policy"]
        for text in (
            "Bank &lt;script&gt;",
            "Shares <mark>fall</mark>",
            "Bank closes",
            "its alerts are muted",
        ):
            assert text in shown.text
        assert "<script>" not in shown.text and 'href="javascript' not in shown.text
        for path in ("/incidents/nothing", "/incidents/%00"):
            assert httpx.get(address + path).status_code == 404


class Proxy(ThreadingHTTPServer):
    """Publishes a server under /mood, as nginx does; with `strips` it removes that from the path."""

    def __init__(self, server: str, strips: bool) -> None:
        self.target, self.strips = server, strips
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _ProxyHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        proxy = self.server
        assert isinstance(proxy, Proxy)
        if not self.path.startswith("/mood/"):
            self.send_error(404)
            return
        path = self.path.removeprefix("/mood") if proxy.strips else self.path
        answer = httpx.get(proxy.target + path, headers={"Host": "desk.example.com"}, follow_redirects=False)
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:
        """No line for every request."""


@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "passed on"])
def test_every_link_works_behind_a_proxy_that_publishes_the_monitor_under_a_path(
    make_desk: Callable[[str], Desk], strips: bool
) -> None:
    desk = make_desk("https://desk.example.com/mood/")
    link = PageRouter(address=desk.settings.http.public_url.rstrip("/")).link(ALERT)
    waiting, seen = {link.removeprefix("https://desk.example.com"), "/mood/"}, set()
    with serving(desk) as address, Proxy(address, strips) as proxy:
        while waiting:
            path = waiting.pop()
            seen.add(path)
            answer = httpx.get(f"http://127.0.0.1:{proxy.server_port}{path}")
            assert answer.status_code == 200, path
            page = f"http://x{path}"
            links = {
                urlsplit(urljoin(page, found))
                for found in re.findall(r'(?:href|src|action)="([^"]*)"', answer.text)
            }
            waiting |= {url.path for url in links if url.netloc == "x"} - seen
            # They work without the proxy, too.
            assert httpx.get(address + path).status_code == 200
        proxy.shutdown()
    assert seen > {"/mood/", "/mood/alerts", "/mood/alerts/abc", "/mood/incidents", "/mood/rules"}


def test_a_page_says_that_the_database_is_unavailable_as_a_page_to_a_browser(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    with serving(desk_over(store, lambda: NOW)) as address:
        store.engine.dispose()
        (tmp_path / "desk.db").rename(tmp_path / "gone.db")
        (tmp_path / "desk.db").mkdir()
        for path in ("/", "/alerts", "/incidents/1"):
            script = httpx.get(address + path)
            assert script.status_code == 503 and "database is unavailable" in script.json()["error"]
            browser = httpx.get(address + path, headers={"Accept": "text/html"})
            assert browser.status_code == 503 and browser.headers["content-type"].startswith("text/html")
            assert "The database is unavailable" in browser.text and "No data are shown" in browser.text
    store.engine.dispose()


def test_every_occurrence_of_a_word_is_marked_and_longer_words_win() -> None:
    assert mark_words("fall & falling", ["fall", "falling"]) == (
        "<mark>fall</mark> &amp; <mark>falling</mark>"
    )
    assert mark_words("fallingfalling", ["falling\u2026", "\u2026"]) == "<mark>falling</mark>" * 2
    assert mark_words("a.b", ["."]) == "a<mark>.</mark>b"
    assert mark_words("<b>", []) == "&lt;b&gt;"


@pytest.mark.parametrize(
    ("url", "web"),
    [("https://a.example", True), ("javascript:x", False), (None, False), ("data:text/html,x", False)],
)
def test_only_web_addresses_become_links(url: str | None, web: bool) -> None:
    assert is_web_url(url) is web


@pytest.mark.parametrize(
    ("precision", "shown"),
    [
        (Precision.EXACT, "2026-03-01 12:00:30 UTC"),
        (Precision.DAY, "2026-03-01, time unknown"),
        (Precision.SEEN, "first seen 2026-03-01 12:00:30 UTC"),
    ],
)
def test_a_time_is_shown_as_exactly_as_it_is_known(precision: Precision, shown: str) -> None:
    at = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    assert format_published(EvidenceItem("wire", "1", at, "Shares fall", -0.9, precision=precision)) == shown

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
from prometheus_client import CollectorRegistry

from alerts.delivery.pages import PageRouter
from monitor.runtime.http import Endpoint
from monitor.runtime.settings import HttpSettings
from monitor.web.alert_pages import AlertPages
from monitor.web.rendering import format_published, is_web_url, mark_words
from stream.domain.alerts import Alert, EvidenceItem, PageRequest, Severity, Transition
from stream.domain.documents import Document, Kind, Precision, Prediction
from stream.domain.errors import StoreUnavailable
from stream.domain.incidents import Incident
from stream.domain.records import Batch, ClassifiedDocument, MessagePosition, Partition
from stream.storage import database
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.batches import Store
from stream.storage.leases import Lease
from stream.storage.settings import DatabaseSettings

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
def pages(make_pages: Callable[[str], AlertPages]) -> AlertPages:
    return make_pages("")


@pytest.fixture
def make_pages(tmp_path: Path) -> Iterator[Callable[[str], AlertPages]]:
    """The pages of one alert, published under a prefix."""
    settings = DatabaseSettings.model_validate({"url": f"sqlite:///{tmp_path / 'test.db'}"})
    database.upgrade(settings)
    store = Store(database.connect(settings), 60)
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
    yield lambda prefix: AlertPages(alerts, store, lambda: NOW + timedelta(minutes=1), prefix)
    store.engine.dispose()


@pytest.fixture
def http(pages: AlertPages) -> Iterator[Endpoint]:
    served = Endpoint(HttpSettings(port=0), CollectorRegistry(), list, lambda: pages)
    yield served
    served.close()


def test_a_text_on_an_alert_page_has_its_key_as_its_address_and_one_of_version_0_2_0_its_id(
    pages: AlertPages,
) -> None:
    page = pages.alert("abc") or ""
    assert '<tr id="news:wire:b">' in page and "UTC, news:wire:b</span>" in page
    assert page.count("<tr id=") == 2 and "UTC, &lt;script&gt;" in page


def test_an_alert_page_says_which_of_two_models_labelled_a_text(pages: AlertPages) -> None:
    page = pages.alert("abc") or ""
    assert "news:wire:c, labelled by large-1</span>" in page and page.count("labelled by") == 1


def test_an_alert_page_shows_the_evidence_and_runs_none_of_it(http: Endpoint) -> None:
    with urllib.request.urlopen(f"{http.url}/alerts/abc", timeout=5) as answer:
        page, headers = answer.read().decode(), answer.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "<script" not in page and "javascript:" not in page.replace("javascript:alert(1)</", "")
    assert 'href="javascript' not in page and '"onclick=' not in page
    for text in ("surge: Earnings", "4.5", "1.5", "chance 1e-9", "Shares <mark>fall</mark>", "Bank closes"):
        assert text in page
    for text in ("pending", "webhook:desk", "waiting", "1 texts, 1 negative", "&lt;<mark>script</mark>&gt;"):
        assert text in page or text == "pending"


def test_the_list_links_to_every_alert_and_an_unknown_one_is_not_found(http: Endpoint) -> None:
    with urllib.request.urlopen(f"{http.url}/alerts", timeout=5) as answer:
        page = answer.read().decode()
    assert 'href="/alerts/abc"' in page and "<script" not in page
    for path in ("/alerts/nothing", "/alerts/../settings", "/alerts/%00", "/other"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(http.url + path, timeout=5)
        with caught.value as error:
            assert error.code == 404


def test_a_link_to_an_alert_leads_to_its_incident_which_shows_texts_and_runs_none_of_them(
    make_pages: Callable[[str], AlertPages],
) -> None:
    pages = make_pages("/mood")
    incident = Incident("i/1", NOW, Severity.PAGE, f"Bank {EVIL}", alerts=("abd",))
    alert = replace(ALERT, id="abd", incident="i/1")
    pages.episodes.save([alert], [], [], [], NOW, [incident])
    served = Endpoint(HttpSettings(port=0), CollectorRegistry(), list, lambda: pages)
    moved = httpx.get(f"{served.url}/alerts/abd")
    assert (moved.status_code, moved.headers["Location"]) == (302, "/mood/incidents/i%2F1#abd")
    shown = httpx.get(f"{served.url}/incidents/i%2F1")
    assert shown.status_code == 200 and "default-src 'none'" in shown.headers["Content-Security-Policy"]
    for text in ("Bank &lt;script&gt;", "Shares <mark>fall</mark>", "Bank closes", "its alerts are muted"):
        assert text in shown.text
    assert "<script" not in shown.text and 'href="javascript' not in shown.text
    for path in ("/incidents/nothing", "/incidents/%00"):
        assert httpx.get(served.url + path).status_code == 404
    served.close()


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
    make_pages: Callable[[str], AlertPages], strips: bool
) -> None:
    settings = HttpSettings(port=0, public_url="https://desk.example.com/mood/")
    pages = make_pages(settings.path_prefix)
    served = Endpoint(settings, CollectorRegistry(), list, lambda: pages)
    link = PageRouter(address=settings.public_url.rstrip("/")).link(ALERT)
    with Proxy(served.url, strips) as proxy:
        waiting, seen = {link.removeprefix("https://desk.example.com")}, set()
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
            assert httpx.get(served.url + path).status_code == 200
        proxy.shutdown()
    served.close()
    assert seen == {"/mood/alerts", "/mood/alerts/abc"}


def test_a_page_says_that_the_database_is_unavailable(tmp_path: Path) -> None:
    class Away:
        def alerts(self) -> str:
            raise StoreUnavailable("no connection")

        def alert(self, id_: str) -> str | None:
            raise StoreUnavailable("no connection")

        def incident(self, id_: str) -> str | None:
            raise StoreUnavailable("no connection")

    served = Endpoint(HttpSettings(port=0), CollectorRegistry(), list, Away)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{served.url}/alerts", timeout=5)
    with caught.value as error:
        assert error.code == 503 and b"database is unavailable" in error.read()
    served.close()


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

"""The HTTP port over real sockets: who is answered, how, and what clients that misbehave cost."""

import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from prometheus_client import CollectorRegistry, Counter

from monitor.runtime.http import Endpoint
from monitor.runtime.settings import HttpSettings, Settings
from monitor.web.answers import AnyRequest, html_answer
from monitor.web.desk import PAGE_THREADS, last_segment
from monitor.web.errors import NoSuch
from monitor.web.gate import BODY_BYTES
from monitor.web.threads import Threads
from stream.domain.errors import StoreUnavailable
from tests.parts import wait_until

ROUTES = (
    "/metrics",
    "/healthz",
    "/readyz",
    "/alerts",
    "/alerts/known",
    "/alerts/unknown",
    "/runbooks",
    "/nothing",
)
Serve = Callable[..., Endpoint]


class FakePages:
    """One alert, with the id `known`; `failure` is raised instead of an answer; `release` lets it answer."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.release = threading.Event()
        self.release.set()

    def alerts(self) -> str:
        self.release.wait(30)
        if self.failure is not None:
            raise self.failure
        return "<p>every alert"

    def alert(self, id_: str) -> str:
        if id_ == "unknown":
            raise NoSuch("no such alert")
        return f"<p>{id_}"

    def routes(self, seconds: float) -> list[HTTPRouteHandler]:
        """Their handlers, which answer within so many seconds, and one that takes POST."""
        threads = Threads(PAGE_THREADS, seconds)

        @get("/alerts")
        async def alerts() -> Response[bytes]:
            return html_answer(await threads.run(self.alerts), compress=False)

        @get("/alerts/{rest:path}")
        async def alert(request: AnyRequest) -> Response[bytes]:
            id_ = last_segment(request, "/alerts/")
            return html_answer(await threads.run(lambda: self.alert(id_)), compress=False)

        @post("/notes/{name:str}", status_code=200)
        async def note(request: AnyRequest, name: FromPath[str]) -> str:
            return f"{name}: {len(await request.body())}"

        return [alerts, alert, note]


class Served(Endpoint):
    """An endpoint with a registry to look into."""

    def __init__(self, pages: FakePages, **settings: Any) -> None:
        self.registry, self.pages = CollectorRegistry(), pages
        Counter("things", "Things", registry=self.registry).inc(3)
        http = HttpSettings.model_validate({"port": 0} | settings)
        super().__init__(http, self.registry, list)
        self.open(pages.routes(http.request_seconds / 2))

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        return host.strip("[]"), int(port)

    def refused(self, reason: str) -> float:
        return self.registry.get_sample_value("sentiment_http_refused_total", {"reason": reason}) or 0.0

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=5)

    def ask(self, data: bytes) -> bytes:
        """Everything that comes back for these bytes until the connection ends."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    received = b""
    try:
        while part := sock.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    with ExitStack() as stack:

        def make(**settings: Any) -> Served:
            served = Served(FakePages(), **settings)
            stack.callback(served.close)
            stack.callback(served.pages.release.set)
            return served

        yield make


@pytest.mark.parametrize("path", ROUTES)
def test_head_has_the_headers_of_get_and_no_body(serve: Serve, path: str) -> None:
    served = serve()
    get, head = (httpx.request(method, served.url + path) for method in ("GET", "HEAD"))
    assert head.status_code == get.status_code
    assert head.content == b"" and get.content
    ignored = {"date"}
    # The metrics show the connections of the moment, so their length changes.
    if path == "/metrics":
        ignored.add("content-length")
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in get.headers.items() if k not in ignored
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_refused_on_every_path(serve: Serve, method: str) -> None:
    served = serve()
    for path in ROUTES:
        answer = httpx.request(method, served.url + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert served.refused("method") == len(ROUTES)


def test_prometheus_gets_the_format_and_compression_that_it_asks_for(serve: Serve) -> None:
    served = serve()
    text = httpx.get(f"{served.url}/metrics", headers={"Accept-Encoding": "identity"})
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "content-encoding" not in text.headers and "things_total 3.0" in text.text
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    headers = {"Accept": accept, "Accept-Encoding": "gzip"}
    with httpx.stream("GET", f"{served.url}/metrics", headers=headers) as compressed:
        assert compressed.headers["content-type"].count("charset") == 1
        assert compressed.headers["content-type"].startswith("application/openmetrics-text")
        content = gzip.decompress(b"".join(compressed.iter_raw()))
    assert b"things_total 3.0" in content and content.endswith(b"# EOF\n")
    selected = httpx.get(f"{served.url}/metrics?name[]=things_total").text
    assert "things_total" in selected and "sentiment_http" not in selected


@pytest.mark.parametrize("path", ["/alerts/", "//alerts", "/healthz/", "/metrics/"])
def test_slashes_too_many_do_not_matter(serve: Serve, path: str) -> None:
    assert httpx.get(serve().url + path).status_code == 200


def test_an_id_may_contain_any_character(serve: Serve) -> None:
    served = serve()
    for segment, id_ in (("a%2Fb", "a/b"), ("a%20%25", "a %"), ("%E4%B8%AD", "中"), ("..%2F..", "../..")):
        assert httpx.get(f"{served.url}/alerts/{segment}").text == f"<p>{id_}"


# ---- Host ----


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9108", "localhost", "LOCALHOST.:80", "[::1]:9108", "10.4.0.7:9108", "monitor:9108", "a.localhost",
     "desk.example.com", "DESK.example.com:443", "wall.example.com"],
)  # fmt: skip
def test_the_monitors_own_names_and_addresses_are_answered(serve: Serve, host: str) -> None:
    served = serve(public_url="https://desk.example.com/mood", allowed_hosts=["wall.example.com"])
    for path in ("/healthz", "/metrics", "/alerts"):
        assert httpx.get(served.url + path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9108", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "evil.example#@x",
     "desk.example.com.evil.example", "127.0.0.1:80:80", "[::1", "", "localhost/evil.example", "evil.example."],
)  # fmt: skip
def test_a_foreign_host_reads_nothing(serve: Serve, host: str) -> None:
    served = serve(public_url="https://desk.example.com/mood")
    for path in ("/healthz", "/metrics", "/alerts", "/nothing"):
        answer = served.ask(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: localhost\r\n\r\n".encode()
        )
        assert answer.startswith((b"HTTP/1.1 421 ", b"HTTP/1.1 400 ")), answer
        assert b"things" not in answer and b"<p>" not in answer
    error = httpx.get(f"{served.url}/alerts", headers={"Host": "evil.example"}).json()["error"]
    assert "evil.example" in error and "http.allowed_hosts" in error


def test_every_host_can_be_allowed(serve: Serve) -> None:
    answer = httpx.get(f"{serve(allowed_hosts=['*']).url}/alerts", headers={"Host": "any.example"})
    assert answer.status_code == 200


def test_a_simple_probe_without_host_is_answered(serve: Serve) -> None:
    answer = serve().ask(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and b'{"status": "alive"}' in answer


@pytest.mark.parametrize("path", [b"/healthz", b"/metrics", b"/alerts"])
def test_a_client_that_sends_no_more_still_gets_its_answer(serve: Serve, path: bytes) -> None:
    with serve().connect() as sock:
        sock.sendall((b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") * 3)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).count(b"HTTP/1.1 200 ") == 3, "as many answers as requests"


def test_a_host_with_a_scheme_is_no_setting() -> None:
    with pytest.raises(ValueError, match="no scheme"):
        Settings.model_validate({"http": {"allowed_hosts": ["https://desk.example.com"]}})


# ---- Clients that misbehave ----


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is written: no line by the log at its default level, nothing past it."""
    logging.getLogger("uvicorn").setLevel("CRITICAL")
    caplog.set_level("INFO")
    logging.getLogger("httpx").setLevel("WARNING")
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO] == []
    assert capfd.readouterr() == ("", "")


GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\x00" * 5000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /" + b"a" * 100_000,
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
)


@pytest.mark.usefixtures("quiet")
def test_garbage_is_refused_at_once_and_costs_no_line(serve: Serve) -> None:
    served = serve()
    for data in GARBAGE:
        answer = served.ask(data)
        assert answer == b"" or answer[9:12] in (b"400", b"405", b"413", b"431"), (
            data[:40],
            answer,
        )
        assert b"Traceback" not in answer
    assert sum(map(served.refused, ("malformed", "method", "size", "body"))) >= len(GARBAGE)
    assert httpx.get(f"{served.url}/healthz").status_code == 200


@pytest.mark.usefixtures("quiet")
def test_probes_that_connect_and_leave_cost_nothing(serve: Serve) -> None:
    served = serve()
    for data in (b"", b"G", b"GET /healthz HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50):
        for abrupt in (False, True):
            with served.connect() as sock:
                if abrupt:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.sendall(data)
    wait_until(
        lambda: served.registry.get_sample_value("sentiment_http_connections") == 0, 10, "all are gone"
    )
    assert httpx.get(f"{served.url}/healthz").status_code == 200


@pytest.mark.usefixtures("quiet")
def test_garbage_behind_a_request_that_is_being_answered_ends_the_connection(serve: Serve) -> None:
    served = serve()
    served.pages.release.clear()
    with served.connect() as sock:
        sock.sendall(b"GET /alerts HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        sock.sendall(b"\x00\x01garbage\r\n\r\n" * 100)
        time.sleep(0.3)
        served.pages.release.set()
        read_all(sock)
    assert httpx.get(f"{served.url}/healthz").status_code == 200


def test_a_request_with_a_body_is_refused_before_the_body_is_read(serve: Serve) -> None:
    served = serve()
    for header in (b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"):
        answer = served.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
    assert served.refused("body") == 2


def test_a_path_that_takes_a_post_takes_one_with_a_body_of_bounded_size_that_is_known(serve: Serve) -> None:
    served = serve()
    assert httpx.post(f"{served.url}/notes/a%20b", content=b"x" * BODY_BYTES).text == f"a b: {BODY_BYTES}"
    head = b"POST /notes/a HTTP/1.1\r\nHost: a\r\n"
    too_long = served.ask(head + f"Content-Length: {BODY_BYTES + 1}\r\n\r\n".encode())
    assert too_long.startswith(b"HTTP/1.1 413 ") and b"at most" in too_long
    assert served.ask(head + b"Transfer-Encoding: chunked\r\n\r\n").startswith(b"HTTP/1.1 411 ")
    assert httpx.put(f"{served.url}/notes/a").status_code == 405
    assert httpx.get(f"{served.url}/notes/a").status_code == 405


def ended_after(sock: socket.socket, drip: bytes = b"") -> float:
    """Seconds until the server ends the connection, while a byte of `drip` goes out every tenth of a second."""
    began = time.monotonic()
    sock.settimeout(0.1)
    while time.monotonic() - began < 15:
        try:
            if drip:
                sock.sendall(drip[:1])
                drip = drip[1:] + drip[:1]
            if not sock.recv(65536):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - began


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["first", "later"])
@pytest.mark.parametrize(
    "begin", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: "], ids=["no", "line", "headers"]
)
def test_a_request_that_drips_in_ends_at_its_deadline(serve: Serve, first: bytes, begin: bytes) -> None:
    served = serve(header_seconds=1, idle_seconds=2)
    with served.connect() as sock:
        sock.sendall(first)
        if first:
            assert sock.recv(65536)
        sock.sendall(begin)
        seconds = ended_after(sock, drip=b"a" if begin else b"")
    idle = bool(first) and not begin
    assert (1.9 if idle else 0.9) < seconds < (4 if idle else 3)
    wait_until(lambda: served.refused("slow") == (not idle), 3, "it is counted")


@pytest.mark.usefixtures("quiet")
def test_a_client_that_does_not_take_its_answer_ends_at_the_deadline(serve: Serve) -> None:
    served = serve(request_seconds=1)
    served.pages.alerts = lambda: "x" * 50_000_000  # type: ignore[method-assign]
    with served.connect() as sock:
        sock.sendall(b"GET /alerts HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: served.refused("slow") == 1, 5, "it is closed")
        assert len(read_all(sock)) < 50_000_000


def test_the_runbooks_are_there_while_the_database_is_not(serve: Serve) -> None:
    served = serve()
    served.pages.failure = StoreUnavailable("no answer")
    answer = httpx.get(f"{served.url}/runbooks")
    assert answer.status_code == 200
    for anchor in ("sentimentdependencydown", "negative-surge", "sentimentpagesgivenup"):
        assert f'<h3 id="{anchor}">' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.usefixtures("quiet")
def test_an_answer_that_is_not_ready_in_time_is_an_error_and_others_are_answered(serve: Serve) -> None:
    served = serve(request_seconds=2)
    served.pages.release.clear()
    hanging = [served.connect() for _ in range(8)]
    for sock in hanging:
        sock.sendall(b"GET /alerts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for _ in range(5):
        began = time.monotonic()
        for path in (b"/healthz", b"/metrics"):
            assert b"200 OK" in served.ask(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        assert time.monotonic() - began < 1
    answer = httpx.get(f"{served.url}/alerts", timeout=5)
    assert answer.status_code == 503 and "no answer within 1 s" in answer.json()["error"]
    served.pages.release.set()
    for sock in hanging:
        assert b"HTTP/1.1 503 " in read_all(sock)
        sock.close()
    wait_until(lambda: httpx.get(f"{served.url}/alerts").status_code == 200, 5, "pages again")


@pytest.mark.usefixtures("quiet")
def test_more_requests_than_can_wait_are_refused_at_once(serve: Serve) -> None:
    served = serve()
    served.pages.release.clear()
    with ExitStack() as stack:
        for _ in range(40):
            sock = stack.enter_context(served.connect())
            sock.sendall(b"GET /alerts HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.5)
        assert "requests are waiting" in httpx.get(f"{served.url}/alerts").json()["error"]


# ---- Many connections ----


def test_idle_connections_neither_grow_without_limit_nor_keep_others_out(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve(max_connections=50)
    with ExitStack() as stack:
        idle = [stack.enter_context(served.connect()) for _ in range(300)]
        for path in ("/healthz", "/metrics", "/alerts"):
            began = time.monotonic()
            assert httpx.get(served.url + path).status_code == 200
            assert time.monotonic() - began < 1
        assert (served.registry.get_sample_value("sentiment_http_connections") or 0) <= 50
        assert served.refused("evicted") >= 250
        assert ended_after(idle[0]) < 1, "the oldest are gone"
        idle[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in idle[-1].recv(1000), "the latest are there"
    lines = [record.getMessage() for record in caplog.records if "max_connections" in record.getMessage()]
    assert len(lines) == 1


def test_a_request_in_progress_outlives_idle_connections(serve: Serve) -> None:
    served = serve(max_connections=20)
    served.pages.release.clear()
    with ExitStack() as stack:
        asking = stack.enter_context(served.connect())
        asking.sendall(b"GET /alerts HTTP/1.0\r\n\r\n")
        time.sleep(0.3)
        for _ in range(100):
            stack.enter_context(served.connect())
        served.pages.release.set()
        assert b"every alert" in read_all(asking)


def test_slow_readers_on_every_connection_do_not_keep_a_probe_out(serve: Serve) -> None:
    served = serve(max_connections=20)
    served.pages.alerts = lambda: "x" * 20_000_000  # type: ignore[method-assign]
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(served.connect()).sendall(b"GET /alerts HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.5)
        assert httpx.get(f"{served.url}/healthz").status_code == 200


# ---- Errors ----


def test_an_error_in_a_page_is_one_log_record_and_no_detail_for_the_client(
    serve: Serve, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    served = serve()
    served.pages.failure = RuntimeError("secret detail")
    answer = httpx.get(f"{served.url}/alerts")
    assert answer.status_code == 500 and "secret" not in answer.text and answer.json()["error"]
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(records) == 1 and "/alerts failed" in records[0].getMessage()
    assert capfd.readouterr() == ("", "")


def test_a_page_says_that_the_database_is_unavailable(serve: Serve) -> None:
    served = serve()
    served.pages.failure = StoreUnavailable("no connection")
    answer = httpx.get(f"{served.url}/alerts")
    assert answer.status_code == 503 and "database is unavailable: no connection" in answer.json()["error"]


def test_pages_of_a_monitor_that_is_starting_say_so() -> None:
    endpoint = Endpoint(HttpSettings(port=0), CollectorRegistry(), lambda: ["starting"])
    try:
        for path in ("/alerts", "/alerts/abc"):
            answer = httpx.get(endpoint.url + path)
            assert answer.status_code == 503 and "starting" in answer.json()["error"]
        assert httpx.get(f"{endpoint.url}/readyz").json() == {"ready": False, "troubles": ["starting"]}
        assert httpx.get(f"{endpoint.url}/healthz").status_code == 200
    finally:
        endpoint.close()


def test_closing_is_quick_whatever_the_clients_do() -> None:
    served = Served(FakePages())
    served.pages.release.clear()
    with ExitStack() as stack:
        for data in (b"", b"GET /heal", b"GET /alerts HTTP/1.1\r\nHost: a\r\n\r\n"):
            stack.enter_context(served.connect()).sendall(data)
        time.sleep(0.3)
        began = time.monotonic()
        served.close()
        assert time.monotonic() - began < 3
        with pytest.raises(ConnectionError):
            served.connect()
    served.pages.release.set()


@pytest.mark.parametrize(
    ("host", "clients"), [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"]), ("0.0.0.0", ["127.0.0.1"])]
)
def test_every_kind_of_address_can_be_listened_on(serve: Serve, host: str, clients: list[str]) -> None:
    served = serve(host=host)
    for client in clients:
        shown = f"[{client}]" if ":" in client else client
        answer = httpx.get(f"http://{shown}:{served.address[1]}/healthz")
        assert json.loads(answer.text) == {"status": "alive"}

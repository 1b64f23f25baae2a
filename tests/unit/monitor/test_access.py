"""Who comes in, over real HTTP: what an unknown visitor gets, logins by password and proxy, forms of others."""

import logging
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from monitor.runtime.http import Endpoint
from monitor.runtime.settings import HttpSettings, Settings
from monitor.web.access import door
from monitor.web.access.passwords import parse_passwords
from monitor.web.access.users import Role, requires
from monitor.web.answers import AnyRequest
from monitor.web.app import desk_routes
from monitor.web.desk import Desk
from stream.storage import database, schema
from stream.storage.audit import read_audit
from stream.storage.batches import Store
from stream.storage.database import reading
from stream.storage.sessions import MOST_OF_A_USER
from stream.storage.settings import DatabaseSettings
from tests.desk_parts import desk_over, new_store, serving

HTML = {"Accept": "text/html"}
PASSWORD = "correct horse battery"
NAMES = {"rea": "reader", "desi": "desk", "ada": "admin"}
# A hash says how it was made: these are quick ones.
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
LINES = "".join(f"{name}:{role}:{QUICK.hash(PASSWORD)}\n" for name, role in NAMES.items())
# Every kind of path that the web application has.
CLOSED = (
    "/", "/topics/Macro", "/entities", "/entities/XNAS%3AAAPL", "/stories/1", "/texts/abc", "/incidents", "/incidents/abc",
    "/rules", "/rules/abc", "/watchlists", "/health", "/alerts", "/alerts/abc", "/runbooks", "/api/openapi.json",
    "/api", "/api/v1/incidents", "/api/v1/entities", "/api/v1/stories", "/api/v1/documents", "/api/v1/stream",
    "/static/abc/desk.js", "/static/abc/vendor/htmx-2.0.11.min.js", "/static/desk.css", "/static/abc/x/desk.css",
    "/nothing", "/login/x", "/healthz/x", "//alerts", "/healthz/../alerts", "/%2e%2e/alerts", "/login/../alerts",
    "/LOGIN", "/Healthz", "/logout",
)  # fmt: skip


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Served:
    """A monitor's pages over HTTP."""

    url: str
    store: Store
    clock: Clock
    passwords: Path

    def browser(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=HTML | headers, timeout=30)

    @contextmanager
    def logged_in(self, name: str) -> Iterator[httpx.Client]:
        """A browser in which this user has logged in."""
        with self.browser() as browser:
            assert log_in(browser, name).status_code == 303
            yield browser

    def sessions(self) -> int:
        with reading(self.store.engine) as connection:
            return len(connection.execute(select(schema.sessions)).all())


def csrf_of(page: httpx.Response) -> str:
    field = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert field is not None, page.text
    return field[1]


def log_in(browser: httpx.Client, name: str, password: str = PASSWORD, next_: str = "/") -> httpx.Response:
    form = {"csrf": csrf_of(browser.get("/login")), "name": name, "password": password, "next": next_}
    return browser.post("/login", data=form)


def probes(desk: Desk) -> list[HTTPRouteHandler]:
    """The desk's own handlers, and three that show what the door does."""

    @get("/probe/who", sync_to_thread=False)
    def who(request: AnyRequest) -> Response[str]:
        return Response(f"{request.user.name} {request.user.role.label}", media_type="text/plain")

    @post("/probe/change", sync_to_thread=False)
    def change() -> Response[str]:
        return Response("changed", status_code=200, media_type="text/plain")

    @post("/probe/desk", guards=[requires(Role.DESK)], sync_to_thread=False)
    def for_desk() -> Response[str]:
        return Response("worked", status_code=200, media_type="text/plain")

    return [*desk_routes(desk), who, change, for_desk]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database without rows, which each test copies."""
    folder = tmp_path_factory.mktemp("empty")
    new_store(folder).engine.dispose()
    return folder / "desk.db"


@pytest.fixture
def serve(tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Served]]:
    monkeypatch.setattr("tests.desk_parts.desk_routes", probes)
    passwords = tmp_path / "passwords"
    passwords.write_text(LINES)
    shutil.copy(empty, tmp_path / "desk.db")
    url = f"sqlite:///{tmp_path / 'desk.db'}"
    store = Store(database.connect(DatabaseSettings.model_validate({"url": url})), 60)
    clock = Clock()
    with ExitStack() as stack:

        def make(login: dict[str, Any] | None = None, **http: Any) -> Served:
            if login is None:
                login = {"method": "password", "passwords": str(passwords), "metrics_token": "of-prometheus"}
            settings = Settings.model_validate({"http": {"login": login, "request_seconds": 120} | http})
            url = stack.enter_context(serving(desk_over(store, clock, settings=settings)))
            return Served(url.replace("0.0.0.0", "127.0.0.1"), store, clock, passwords)

        yield make


# ---- Unknown visitors ----


def test_an_unknown_visitor_gets_the_login_and_the_probes_and_nothing_else(
    serve: Callable[..., Served],
) -> None:
    with serve().browser() as browser:
        for path in ("/healthz", "/readyz", "/login", "/static/abc/desk.css"):
            assert browser.get(path).status_code == 200, path
        assert browser.get("/metrics").status_code == 401
        for path in CLOSED:
            for accept in ("text/html", "*/*", "text/event-stream"):
                answer = browser.get(path, headers={"Accept": accept})
                assert answer.status_code in (303, 401), (path, answer.status_code)
                assert answer.json()["error"].startswith("log in first"), path


def test_every_handler_of_the_application_is_closed_to_an_unknown_visitor(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve()
    desk = desk_over(served.store, served.clock)
    with served.browser() as browser:
        asked = 0
        for handler in desk_routes(desk):
            for path in handler.paths:
                if path.startswith("/login"):
                    continue
                for method in handler.http_methods & {"GET", "POST"}:
                    answer = browser.request(method, re.sub(r"\{[^}]*\}", "1", path))
                    assert answer.status_code in (303, 401), (method, path)
                    asked += 1
    assert asked > 10


def test_the_login_page_needs_no_script_and_loads_only_its_style_sheet(serve: Callable[..., Served]) -> None:
    with serve().browser() as browser:
        page = browser.get("/login?next=/incidents")
        assert "<script" not in page.text and " style=" not in page.text and "<style" not in page.text
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert [browser.get(link).status_code for link in links if not link.startswith("data:")] == [200]
        policy = page.headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        )


def test_a_visitor_comes_to_the_page_that_they_wanted_after_the_login(serve: Callable[..., Served]) -> None:
    with serve().browser() as browser:
        sent = browser.get("/incidents?topic=Macro&x=%2F")
        assert sent.status_code == 303
        login = browser.get(sent.headers["location"])
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', login.text))
        assert form["next"] == "/incidents?topic=Macro&amp;x=%2F"
        answer = browser.post(
            "/login",
            data={
                "csrf": form["csrf"],
                "name": "rea",
                "password": PASSWORD,
                "next": "/incidents?topic=Macro",
            },
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/incidents?topic=Macro")


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "/\nx"],
)
def test_the_login_leads_to_no_other_site(serve: Callable[..., Served], target: str) -> None:
    with serve().browser() as browser:
        assert log_in(browser, "rea", next_=target).headers["location"] == "/"
        assert browser.get("/login", params={"next": target}).headers["location"] == "/"


def test_while_the_monitor_starts_nobody_is_let_in(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text(LINES)
    login = {"method": "password", "passwords": str(tmp_path / "passwords")}
    endpoint = Endpoint(HttpSettings.model_validate({"port": 0, "login": login}), CollectorRegistry(), list)
    try:
        for path in ("/", "/login", "/runbooks", "/api/openapi.json"):
            assert httpx.get(endpoint.url + path).status_code == 503
        assert httpx.get(f"{endpoint.url}/healthz").status_code == 200
    finally:
        endpoint.close()


# ---- No login ----


def test_on_loopback_everybody_may_do_everything_without_a_login(serve: Callable[..., Served]) -> None:
    with serve({}).browser() as browser:
        assert browser.get("/probe/who").text == "local admin"
        assert browser.get("/incidents").status_code == 200
        assert "Log out" not in browser.get("/incidents").text


def test_without_a_login_other_addresses_get_only_the_probes_and_a_line_says_how_to_set_one(
    serve: Callable[..., Served], caplog: pytest.LogCaptureFixture
) -> None:
    served = serve({}, host="0.0.0.0")
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 1 and "\n" not in lines[0]
    for part in ("http.host is 0.0.0.0", "http.login.method", "monitor access password", "openid", "proxy"):
        assert part in lines[0]
    with served.browser() as browser:
        for path in ("/metrics", "/healthz", "/readyz"):
            assert browser.get(path).status_code == 200
        for path in (*CLOSED, "/login", "/static/abc/desk.css", "/probe/who"):
            answer = browser.get(path)
            assert answer.status_code == 403 and "no login is set" in answer.json()["error"], path
        assert browser.post("/probe/change").status_code == 403


def test_a_login_in_the_clear_is_warned_of(
    serve: Callable[..., Served], caplog: pytest.LogCaptureFixture
) -> None:
    serve(host="0.0.0.0")
    serve(host="0.0.0.0", public_url="https://desk.example.com")
    serve()
    assert [record.getMessage() for record in caplog.records if "plain HTTP" in record.getMessage()] == [
        caplog.records[0].getMessage()
    ]


# ---- Passwords and sessions ----


@pytest.mark.parametrize(("name", "role"), NAMES.items())
def test_the_password_file_says_who_somebody_is_and_what_they_may_do(
    serve: Callable[..., Served], name: str, role: str
) -> None:
    with serve().logged_in(name) as browser:
        assert browser.get("/probe/who").text == f"{name} {role}"
        csrf = csrf_of(browser.get("/incidents"))
        answer = browser.post("/probe/desk", headers={"X-CSRF-Token": csrf})
        assert answer.status_code == (403 if role == "reader" else 200)
        assert f"{name}, {role}" in browser.get("/incidents").text


@pytest.mark.parametrize(
    ("name", "password"),
    [("rea", "wrong"), ("nobody", PASSWORD), ("", ""), ("rea", ""), ("REA", PASSWORD), ("rea\x00", PASSWORD),
     ("<script>alert(1)</script>", PASSWORD), ("rea", PASSWORD + " "), ("rea", "x" * 100_000)],
)  # fmt: skip
def test_a_wrong_name_or_password_lets_nobody_in_and_both_read_the_same(
    serve: Callable[..., Served], name: str, password: str
) -> None:
    served = serve()
    with served.browser() as browser:
        answer = log_in(browser, name, password)
        assert answer.status_code == 403 and "This name and password do not belong together" in answer.text
        assert "<script" not in answer.text
        assert browser.get("/").status_code == 303
    assert [entry.action for entry in read_audit(served.store.engine, 5)] == ["login refused"]


def test_guessing_is_slowed_down(serve: Callable[..., Served]) -> None:
    with serve().browser() as browser:
        csrf = csrf_of(browser.get("/login"))
        form = {"csrf": csrf, "name": "rea", "password": "wrong"}
        answers = [browser.post("/login", data=form).status_code for _ in range(12)]
        assert answers[:10] == [403] * 10 and answers[-1] == 429
        assert log_in(browser, "rea").status_code == 429, "the right password has to wait too"
        assert log_in(browser, "desi").status_code == 303, "others have not"


def test_the_database_has_only_a_hash_of_the_token(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.logged_in("rea") as browser:
        token = browser.cookies["monitor_session"]
    with reading(served.store.engine) as connection:
        (row,) = connection.execute(select(schema.sessions)).all()
    assert token not in str(row) and len(row.token_hash) == 64
    with served.browser(Cookie=f"monitor_session={row.token_hash}") as thief:
        assert thief.get("/").status_code == 303


def test_the_cookie_is_for_no_script_and_no_form_of_another_site(serve: Callable[..., Served]) -> None:
    with serve().browser() as browser:
        cookie = log_in(browser, "rea").headers["set-cookie"]
        assert (
            "HttpOnly" in cookie
            and "SameSite=Lax" in cookie
            and "Path=/;" in cookie
            and "Secure" not in cookie
        )
    served = serve(public_url="https://desk.example.com")
    with served.browser(Host="desk.example.com") as browser:
        cookie = browser.get("/login").headers["set-cookie"]
        assert cookie.startswith("__Host-monitor_session=") and "; Secure" in cookie
    with serve(public_url="https://desk.example.com/mood").browser(Host="desk.example.com") as browser:
        assert "Path=/mood;" in browser.get("/mood/login").headers["set-cookie"]
        assert browser.get("/mood/incidents").headers["location"] == "/mood/login?next=/incidents"


def test_the_login_gives_a_new_token_so_that_nobody_can_have_chosen_it(serve: Callable[..., Served]) -> None:
    with serve().browser() as browser:
        browser.get("/login")
        before = browser.cookies["monitor_session"]
        assert log_in(browser, "rea").status_code == 303
        assert browser.cookies["monitor_session"] != before
        with httpx.Client(base_url=str(browser.base_url), headers=HTML) as other:
            assert other.get("/", headers={"Cookie": f"monitor_session={before}"}).status_code == 303


def test_a_session_ends_when_nothing_is_done_with_it(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.logged_in("rea") as browser:
        for _ in range(3):
            served.clock.now += timedelta(hours=7)
            assert browser.get("/incidents").status_code == 200
        served.clock.now += timedelta(hours=8, minutes=1)
        assert browser.get("/incidents").status_code == 303


def test_a_page_that_is_only_open_does_not_keep_the_session(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.logged_in("rea") as browser:
        for _ in range(4):
            served.clock.now += timedelta(hours=1)
            assert browser.get("/probe/who", headers={"Sec-Fetch-Mode": "cors"}).status_code == 200
        served.clock.now += timedelta(hours=4, minutes=1)
        assert browser.get("/probe/who", headers={"Sec-Fetch-Mode": "cors"}).status_code == 303


def test_a_session_ends_after_a_day_whatever_is_done_with_it(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.logged_in("rea") as browser:
        for _ in range(8):
            assert browser.get("/incidents").status_code == 200
            served.clock.now += timedelta(hours=3, minutes=1)
        assert browser.get("/incidents").status_code == 303


def test_after_the_logout_the_token_is_worth_nothing(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.logged_in("rea") as browser, served.browser() as thief:
        stolen = {"Cookie": f"monitor_session={browser.cookies['monitor_session']}"}
        assert thief.get("/", headers=stolen).status_code == 200
        csrf = csrf_of(browser.get("/incidents"))
        assert browser.post("/logout", data={"csrf": csrf}).headers["location"] == "/login"
        assert thief.get("/", headers=stolen).status_code == 303
        assert browser.get("/").status_code == 303
    assert served.sessions() == 0


def test_a_changed_password_a_changed_role_and_a_removed_user_count_at_once(
    serve: Callable[..., Served],
) -> None:
    served = serve()
    with served.logged_in("rea") as rea, served.logged_in("desi") as desi, served.logged_in("ada") as ada:
        lines = served.passwords.read_text().replace("rea:reader:", "rea:admin:").splitlines()
        served.passwords.write_text(f"{lines[0]}\ndesi:desk:{QUICK.hash(PASSWORD)}\n")
        assert rea.get("/probe/who").text == "rea admin"
        assert desi.get("/probe/who").status_code == 303
        assert ada.get("/probe/who").status_code == 303


def test_a_password_file_that_breaks_keeps_what_it_said(
    serve: Callable[..., Served], caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()
    with served.logged_in("rea") as browser:
        served.passwords.write_text("rea:reader\n")
        assert browser.get("/probe/who").text == "rea reader"
        assert "line 1: no hash of Argon2id" in caplog.text


def test_a_user_has_a_limited_number_of_sessions(serve: Callable[..., Served]) -> None:
    served = serve()
    logins = desk_over(served.store, served.clock).logins
    user = parse_passwords(LINES)["rea"].user
    for _ in range(MOST_OF_A_USER + 5):
        served.clock.now += timedelta(seconds=1)
        logins.begin(user, "127.0.0.1")
    assert served.sessions() == MOST_OF_A_USER


def test_a_stream_ends_with_its_session(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "RECHECK_SECONDS", 0)
    served = serve()
    with served.logged_in("rea") as browser:
        ended, began = threading.Event(), threading.Event()

        def listen() -> None:
            with browser.stream("GET", "/api/v1/stream") as answer:
                for _ in answer.iter_raw():
                    began.set()
            ended.set()

        threading.Thread(target=listen, daemon=True).start()
        assert began.wait(20)
        served.clock.now += timedelta(days=2)
        assert ended.wait(30)


def test_while_the_database_is_away_nobody_is_let_in_and_the_probes_answer(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve()
    with served.logged_in("rea") as browser:
        served.store.engine.dispose()
        (tmp_path / "desk.db").rename(tmp_path / "away.db")
        (tmp_path / "desk.db").mkdir()
        answer = browser.get("/incidents")
        assert answer.status_code == 503 and answer.headers["retry-after"]
        assert browser.get("/healthz").status_code == 200


# ---- Forms ----


def test_a_post_of_a_browser_needs_the_token_of_its_own_forms(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.logged_in("desi") as browser, served.logged_in("ada") as other:
        csrf, foreign = csrf_of(browser.get("/incidents")), csrf_of(other.get("/incidents"))
        assert browser.post("/probe/change", headers={"X-CSRF-Token": csrf}).text == "changed"
        assert browser.post("/probe/change", data={"csrf": csrf}).text == "changed"
        for wrong in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": csrf[:-1]}, {"CSRF": csrf}):
            answer = browser.post("/probe/change", data=wrong)
            assert answer.status_code == 403 and "reload the page" in answer.text, wrong
        assert browser.post("/probe/change", headers={"X-CSRF-Token": foreign}).status_code == 403
        assert browser.post("/probe/change", json={"csrf": csrf}).status_code == 403
        assert browser.post("/logout").status_code == 403
        assert browser.get("/incidents").status_code == 200, "still logged in"


def test_without_a_login_too_no_other_site_can_make_the_browser_change_something(
    serve: Callable[..., Served],
) -> None:
    served = serve({})
    with served.browser() as browser:
        csrf = csrf_of_meta(browser.get("/incidents"))
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                        {"Referer": "https://evil.example/x"}, {"Sec-Fetch-Site": "same-origin"}):  # fmt: skip
            assert browser.post("/probe/change", headers=headers).status_code == 403, headers
        right = {"X-CSRF-Token": csrf}
        assert browser.post("/probe/change", headers=right | {"Origin": served.url}).text == "changed"
        assert (
            browser.post("/probe/change", headers=right | {"Origin": "https://evil.example"}).status_code
            == 403
        )
        assert (
            browser.post("/probe/change", headers=right | {"Sec-Fetch-Site": "same-site"}).status_code == 403
        )
    assert httpx.post(f"{served.url}/probe/change").text == "changed", "a script is no browser"


def csrf_of_meta(page: httpx.Response) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def test_a_script_without_a_session_changes_nothing_where_a_login_is_set(
    serve: Callable[..., Served],
) -> None:
    served = serve()
    assert httpx.post(f"{served.url}/probe/change").status_code == 401
    assert httpx.post(f"{served.url}/login", data={"name": "rea", "password": PASSWORD}).status_code == 303


def test_a_flood_of_changes_is_slowed_down_and_reading_goes_on(serve: Callable[..., Served]) -> None:
    served = serve({})
    with httpx.Client(base_url=served.url) as script:
        statuses = [script.post("/probe/change").status_code for _ in range(door.BURST + 20)]
        assert set(statuses[: door.BURST]) == {200} and statuses[-1] == 429
        refused = script.post("/probe/change")
        assert int(refused.headers["retry-after"]) >= 1
        assert script.get("/probe/who").status_code == 200


def test_what_is_refused_at_the_door_is_counted(serve: Callable[..., Served]) -> None:
    served = serve()
    with served.browser(Accept="*/*") as browser:
        browser.get("/api/v1/incidents")
        browser.post("/login", data={"name": "rea"}, headers={"Origin": served.url})
        metrics = browser.get("/metrics", headers={"Authorization": "Bearer of-prometheus"}).text
        assert 'sentiment_http_refused_total{reason="login"} 1.0' in metrics
        assert 'sentiment_http_refused_total{reason="csrf"} 1.0' in metrics


# ---- The proxy's header ----


PROXY = {"method": "proxy", "proxy": {"addresses": ["127.0.0.0/8"]}, "readers": ["*"], "admins": ["ops"]}


def test_the_proxy_says_who_somebody_is(serve: Callable[..., Served]) -> None:
    with serve(PROXY).browser() as browser:
        headers = {"X-Forwarded-User": "mia", "X-Forwarded-Groups": "desk, ops"}
        assert browser.get("/probe/who", headers=headers).text == "mia admin"
        assert browser.get("/probe/who", headers={"X-Forwarded-User": "bo"}).text == "bo reader"
        assert "Log out" not in browser.get("/incidents", headers=headers).text


def test_nobody_but_the_proxy_is_believed_or_answered(serve: Callable[..., Served]) -> None:
    login = PROXY | {"proxy": {"addresses": ["10.1.2.3"]}}
    with serve(login).browser() as browser:
        for headers in (
            {},
            {"X-Forwarded-User": "mia"},
            {"X-Forwarded-User": "mia", "X-Forwarded-For": "10.1.2.3"},
        ):
            answer = browser.get("/probe/who", headers=headers)
            assert answer.status_code == 403 and "not one of http.login.proxy.addresses" in answer.text
        assert browser.get("/healthz").status_code == 200


def test_a_proxy_that_lets_the_visitors_own_header_through_is_not_believed(
    serve: Callable[..., Served],
) -> None:
    with serve(PROXY).browser() as browser:
        twice = [("X-Forwarded-User", "ada"), ("x-forwarded-user", "mia")]
        answer = browser.get("/probe/who", headers=twice)
        assert answer.status_code == 403 and "more than once" in answer.text
        assert browser.get("/probe/who").status_code == 403, "it must name somebody"


# ---- Metrics ----


@pytest.mark.parametrize("login", [{}, {"metrics_token": "of-prometheus"}], ids=["no token", "a token"])
def test_where_a_login_is_set_metrics_want_it_or_a_token(
    serve: Callable[..., Served], login: dict[str, str]
) -> None:
    right = {"Authorization": "Bearer of-prometheus"}
    with serve(PROXY | login).browser() as browser:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic of-prometheus"}):
            answer = browser.get("/metrics", headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert "http.login.metrics_token" in answer.text
        assert browser.get("/metrics", headers=right).status_code == (200 if login else 401)
        assert browser.get("/metrics", headers={"X-Forwarded-User": "bo"}).status_code == 200
        assert browser.get("/healthz").status_code == 200

"""Login at a real OpenID provider: authorization code with PKCE."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from monitor.runtime.settings import Settings
from stream.storage.audit import read_audit
from stream.storage.batches import Store
from tests.conftest import need
from tests.desk_parts import desk_over, new_store, serving
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from tests.parts import free_port

HTML = {"Accept": "text/html"}


@dataclass
class Desk:
    """A monitor whose people log in at a provider."""

    url: str
    provider: OpenIdProvider
    store: Store

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=HTML, timeout=30)

    def log_in(self, browser: httpx.Client, name: str, page: str = "/") -> httpx.Response:
        """Ask for a page, log in at the provider, and come back."""
        asked = browser.get(page)
        login = browser.get(asked.headers["location"])
        assert 'href="/login/openid?next=' in login.text
        there = browser.get(f"/login/openid?{urlsplit(asked.headers['location']).query}")
        return browser.get(self.provider.log_in(there.headers["location"], name))


def settings_for(issuer: str, port: int, **more: Any) -> Settings:
    openid = {"issuer": issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET} | more
    login = {"method": "openid", "openid": openid, "readers": ["everyone", "user:kim"], "desk": ["trading"],
             "admins": ["operators"]}  # fmt: skip
    return Settings.model_validate(
        {
            "http": {
                "port": port,
                "public_url": f"http://127.0.0.1:{port}",
                "login": login,
                "request_seconds": 120,  # a busy machine is slow
            }
        }
    )


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    port = free_port()
    redirect_uri = f"http://127.0.0.1:{port}/login/callback"
    folder = tmp_path_factory.mktemp("openid")
    with need(lambda: OpenIdProvider(folder, redirect_uri)) as running:
        yield running


@pytest.fixture
def desk(provider: OpenIdProvider, tmp_path: Path) -> Iterator[Desk]:
    store = new_store(tmp_path)
    settings = settings_for(provider.issuer, provider.monitor_port)
    with serving(
        desk_over(store, lambda: datetime.now(UTC), settings=settings), provider.monitor_port
    ) as url:
        yield Desk(url, provider, store)


def test_the_provider_says_who_somebody_is_and_their_groups_what_they_may_do(desk: Desk) -> None:
    for name, role in (("mia", "desk"), ("olga", "admin"), ("kim", "reader")):
        with desk.browser() as browser:
            arrived = desk.log_in(browser, name, "/incidents?topic=Macro")
            assert (arrived.status_code, arrived.headers["location"]) == (303, "/incidents?topic=Macro")
            assert f"{name}, {role}" in browser.get("/incidents").text
    entries = list(read_audit(desk.store.engine, 10))
    assert [(entry.user, entry.action, entry.detail) for entry in reversed(entries)] == [
        ("mia", "login", "as desk by openid"), ("olga", "login", "as admin by openid"),
        ("kim", "login", "as reader by openid"),
    ]  # fmt: skip


def test_somebody_in_none_of_the_groups_stays_outside(desk: Desk) -> None:
    with desk.browser() as browser:
        refused = desk.log_in(browser, "bo")
        assert refused.status_code == 403 and "user bo is in none of the groups" in refused.text
        assert browser.get("/incidents").status_code == 303


def test_the_way_to_the_provider_has_state_nonce_and_a_code_challenge(desk: Desk) -> None:
    with desk.browser() as browser:
        query = parse_qs(urlsplit(browser.get("/login/openid").headers["location"]).query)
    assert query["response_type"] == ["code"] and query["code_challenge_method"] == ["S256"]
    assert all(len(query[name][0]) >= 43 for name in ("code_challenge", "nonce", "state"))
    assert query["redirect_uri"] == [f"{desk.url}/login/callback"]


def test_an_answer_that_another_browser_asked_for_lets_nobody_in(desk: Desk) -> None:
    """Otherwise an attacker could log a visitor in as somebody else."""
    with desk.browser() as attacker, desk.browser() as victim:
        there = attacker.get("/login/openid").headers["location"]
        back = desk.provider.log_in(there, "mia")
        victim.get("/login/openid")
        assert victim.get(back).status_code == 403
        assert victim.get("/incidents").status_code == 303


def test_an_answer_counts_once(desk: Desk) -> None:
    with desk.browser() as browser:
        there = browser.get("/login/openid").headers["location"]
        cookies = dict(browser.cookies)
        back = desk.provider.log_in(there, "mia")
        assert browser.get(back).headers["location"] == "/"
        again = httpx.get(back, cookies=cookies, headers=HTML)
        assert again.status_code == 502 and "invalid_grant" in again.text


@pytest.mark.parametrize("changed", ["state", "code"])
def test_a_changed_answer_lets_nobody_in(desk: Desk, changed: str) -> None:
    with desk.browser() as browser:
        back = desk.provider.log_in(browser.get("/login/openid").headers["location"], "mia")
        answer = browser.get(back.replace(f"{changed}=", f"{changed}=x"))
        assert answer.status_code in (403, 502)
        assert browser.get("/incidents").status_code == 303


def test_the_page_after_the_login_is_one_of_ours(desk: Desk) -> None:
    with desk.browser() as browser:
        for target in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
            there = browser.get("/login/openid", params={"next": target}).headers["location"]
            assert "evil" not in there


def test_the_token_changes_with_the_login_and_is_worth_nothing_after_the_logout(desk: Desk) -> None:
    with desk.browser() as browser:
        browser.get("/login/openid")
        before = browser.cookies["monitor_session"]
        desk.log_in(browser, "mia")
        token = browser.cookies["monitor_session"]
        assert token != before
        csrf = browser.get("/incidents").text.split('name="csrf" value="')[1].split('"')[0]
        assert browser.post("/logout", data={"csrf": csrf}).headers["location"] == "/login"
    kept = httpx.get(f"{desk.url}/incidents", cookies={"monitor_session": token}, headers=HTML)
    assert kept.status_code == 303


@pytest.mark.parametrize(
    ("more", "words"),
    [({"client_secret": "wrong"}, "invalid_client"), ({"name_claim": "nickname"}, "gives no nickname")],
)
def test_a_wrong_setting_is_told_in_the_page(
    provider: OpenIdProvider, tmp_path: Path, more: dict[str, str], words: str
) -> None:
    settings = settings_for(provider.issuer, provider.monitor_port, **more)
    store = new_store(tmp_path)
    with serving(
        desk_over(store, lambda: datetime.now(UTC), settings=settings), provider.monitor_port
    ) as url:
        desk = Desk(url, provider, store)
        with desk.browser() as browser:
            assert words in desk.log_in(browser, "mia").text


def test_a_provider_that_is_away_or_calls_itself_otherwise_is_told_in_the_page(
    provider: OpenIdProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    away = f"http://127.0.0.1:{free_port()}"
    for number, (issuer, words) in enumerate(
        ((away, "does not answer"), (f"{provider.issuer}/", "calls itself"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings = settings_for(issuer, provider.monitor_port)
        with serving(
            desk_over(new_store(folder), lambda: datetime.now(UTC), settings=settings), provider.monitor_port
        ) as url:
            answer = httpx.get(f"{url}/login/openid", headers=HTML)
            assert answer.status_code == 502 and words in answer.text
    assert not caplog.records, "it is nothing that the monitor failed at"

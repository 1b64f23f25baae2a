"""The pages behind a login: who comes in, by keyboard too, and what they see."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from monitor.web.access.passwords import password_line
from tests.browser.addresses import addresses
from tests.browser.axe import violations
from tests.browser.chromium import DESKTOP, PHONE, Scheme, Visitor
from tests.browser.conftest import Filled, Open
from tests.browser.predictions import InventedLabels
from tests.browser.site import Site, serve

PASSWORD = "correct horse battery"
ROLES = {"rea": "reader", "mia": "desk"}


@pytest.fixture
def guarded(filled: Filled, labels: InventedLabels, tmp_path: Path) -> Iterator[Site]:
    """The pages of a day, for a reader and somebody of the desk."""
    file = tmp_path / "passwords"
    file.write_text("".join(f"{password_line(name, role, PASSWORD)}\n" for name, role in ROLES.items()))
    login = {"method": "password", "passwords": str(file)}
    with serve(filled.file, filled.at, labels, tmp_path, login) as site:
        yield site


def log_in(visitor: Visitor, name: str, password: str = PASSWORD) -> None:
    """Fill in the form of the login page, by keyboard."""
    page = visitor.page
    page.get_by_label("Name").focus()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    visitor.settle()


def test_a_link_leads_through_the_login_to_its_page_and_back_out(guarded: Site, open_window: Open) -> None:
    visitor = open_window(guarded.url)
    incident = f"/incidents/{guarded.newsroom.open_incident()}"
    visitor.visit(incident)
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Log in")
    log_in(visitor, "mia", "wrong horse battery")
    visitor.expect_refusals()
    expect(visitor.page.get_by_role("alert")).to_be_visible()
    log_in(visitor, "mia")
    expect(visitor.page).to_have_url(guarded.url + incident)
    visitor.page.get_by_role("button", name="Acknowledge").click()
    expect(visitor.page.locator("main")).to_contain_text("mia acknowledged")
    with visitor.page.expect_navigation():
        visitor.page.get_by_role("button", name="Log out").click()
    visitor.visit(incident)
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_a_reader_sees_an_incident_and_no_form(guarded: Site, open_window: Open) -> None:
    visitor = open_window(guarded.url)
    visitor.visit(f"/incidents/{guarded.newsroom.open_incident()}")
    log_in(visitor, "rea")
    expect(visitor.page.locator("main")).to_contain_text("You may read this")
    expect(visitor.page.locator("main form")).to_have_count(0)


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_login_and_the_pages_behind_it(
    guarded: Site, open_window: Open, scheme: Scheme, width: int
) -> None:
    visitor = open_window(guarded.url, scheme=scheme, width=width)
    visitor.visit("/")
    found = {"login": violations(visitor)}
    log_in(visitor, "nobody")
    visitor.expect_refusals()
    found["refused"] = violations(visitor)
    log_in(visitor, "mia")
    pages = addresses(guarded.newsroom)
    for name in ("overview", "incident", "rule"):
        visitor.visit(pages[name])
        found[name] = [*violations(visitor), *(["wider than the window"] if visitor.overflow() else [])]
    assert {name: against for name, against in found.items() if against} == {}

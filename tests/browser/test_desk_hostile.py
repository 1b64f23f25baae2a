"""Texts, names, sources and addresses of the world are data: a reader's browser runs none of it."""

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.browser.addresses import addresses
from tests.browser.chromium import PHONE
from tests.browser.conftest import Open
from tests.browser.hostile import ENTITY_NAME, SCRIPTS, attack, hostile_document
from tests.browser.site import Site

# What no page has in its content, and no attribute that runs something.
FOREIGN = (
    "main :is(script, img, iframe, style, base, animate), :is([onerror], [onload], [onclick], [onfocus])"
)
ADDRESSES = "Array.from(document.links, link => link.getAttribute('href'))"


def test_nothing_that_is_sent_runs_on_any_page(site: Site, open_window: Open) -> None:
    incident = attack(site.newsroom)
    visitor = open_window(site.url, width=PHONE)
    for name, path in addresses(site.newsroom, incident).items():
        assert visitor.visit(path) == 200, name
        assert visitor.page.locator(FOREIGN).count() == 0, name
        links = visitor.page.evaluate(ADDRESSES)
        assert [
            link for link in links if ":" in link and not link.startswith(("http://", "https://"))
        ] == [], name
        assert visitor.overflow() == 0, f"{name} is wider than the window"


def test_what_is_sent_is_shown_as_it_was_written(site: Site, open_window: Open) -> None:
    incident = attack(site.newsroom)
    visitor = open_window(site.url)
    key = hostile_document(0, site.newsroom.now).key
    visitor.visit(f"/texts/{quote(key, safe='')}")
    assert SCRIPTS[0] in visitor.page.locator("main").inner_text()
    paths = addresses(site.newsroom, incident)
    visitor.visit(paths["entity"])
    assert ENTITY_NAME in visitor.page.locator("main").inner_text()


@pytest.mark.parametrize(
    "page",
    ["<script>alert(1)</script>", "<img src='https://elsewhere.example/'>", "<script>undefined.x</script>"],
)
def test_a_window_notes_what_an_unprotected_page_runs(
    empty_site: Site, open_window: Open, tmp_path: Path, page: str
) -> None:
    visitor = open_window(empty_site.url)
    visitor.page.set_content(page)
    visitor.settle()
    assert visitor.faults
    visitor.faults.clear()


def test_the_browser_refuses_code_that_would_slip_into_a_page(empty_site: Site, open_window: Open) -> None:
    visitor = open_window(empty_site.url)
    visitor.visit("/")
    visitor.page.evaluate("document.querySelector('main').innerHTML = '<img src=x onerror=\"alert(1)\">'")
    visitor.settle()
    assert any("Content Security Policy" in fault for fault in visitor.faults)
    assert not any(fault.startswith("dialog") for fault in visitor.faults)
    visitor.faults.clear()

"""Every page in a real browser: with data, without any, and with the database away."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.addresses import EMPTY, addresses
from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.conftest import Open
from tests.browser.site import Site

# The most bytes of a first visit.
HEAVIEST = 150_000
# What pages say with the database away: that of runbooks needs none, that of health goes on with the rest.
AWAY = {"runbooks": "", "health": "unknown"}
# Values that a program forgot to put into words.
NO_TEXT = re.compile(r"\bNaN\b|\bInfinity\b|\bundefined\b|^None$", re.MULTILINE)


def test_every_page_has_what_it_is_about(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url)
    for name, path in addresses(site.newsroom).items():
        assert visitor.visit(path) == 200, name
        assert visitor.page.locator("main h1").count() == 1, f"{name} has one heading"
        assert visitor.page.locator("main").inner_text().strip(), name
        assert visitor.page.title().strip(" ·"), name


def test_every_page_says_so_where_there_is_no_data_yet(empty_site: Site, open_window: Open) -> None:
    visitor = open_window(empty_site.url)
    for name, path in EMPTY.items():
        assert visitor.visit(path) == 200, name
        text = visitor.page.locator("main").inner_text()
        assert not NO_TEXT.search(text), name
    visitor.visit("/")
    assert "no " in visitor.page.locator("main").inner_text().casefold(), "missing data is said to be missing"


@pytest.mark.parametrize(
    "path", ["/nothing", "/topics/Nothing", "/incidents/nothing", "/entities/X:Y", "/stories/9", "/texts/a"]
)
def test_an_address_of_nothing_is_a_page_that_says_so(empty_site: Site, open_window: Open, path: str) -> None:
    visitor = open_window(empty_site.url)
    assert visitor.visit(path) == 404
    assert visitor.page.locator("nav a").count() > 3
    visitor.expect_refusals()


def test_every_page_says_that_the_database_is_away_and_comes_back(site: Site, open_window: Open) -> None:
    pages = addresses(site.newsroom)
    visitor = open_window(site.url)
    site.take_database_away()
    for name, path in pages.items():
        status = visitor.visit(path)
        assert status == (200 if name in AWAY else 503), name
        text = visitor.page.locator("main").inner_text()
        assert AWAY.get(name, "database is unavailable") in text, name
        assert visitor.page.locator("nav a").count() > 3, name
    visitor.expect_refusals()
    site.bring_database_back()
    assert visitor.visit("/") == 200


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_page_is_wider_than_the_window(site: Site, open_window: Open, width: int) -> None:
    visitor = open_window(site.url, width=width)
    for name, path in addresses(site.newsroom).items():
        visitor.visit(path)
        assert visitor.overflow() == 0, f"{name} at {width} pixels"


def test_no_page_weighs_more_than_150_kilobytes(site: Site, open_window: Open) -> None:
    for name, path in addresses(site.newsroom).items():
        weight = open_window(site.url).weigh(path)
        assert 0 < weight <= HEAVIEST, f"{name}: {weight} bytes"


def test_without_javascript_every_page_shows_its_times_in_utc(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url, java_script_enabled=False)
    for name, path in addresses(site.newsroom).items():
        assert visitor.visit(path) == 200
        times = visitor.page.locator("main time").all_inner_texts()
        assert all(text.endswith("UTC") for text in times if text.strip()), name


def test_an_incident_says_who_told_it_first_and_when_that_came(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url)
    visitor.visit(addresses(site.newsroom)["incident"])
    first = visitor.page.locator(".facts li", has_text="told it first")
    told = first.inner_text()
    assert re.search(r"published \d\d:\d\d.*, received \d\d:\d\d", told), told
    first.get_by_role("link").click()
    expect(visitor.page.get_by_role("heading", name="Who said it first")).to_be_visible()


def test_times_are_in_the_readers_zone_with_utc_beside(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url)
    visitor.visit(addresses(site.newsroom)["incident"])
    time = visitor.page.locator("main time").first
    moment = time.get_attribute("datetime")
    assert moment is not None
    hours = int(moment.partition("T")[2][:2])
    assert f"{(hours + 8) % 24:02}:" in time.inner_text(), "in Shanghai, where the window is"
    beside = f"{time.get_attribute('title')} {time.locator('xpath=..').inner_text()}"
    assert f"{hours:02}:" in beside and "UTC" in beside


def test_every_link_within_the_application_leads_to_a_page(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url)
    seen: dict[str, str] = {}
    for name, path in addresses(site.newsroom).items():
        visitor.visit(path)
        for link in visitor.page.evaluate("Array.from(document.links, link => link.href)"):
            parts = urlsplit(link)
            if f"{parts.scheme}://{parts.netloc}" == site.url:
                seen.setdefault(link.partition("#")[0], name)
    for link, name in seen.items():
        answer = visitor.context.request.get(link)
        assert answer.status == 200, f"{link} on {name}: {answer.status}"

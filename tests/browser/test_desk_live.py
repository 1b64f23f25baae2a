"""Pages that follow what happens without being loaded again, and two people who work at once."""

import re

from playwright.sync_api import expect

from tests.browser.chromium import Visitor
from tests.browser.conftest import Open
from tests.browser.hostile import attack
from tests.browser.site import Site

ACKNOWLEDGE = re.compile("^acknowledge", re.IGNORECASE)
ACKNOWLEDGED = re.compile("local acknowledged")
# Events come every two seconds; a part that changes is fetched after that.
SOON = 60_000


def mark(visitor: Visitor) -> None:
    """Leave something in the page that a reload takes away."""
    visitor.page.evaluate("window.isTheSamePage = true")


def is_the_same_page(visitor: Visitor) -> bool:
    return bool(visitor.page.evaluate("window.isTheSamePage === true"))


def test_an_incident_that_begins_comes_to_the_open_overview_and_list(site: Site, open_window: Open) -> None:
    windows = [open_window(site.url) for _ in range(2)]
    for visitor, path in zip(windows, ("/", "/incidents"), strict=True):
        visitor.visit(path)
        mark(visitor)
        visitor.page.wait_for_timeout(3000)
    incident = attack(site.newsroom)
    for visitor in windows:
        link = visitor.page.locator(f'main a[href*="/incidents/{incident}"]').first
        expect(link).to_be_visible(timeout=SOON)
        assert is_the_same_page(visitor)


def test_an_acknowledgement_comes_to_the_open_page_of_somebody_else(site: Site, open_window: Open) -> None:
    path = f"/incidents/{site.newsroom.open_incident()}"
    one, other = open_window(site.url), open_window(site.url)
    for visitor in (one, other):
        visitor.visit(path)
        mark(visitor)
    other.page.wait_for_timeout(3000)
    one.page.get_by_role("button", name=ACKNOWLEDGE).first.click()
    for visitor in (one, other):
        expect(visitor.page.locator("main")).to_contain_text(ACKNOWLEDGED, timeout=SOON)
    assert is_the_same_page(other)


def test_two_people_who_acknowledge_at_once_do_it_once(site: Site, open_window: Open) -> None:
    incident = site.newsroom.open_incident()
    windows = [open_window(site.url) for _ in range(2)]
    for visitor in windows:
        visitor.visit(f"/incidents/{incident}")
    for visitor in windows:  # neither click waits for its answer
        button = visitor.page.get_by_role("button", name=ACKNOWLEDGE).first.element_handle()
        visitor.page.evaluate("button => setTimeout(() => { button.click(); button.click(); }, 50)", button)
    for visitor in windows:
        expect(visitor.page.locator("main")).to_contain_text(ACKNOWLEDGED, timeout=SOON)
        visitor.expect_refusals()
    assert acknowledgements(site, incident) == 1


def test_an_open_page_says_that_the_database_is_away_and_goes_on_when_it_is_back(
    site: Site, open_window: Open
) -> None:
    visitor = open_window(site.url)
    visitor.visit("/")
    mark(visitor)
    status = visitor.page.locator("#freshness")
    visitor.page.wait_for_timeout(3000)
    site.take_database_away()
    expect(status).to_contain_text("database", timeout=SOON)
    site.bring_database_back()
    expect(status).not_to_contain_text("database", timeout=SOON)
    assert is_the_same_page(visitor)
    visitor.expect_refusals()


def acknowledgements(site: Site, incident: str) -> int:
    """How often the incident was acknowledged."""
    from sqlalchemy import func, select

    from stream.storage import database, schema

    table = schema.incident_actions
    query = select(func.count()).where(table.c.incident == incident, table.c.kind == "acknowledge")
    with database.reading(site.newsroom.store.engine) as connection:
        return int(connection.execute(query).scalar_one())

"""axe finds nothing on any page: light and dark, on a phone and on a wide screen."""

import pytest

from tests.browser.addresses import EMPTY, addresses
from tests.browser.axe import violations
from tests.browser.chromium import DESKTOP, PHONE, Scheme
from tests.browser.conftest import Open
from tests.browser.site import Site


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(site: Site, open_window: Open, scheme: Scheme, width: int) -> None:
    visitor = open_window(site.url, scheme=scheme, width=width)
    found: dict[str, list[str]] = {}
    for name, path in addresses(site.newsroom).items():
        visitor.visit(path)
        if against := violations(visitor):
            found[name] = against
    assert found == {}


def test_axe_finds_nothing_on_pages_without_data_and_of_errors(empty_site: Site, open_window: Open) -> None:
    visitor = open_window(empty_site.url)
    found = {}
    for name, path in (EMPTY | {"nothing": "/nothing"}).items():
        visitor.visit(path)
        if against := violations(visitor):
            found[name] = against
    visitor.expect_refusals()
    assert found == {}


def test_axe_would_find_something(empty_site: Site, open_window: Open) -> None:
    visitor = open_window(empty_site.url)
    visitor.visit("/")
    visitor.page.evaluate("document.querySelector('main').innerHTML = '<img src=\"data:,\"><input>'")
    assert any(line.startswith("label:") for line in violations(visitor))

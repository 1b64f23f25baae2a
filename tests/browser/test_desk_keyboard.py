"""The pages without a mouse."""

from playwright.sync_api import expect

from tests.browser.addresses import addresses
from tests.browser.chromium import Visitor
from tests.browser.conftest import Open
from tests.browser.site import Site

# What the focused element looks like: what it says, whether one sees that it has the focus, and where it is.
FOCUSED = """() => {
  const element = document.activeElement, style = getComputedStyle(element), box = element.getBoundingClientRect();
  return {
    tag: element.tagName, text: (element.innerText || element.value || element.ariaLabel || "").trim(),
    seen: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none",
    inside: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
  };
}"""
# No page has more stops than this.
MOST_STOPS = 400


def focused(visitor: Visitor) -> dict[str, object]:
    return dict(visitor.page.evaluate(FOCUSED))


def test_the_first_stop_of_every_page_skips_to_its_content(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url)
    for name, path in addresses(site.newsroom).items():
        visitor.visit(path)
        visitor.page.keyboard.press("Tab")
        assert focused(visitor) == {
            "tag": "A",
            "text": "Skip to the content",
            "seen": True,
            "inside": True,
        }, name
        visitor.page.keyboard.press("Enter")
        assert visitor.page.evaluate("document.activeElement.id") == "main", name


def test_one_sees_where_the_focus_is_on_every_page(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url)
    for name, path in addresses(site.newsroom).items():
        visitor.visit(path)
        stops = 0
        while stops < 40:
            visitor.page.keyboard.press("Tab")
            stop = focused(visitor)
            if stop["tag"] == "BODY":
                break
            stops += 1
            assert stop["seen"] and stop["inside"], f"{name}: {stop}"
        assert stops > 3, name


def test_an_incident_is_acknowledged_by_keyboard(site: Site, open_window: Open) -> None:
    visitor = open_window(site.url)
    visitor.visit("/")
    follow(visitor, "Incidents")
    incident = site.newsroom.episodes.open_incidents()[0]
    follow(visitor, incident.title)
    expect(visitor.page).to_have_url(f"{site.url}/incidents/{incident.id}")
    follow(visitor, "Acknowledge")
    expect(visitor.page.locator("main")).to_contain_text("local acknowledged")
    assert site.newsroom.episodes.incidents_of([incident.id])[incident.id].acknowledged_by == "local"


def follow(visitor: Visitor, text: str) -> None:
    """Go on to the stop with this text, and press Enter on it."""
    for _ in range(MOST_STOPS):
        visitor.page.keyboard.press("Tab")
        if text in str(focused(visitor)["text"]):
            visitor.page.keyboard.press("Enter")
            visitor.settle()
            return
    raise AssertionError(f"no stop says {text!r}")

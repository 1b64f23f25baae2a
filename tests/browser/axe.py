"""What axe says against a page."""

from axe_playwright_python.sync_playwright import Axe

from tests.browser.chromium import Visitor

# What WCAG 2.2 asks for, and what its authors recommend besides.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OPTIONS = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}


def violations(visitor: Visitor) -> list[str]:
    """What axe says against the page that is open, a line each with the element."""
    found = Axe().run(visitor.page, options=OPTIONS).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for each in found
        for node in each["nodes"]
    ]

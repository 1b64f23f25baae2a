"""The web page of an incident: what its last page said, what each rule saw, and who was told."""

from collections.abc import Sequence
from typing import Any

from monitor.web.rendering import render
from stream.domain.alerts import Alert
from stream.domain.incidents import Incident, Page


def incident_html(
    incident: Incident,
    pages: Sequence[Page],
    alerts: Sequence[Alert],
    deliveries: Sequence[Any],
    prefix: str = "",
) -> str:
    """The HTML of an incident, from its pages in order, its episodes, and the rows of its deliveries.

    `prefix` is the path under which a proxy publishes the monitor.  The message of a page that was purged is
    empty.
    """
    return render(
        "incident.html",
        prefix=prefix,
        incident=incident,
        page=next((page.message for page in reversed(pages) if page.message), None),
        pages=pages,
        alerts=alerts,
        deliveries=deliveries,
    )

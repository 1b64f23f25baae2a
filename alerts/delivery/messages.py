"""The message of a page: what it says of its incident, as JSON."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from alerts.delivery.pages import PageRouter, alert_message
from alerts.page_inputs import ShownAlert
from stream.domain.alerts import AlertState
from stream.domain.incidents import Incident, PageKind, page_key

# Makes the message of a page that shows these alerts, the most urgent first.
PageMaker = Callable[[Incident, PageKind, Sequence[ShownAlert], datetime], Mapping[str, Any]]


def page_maker(router: PageRouter) -> PageMaker:
    """The messages of pages, with links to the pages of this router."""

    def make(
        incident: Incident, kind: PageKind, shown: Sequence[ShownAlert], now: datetime
    ) -> Mapping[str, Any]:
        first = shown[0]
        rule = first.seen.rule if first.seen else None
        state = AlertState.RESOLVED if kind is PageKind.END else first.alert.state
        return alert_message(first.alert, rule, router.incident_link(incident.id), router.runbook(rule)) | {
            "key": page_key(incident.id, kind, incident.paged_number),
            "incident": incident.id,
            "page": kind,
            "number": incident.paged_number,
            "title": incident.title,
            "entities": incident.lead_entities,
            "state": state,
            "severity": incident.severity,
        }

    return make

"""The episodes, incidents and pages of a backtest, in memory."""

from collections.abc import Collection, Sequence
from datetime import datetime

from stream.domain.alerts import OPEN_STATES, Alert, PageRequest, Transition
from stream.domain.incidents import Incident, Page


class MemoryEpisodes:
    """An episode store that remembers what fired and what was paged."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.fired: dict[str, Alert] = {}
        self.incidents: dict[str, Incident] = {}
        self.pages: list[Page] = []
        # The leading alert of each page, as it was then, by the key of the page.
        self.leading: dict[str, Alert] = {}

    def open_alerts(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.state in OPEN_STATES]

    def open_incidents(self, closed_since: datetime | None = None) -> list[Incident]:
        return [incident for incident in self.incidents.values() if incident.is_open]

    def page(self, key: str) -> Page | None:
        return next((page for page in self.pages if page.key == key), None)

    def last_pages(self, incidents: Collection[str]) -> dict[str, Page]:
        return {page.incident: page for page in self.pages if page.incident in incidents}

    def past_alerts(self, since: datetime) -> list[Alert]:
        ended = [(a.resolved_at, a) for a in self.alerts.values() if a.fired_at and a.resolved_at]
        return [alert for at, alert in sorted(ended, key=lambda pair: pair[0]) if at >= since]

    def save(
        self,
        changed: Sequence[Alert],
        dropped: Sequence[str],
        transitions: Sequence[Transition],
        page_requests: Sequence[PageRequest],
        now: datetime,
        incidents: Sequence[Incident] = (),
        pages: Sequence[Page] = (),
    ) -> None:
        for alert in changed:
            self.alerts[alert.id] = alert
            if alert.fired_at == now:
                self.fired.setdefault(alert.id, alert)
        self.incidents |= {incident.id: incident for incident in incidents}
        self.pages += pages
        self.leading |= {page.key: self.alerts[page.message["alerts"][0]["id"]] for page in pages}
        for id_ in dropped:
            self.alerts.pop(id_, None)

"""The pager: from the alerts of an evaluation to incidents, pages, and requests to send them.

It decides by what it is handed and what the reader says at that moment; the store then saves all of it in the
transaction of the alerts.  So a page has the same key after a crash at any step, and is sent once or, after a
crash between sending it and noting so, again with that key.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from alerts.delivery.page_maker import PageMaker
from alerts.delivery.pages import PageRouter
from alerts.incidents.escalation import escalation_due
from alerts.incidents.joining import (
    DuePage,
    IncidentPolicy,
    Signal,
    adopt,
    begin,
    by_urgency,
    follow,
    home,
    join,
    page_due,
    paged,
    quiet_until,
    with_stories,
)
from alerts.incidents.page_inputs import Seen, ShownAlert, page_inputs
from stream.domain.alerts import FIRING_STATES, Alert, PageRequest
from stream.domain.incidents import Incident, Moment, Page, PageDocument, PageKind, page_key

log = logging.getLogger(__name__)

# What an evaluation saw of each alert, by its id.
SeenAlerts = Mapping[str, Seen]
ReadDocuments = Callable[[Seen], Sequence[PageDocument]]
IsMuted = Callable[[Alert, datetime], bool]


def never_muted(alert: Alert, now: datetime) -> bool:
    """Without planned mutes every alert pages."""
    return False


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation at `now` found: the alerts that are open or ended now, those that ended before, and
    what each rule saw; `moment` is when it was read."""

    alerts: Sequence[Alert]
    past: Sequence[Alert]
    seen: SeenAlerts
    now: datetime
    moment: Moment


@dataclass(frozen=True, slots=True)
class Paging:
    """What follows from an evaluation: its alerts, each with its incident, the incidents that changed, their
    pages, and the requests to send them."""

    alerts: Sequence[Alert]
    incidents: Sequence[Incident] = ()
    pages: Sequence[Page] = ()
    requests: Sequence[PageRequest] = ()


@dataclass
class _Step:
    """One evaluation while it is worked on."""

    found: Evaluated
    incidents: dict[str, Incident]
    # The alerts by their incident, those of this evaluation.
    members: dict[str, list[Alert]] = field(default_factory=dict)
    documents: dict[str, Sequence[PageDocument]] = field(default_factory=dict)
    pages: list[Page] = field(default_factory=list)
    requests: list[PageRequest] = field(default_factory=list)


class Pager:
    """Decides what becomes of incidents at each evaluation."""

    def __init__(
        self,
        *,
        router: PageRouter,
        make_page: PageMaker,
        read_documents: ReadDocuments,
        read_page: Callable[[str], Page | None],
        policy: IncidentPolicy,
        is_muted: IsMuted = never_muted,
    ) -> None:
        """`read_documents` gives the negative documents that a rule saw, `read_page` the page with a key."""
        self._router, self._make_page, self._read_documents = router, make_page, read_documents
        self._read_page = read_page
        self._policy, self._is_muted = policy, is_muted

    def follow(self, before: Sequence[Incident], found: Evaluated) -> Paging:
        """The incidents after an evaluation; `before` are those that were open, and those that somebody
        closed recently."""
        step = _Step(found, {incident.id: incident for incident in before})
        alerts = self._with_incidents(step)
        for id_, incident in list(step.incidents.items()):
            if incident.is_open:
                self._look_after(step, id_, incident)
        known = {incident.id: incident for incident in before}
        changed = [incident for id_, incident in step.incidents.items() if known.get(id_) != incident]
        return Paging(alerts, changed, step.pages, step.requests)

    def _with_incidents(self, step: _Step) -> list[Alert]:
        """The alerts, each that fires with its incident: those that begin to fire join one or begin one."""
        placed = {alert.id: alert for alert in step.found.alerts}
        firing = [alert for alert in step.found.alerts if alert.state in FIRING_STATES]
        new = sorted((alert for alert in firing if alert.incident is None), key=by_urgency)
        if new:
            self._follow_stories(step, firing)
        for alert in new:
            incident = self._place(step, alert)
            step.incidents[incident.id] = incident
            placed[alert.id] = replace(alert, incident=incident.id)
        for alert in placed.values():
            if alert.incident is not None:
                step.members.setdefault(alert.incident, []).append(alert)
        return list(placed.values())

    def _follow_stories(self, step: _Step, firing: Sequence[Alert]) -> None:
        """Before another alert is placed, let incidents be on what their alerts see by now."""
        for alert in firing:
            incident = step.incidents.get(alert.incident or "")
            if incident is not None and not incident.stands_alone:
                signal = Signal.of(alert, self._documents(step, alert))
                step.incidents[incident.id] = with_stories(incident, signal)

    def _place(self, step: _Step, alert: Alert) -> Incident:
        now = step.found.now
        if alert.fired_at != now:
            return adopt(alert, self._router.targets)
        seen = step.found.seen[alert.id]
        signal = Signal.of(alert, self._documents(step, alert), stands_alone=seen.rule.stands_alone)
        joined = home(signal, step.incidents.values(), self._policy, now)
        return begin(signal, now) if joined is None else join(joined, signal)

    def _documents(self, step: _Step, alert: Alert) -> Sequence[PageDocument]:
        """The negative documents that the alert's rule saw; none if it was not evaluated."""
        seen = step.found.seen.get(alert.id)
        if seen is None or not seen.rule.has_evidence:
            return ()
        if alert.id not in step.documents:
            step.documents[alert.id] = self._read_documents(seen)
        return step.documents[alert.id]

    def _look_after(self, step: _Step, id_: str, incident: Incident) -> None:
        """What becomes of one incident, and the page that it needs, if any."""
        now, members = step.found.now, sorted(step.members.get(id_, ()), key=by_urgency)
        firing = [alert for alert in members if alert.state in FIRING_STATES]
        incident = follow(incident, firing, self._policy, now)
        audible = [alert for alert in firing if not self._is_muted(alert, now)]
        measured = [alert for alert in audible if _is_measured(step.found.seen.get(alert.id))]
        due = page_due(incident, audible, self._router.targets, self._policy, now, measured)
        if due is not None:
            incident = self._page(step, incident, due, audible)
        elif audible and self._router.escalation:
            incident = self._escalate(step, incident)
        step.incidents[id_] = incident

    def _escalate(self, step: _Step, incident: Incident) -> Incident:
        """Send the page with which an incident began to whoever is due, since nobody has acknowledged it."""
        found, steps = step.found, self._router.escalation
        if {target for each in steps for target in each.targets} <= set(incident.told):
            return incident
        first = self._read_page(page_key(incident.id, PageKind.BEGIN, 1))
        due = escalation_due(incident, steps, first.at if first else None, found.now)
        if first is None or not due:
            return incident
        step.requests += self._router.page_requests(first, due, (), found.now)
        return replace(incident, told=(*incident.told, *due), escalated_at=found.now)

    def _page(self, step: _Step, incident: Incident, due: DuePage, firing: Sequence[Alert]) -> Incident:
        """Make a page and request it from its receivers; the incident after it."""
        found = step.found
        alerts = firing or self._ended(step, incident)
        if not alerts:
            log.error("incident %s ended, and nobody is notified: its alerts were deleted", incident.id)
            return incident
        earlier = [each.last_page_at for each in step.incidents.values() if each.id != incident.id]
        after = paged(incident, due, firing, found.now)
        shown = [ShownAlert(each, found.seen.get(each.id), self._documents(step, each)) for each in alerts]
        message = self._make_page(after, due.kind, shown, found.now)
        key = page_key(incident.id, due.kind, after.paged_number)
        inputs = page_inputs(shown, found.moment)
        page = Page(key, incident.id, due.kind, after.paged_number, found.now, message, inputs)
        step.pages.append(page)
        times = [at for at in earlier if at is not None and at <= found.now]
        step.requests += self._router.page_requests(page, due.targets, times, found.now, quiet_until(after))
        return replace(after, title=message["title"]) if incident.paged_number == 0 else after

    def _ended(self, step: _Step, incident: Incident) -> list[Alert]:
        """The alerts of an incident that is over, the most urgent first."""
        past = [alert for alert in step.found.past if alert.incident == incident.id]
        return sorted([*step.members.get(incident.id, ()), *past], key=by_urgency)


def _is_measured(seen: Seen | None) -> bool:
    """Whether this evaluation found a value, so that the alert has not kept an earlier one."""
    return seen is not None and seen.observation.value is not None

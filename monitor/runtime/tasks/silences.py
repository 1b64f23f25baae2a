"""Keeps the silences of a Prometheus Alertmanager and what the desk says of incidents the same."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from alerts.delivery.alertmanager import alert_labels
from alerts.delivery.pages import PageRouter
from alerts.delivery.silences import (
    AlertmanagerSilences,
    Silence,
    acknowledgement,
    changes,
    matches_exactly,
    wanted_silences,
)
from alerts.errors import ActionRefused, SilencesUnavailable
from alerts.rules.rule_file import RuleFile
from stream.domain.incidents import Incident
from stream.retry import Outage
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.incident_actions import IncidentActions
from stream.storage.leases import Lease

log = logging.getLogger(__name__)

# The silences of an incident that ended are lifted within this time.
FOLLOWED_FOR = timedelta(hours=1)


class SilenceSync:
    """Reads the silences of one Alertmanager, where this monitor holds the lease.

    One that matches an incident exactly acknowledges it, once.  What the desk acknowledged or keeps quiet
    becomes a silence there, and one that no longer holds is lifted.  What Alertmanager has is compared each
    time, so a restart of either side repeats and loses nothing.
    """

    def __init__(
        self,
        *,
        name: str,
        silences: AlertmanagerSilences,
        episodes: SqlEpisodeStore,
        actions: IncidentActions,
        per: Literal["incident", "alert"],
        rule_file: RuleFile,
        router: PageRouter,
        lease: Lease,
        clock: Callable[[], datetime],
    ) -> None:
        """`name` is that of the Alertmanager; `per` is what is an alert there."""
        self._silences, self._episodes, self._actions, self._per = silences, episodes, actions, per
        self._rule_file, self._router, self._lease, self._clock = rule_file, router, lease, clock
        self._name, self._outage = name, Outage(f"Alertmanager {name}", log, logging.WARNING)

    def run_once(self) -> None:
        """Read and write what is due.  What fails for now is due again at the next call."""
        now = self._clock()
        followed = self._episodes.followed_incidents(now - FOLLOWED_FOR)
        incidents = [incident for incident in followed if incident.paged_number]
        if not incidents or not self._lease.acquire():
            return
        try:
            self._look(incidents, now)
        except SilencesUnavailable as error:
            self._outage.failed(error, "its silences are read again in some seconds")
        else:
            self._outage.recovered()

    def _look(self, incidents: Sequence[Incident], now: datetime) -> None:
        found = self._silences.read()
        for incident in incidents:
            if incident.acknowledged_at is None and incident.closed_at is None:
                self._acknowledge(incident, found, now)
        wanted = [
            each
            for incident in incidents
            for each in wanted_silences(incident, self._router.incident_link(incident.id), now)
        ]
        due = changes(found, wanted, {incident.id for incident in incidents})
        for silence in due.put:
            self._silences.put(silence)
        for id_ in due.expire:
            self._silences.expire(id_)

    def _acknowledge(self, incident: Incident, silences: Sequence[Silence], now: datetime) -> None:
        """Note who silenced exactly this incident."""
        named = [silence for silence in silences if silence.incident == incident.id and not silence.is_own]
        labels = self._labels(incident) if named else []
        for silence in named:
            request = acknowledgement(silence, now)
            if request is None or not matches_exactly(silence, incident.id, labels):
                continue
            try:
                self._actions.act(incident.id, request, now)
            except ActionRefused as refusal:
                log.info("a silence in Alertmanager %s acknowledges nothing: %s", self._name, refusal)
            else:
                log.info("%s has acknowledged incident %s in Alertmanager", request.actor, incident.id)
            return

    def _labels(self, incident: Incident) -> list[dict[str, str]]:
        """What Alertmanager knows the incident by: the labels of each of its alerts there."""
        rules = {rule.name: rule for rule in self._rule_file.rules}
        alerts = {alert.id: alert for alert in self._episodes.alerts_of(incident.id)}
        if self._per == "alert":
            return [alert_labels(each, rules.get(each.rule), each.severity) for each in alerts.values()]
        first = alerts.get(incident.alerts[0]) if incident.alerts else None
        return [alert_labels(first, rules.get(first.rule), incident.severity)] if first else []

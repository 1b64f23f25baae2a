"""Sends the state of the alerts to a Prometheus Alertmanager, from one monitor at a time."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from alerts.delivery.alertmanager import (
    AlertForms,
    alertmanager_alert,
    alertmanager_incident,
    smaller_forms,
)
from alerts.delivery.answers import Failure
from alerts.delivery.messages import alert_key
from alerts.delivery.notifiers import outcome
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.incidents.joining import is_adopted
from alerts.metrics import AlertMetrics
from alerts.rules.rule_file import RuleFile
from stream.domain.alerts import Alert
from stream.domain.budgets import first_within
from stream.domain.incidents import Incident, Page
from stream.storage.alerts import SqlEpisodeStore
from stream.storage.leases import Lease

log = logging.getLogger(__name__)

# Alertmanager resolves an alert by itself when it was not sent for so many intervals.
INTERVALS_UNTIL_RESOLVED = 4


class AlertmanagerSync:
    """Sends the open and the recently ended incidents from SQL, or their alerts, where this monitor holds the
    lease.  What pages nobody, since it is muted, is not sent either.

    A change is sent at once.  Everything is sent again every `interval`, as Prometheus does, so a restart
    of either side loses nothing.  Each Alertmanager of a cluster has a task of its own, so that a slow one
    delays no other.
    """

    def __init__(
        self,
        *,
        name: str,
        send: Callable[[bytes], Failure | None],
        max_bytes: int,
        episodes: SqlEpisodeStore,
        per: Literal["incident", "alert"],
        rule_file: RuleFile,
        router: PageRouter,
        lease: Lease,
        metrics: AlertMetrics,
        interval: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """`send` posts at most `max_bytes` to the Alertmanager `name`; `per` is what is an alert there."""
        self._name, self._send_body, self._max_bytes = name, send, max_bytes
        self._per = per
        self._episodes, self._rule_file, self._router, self._lease = episodes, rule_file, router, lease
        self._metrics, self._interval, self._clock = metrics, interval, clock
        self._last_sent: tuple[datetime, set[str]] | None = None

    def run_once(self) -> None:
        """Send what is due.  What fails for now is due again at the next call."""
        now, horizon = self._clock(), INTERVALS_UNTIL_RESOLVED * self._interval
        found = self._found(now - horizon)
        if not found or not self._is_due(found.keys(), now) or not self._lease.acquire():
            return
        rules = {rule.name: rule for rule in self._rule_file.rules}
        alerts = [smaller_forms(each.as_sent(rules, now + horizon, self._router)) for each in found.values()]
        failures = [failure for part in self._parts(alerts) if (failure := self._send(part))]
        if not any(failure.recoverable for failure in failures):
            self._last_sent = (now, set(found))

    def _found(self, since: datetime) -> dict[str, "_Incident | _Alert"]:
        """What is open, or ended since then, by a key that changes with what is said of it."""
        incidents = {each.id: each for each in self._episodes.followed_incidents(since) if each.paged_number}
        alerts = [alert for alert in self._episodes.open_alerts() if alert.fired_at]
        alerts += self._episodes.past_alerts(since)
        if self._per == "alert":
            return {alert_key(each): _Alert(each) for each in alerts if _is_told(each, incidents)}
        found: dict[str, _Incident | _Alert] = {
            alert_key(each): _Alert(each) for each in alerts if is_adopted(each)
        }
        pages = self._episodes.last_pages(incidents)
        first = self._episodes.alerts_by_id([each.alerts[0] for each in incidents.values()])
        for id_, page in pages.items():
            alert = first.get(incidents[id_].alerts[0])
            if alert is not None and not is_adopted(alert):
                found[page.key] = _Incident(incidents[id_], alert, page)
        return found

    def _is_due(self, keys: Collection[str], now: datetime) -> bool:
        if self._last_sent is None:
            return True
        sent_at, sent_keys = self._last_sent
        # A time in the future: the clock was set back, and Alertmanager would resolve what is not sent again.
        return not now - self._interval < sent_at <= now or not sent_keys.issuperset(keys)

    def _parts(self, alerts: Sequence[AlertForms]) -> Iterator[list[AlertForms]]:
        """The alerts in parts that fit in one body each, every alert in its largest form that does."""
        part: list[AlertForms] = []
        size = 2
        for alert in alerts:
            forms = first_within(self._max_bytes - 2, [alert[i:] for i in range(len(alert))], _size)
            if part and size + _size(forms) + 1 > self._max_bytes:
                yield part
                part, size = [], 2
            part.append(forms)
            size += _size(forms) + 1
        if part:
            yield part

    def _send(self, alerts: Sequence[AlertForms]) -> Failure | None:
        """Send the alerts.  If they are too large, send each half; if one alone is, its smaller forms."""
        body = msgspec.json.encode([forms[0] for forms in alerts])
        failure = self._send_body(body)
        if failure and failure.too_large and (len(alerts) > 1 or alerts[0][1:]):
            log.warning("Alertmanager %s takes no %d bytes: sending less at a time", self._name, len(body))
            middle = len(alerts) // 2
            parts = [alerts[:middle], alerts[middle:]] if middle else [[alerts[0][1:]]]
            return max([self._send(part) for part in parts], key=_severity)
        self._metrics.pages.labels(self._name, outcome(failure)).inc()
        if failure:
            log.error("sending alerts to Alertmanager %s failed: %s", self._name, failure.reason)
        return failure


@dataclass(frozen=True)
class _Alert:
    """An alert by itself."""

    alert: Alert

    def as_sent(self, rules: Mapping[str, Rule], ends_at: datetime, router: PageRouter) -> dict[str, Any]:
        return alertmanager_alert(self.alert, rules.get(self.alert.rule), ends_at, router)


@dataclass(frozen=True)
class _Incident:
    """An incident with its first alert and its last page."""

    incident: Incident
    first: Alert
    page: Page

    def as_sent(self, rules: Mapping[str, Rule], ends_at: datetime, router: PageRouter) -> dict[str, Any]:
        rule = rules.get(self.first.rule)
        return alertmanager_incident(self.incident, self.first, rule, self.page.message, ends_at)


def _is_told(alert: Alert, incidents: Mapping[str, Incident]) -> bool:
    """Whether somebody was told of the alert, or of its incident."""
    return is_adopted(alert) or alert.incident in incidents


def _severity(failure: Failure | None) -> int:
    """A failure that a retry can mend comes last: then the whole is sent again."""
    return 0 if failure is None else 1 + failure.recoverable


def _size(forms: AlertForms) -> int:
    return len(msgspec.json.encode(forms[0]))

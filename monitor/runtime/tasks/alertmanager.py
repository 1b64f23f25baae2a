"""Sends the state of the alerts to a Prometheus Alertmanager, from one monitor at a time."""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from alerts.delivery.alertmanager import AlertForms, alertmanager_forms
from alerts.delivery.answers import Failure
from alerts.delivery.messages import alert_key
from alerts.delivery.notifiers import outcome
from alerts.delivery.pages import PageRouter
from alerts.metrics import AlertMetrics
from alerts.ports import EpisodeStore
from alerts.rule_file import RuleFile
from stream.domain.budgets import first_within
from stream.storage.leases import Lease

log = logging.getLogger(__name__)

# Alertmanager resolves an alert by itself when it was not sent for so many intervals.
INTERVALS_UNTIL_RESOLVED = 4


class AlertmanagerSync:
    """Sends the firing and the recently resolved episodes from SQL, where this monitor holds the lease.

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
        episodes: EpisodeStore,
        rule_file: RuleFile,
        router: PageRouter,
        lease: Lease,
        metrics: AlertMetrics,
        interval: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """`send` posts at most `max_bytes` to the Alertmanager `name`."""
        self._name, self._send_body, self._max_bytes = name, send, max_bytes
        self._episodes, self._rule_file, self._router, self._lease = episodes, rule_file, router, lease
        self._metrics, self._interval, self._clock = metrics, interval, clock
        self._last_sent: tuple[datetime, set[str]] | None = None

    def run_once(self) -> None:
        """Send what is due.  What fails for now is due again at the next call."""
        now, horizon = self._clock(), INTERVALS_UNTIL_RESOLVED * self._interval
        episodes = [alert for alert in self._episodes.open_alerts() if alert.fired_at]
        episodes += self._episodes.past_alerts(now - horizon)
        keys = {alert_key(alert) for alert in episodes}
        if not episodes or not self._is_due(keys, now) or not self._lease.acquire():
            return
        rules = {rule.name: rule for rule in self._rule_file.rules}
        alerts = [
            alertmanager_forms(alert, rules.get(alert.rule), now + horizon, self._router)
            for alert in episodes
        ]
        failures = [failure for part in self._parts(alerts) if (failure := self._send(part))]
        if not any(failure.recoverable for failure in failures):
            self._last_sent = (now, keys)

    def _is_due(self, keys: set[str], now: datetime) -> bool:
        if self._last_sent is None:
            return True
        sent_at, sent_keys = self._last_sent
        # A time in the future: the clock was set back, and Alertmanager would resolve what is not sent again.
        return not now - self._interval < sent_at <= now or not keys <= sent_keys

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


def _severity(failure: Failure | None) -> int:
    """A failure that a retry can mend comes last: then the whole is sent again."""
    return 0 if failure is None else 1 + failure.recoverable


def _size(forms: AlertForms) -> int:
    return len(msgspec.json.encode(forms[0]))

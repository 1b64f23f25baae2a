"""Sends the state of the alerts to Prometheus Alertmanager, from one monitor at a time."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from alerts.delivery.alertmanager import alertmanager_alert
from alerts.delivery.notifiers import Failure, outcome
from alerts.delivery.pages import page_key
from alerts.metrics import AlertMetrics
from alerts.ports import EpisodeStore
from alerts.rule_file import RuleFile
from stream.domain.alerts import Alert
from stream.storage.leases import Lease

log = logging.getLogger(__name__)

# Alertmanager resolves an alert by itself when it was not sent for so many intervals.
INTERVALS_UNTIL_RESOLVED = 4


class AlertmanagerBody:
    """Episodes as Alertmanager's API takes them; `link` gives the page of an alert."""

    def __init__(self, rule_file: RuleFile, link: Callable[[Alert], str]) -> None:
        self._rule_file, self._link = rule_file, link

    def __call__(self, episodes: Sequence[Alert], ends_at: datetime) -> bytes:
        rules = {rule.name: rule for rule in self._rule_file.rules}
        return msgspec.json.encode(
            [alertmanager_alert(a, rules.get(a.rule), ends_at, self._link(a)) for a in episodes]
        )


class AlertmanagerSync:
    """Sends the firing and the recently resolved episodes from SQL, where this monitor holds the lease.

    A change is sent at once.  Everything is sent again every `interval`, as Prometheus does, so a restart
    of either side loses nothing.
    """

    def __init__(
        self,
        *,
        receivers: Mapping[str, Callable[[bytes], Failure | None]],
        episodes: EpisodeStore,
        body: AlertmanagerBody,
        lease: Lease,
        metrics: AlertMetrics,
        interval: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """`receivers` sends a body to the Alertmanager of that name."""
        self._receivers, self._episodes, self._body, self._lease = receivers, episodes, body, lease
        self._metrics, self._interval, self._clock = metrics, interval, clock
        self._last_sent: dict[str, tuple[datetime, set[str]]] = {}

    def run_once(self) -> None:
        now, horizon = self._clock(), INTERVALS_UNTIL_RESOLVED * self._interval
        episodes = [alert for alert in self._episodes.open_alerts() if alert.fired_at]
        episodes += self._episodes.past_alerts(now - horizon)
        keys = {page_key(alert) for alert in episodes}
        due = [name for name in self._receivers if episodes and self._is_due(name, keys, now)]
        if not due or not self._lease.acquire():
            return
        body = self._body(episodes, now + horizon)
        for name in due:
            failure = self._receivers[name](body)
            self._metrics.pages.labels(name, outcome(failure)).inc()
            if failure is None or not failure.recoverable:
                self._last_sent[name] = (now, keys)
            if failure is not None:
                log.error("sending alerts to Alertmanager %s failed: %s", name, failure.reason)

    def _is_due(self, name: str, keys: set[str], now: datetime) -> bool:
        if name not in self._last_sent:
            return True
        sent_at, sent_keys = self._last_sent[name]
        return now - sent_at >= self._interval or not keys <= sent_keys

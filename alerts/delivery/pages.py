"""Pages: what is sent of an incident, to whom and when.  Pure: now is an argument."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from alerts.delivery.messages import alert_message, page_forms
from alerts.detectors.base import Rule
from alerts.incidents.escalation import EscalationStep
from stream.domain.alerts import Alert, PageRequest, Severity
from stream.domain.budgets import first_within
from stream.domain.incidents import Page, PageKind

WEBHOOK, CHANNEL = "webhook:", "channel:"


@dataclass(frozen=True)
class QuietHours:
    """The hours of every day, past midnight too, during which only pages are sent and the rest waits."""

    start: time
    end: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: str) -> "QuietHours":
        """From texts such as 22:00-07:00 and Europe/Berlin.  Raises ValueError."""
        try:
            start, end = (time.fromisoformat(part.strip()) for part in text.split("-"))
        except ValueError as error:
            raise ValueError("quiet hours are two times of the day, such as 22:00-07:00") from error
        try:
            return cls(start, end, ZoneInfo(zone))
        except (OSError, LookupError, ValueError) as error:
            raise ValueError(f"unknown time zone {zone!r}; use a name such as Europe/Berlin") from error

    def until(self, now: datetime) -> datetime | None:
        """When the quiet hours end if `now` lies in them; None if it does not."""
        local = now.astimezone(self.zone)
        clock = local.time()
        if self.start <= self.end:
            inside = self.start <= clock < self.end
        else:
            inside = clock >= self.start or clock < self.end
        if not inside:
            return None
        day = local.date() + timedelta(days=int(clock >= self.end))
        return datetime.combine(day, self.end, self.zone).astimezone(now.tzinfo)


@dataclass(frozen=True)
class PageRouter:
    """Who gets a page, and when.

    `targets` are the receivers that are notified at once, such as webhook:desk, and `escalation` those that
    are notified when nobody acknowledges an incident.  Updates and ends that follow within `group` of another
    incident's page are collected and sent together; a beginning waits for nothing.  `address` is the
    monitor's own, for links.  A message has at most `max_bytes`.
    """

    targets: Sequence[str] = ()
    group: timedelta = timedelta(0)
    quiet: QuietHours | None = None
    address: str = ""
    max_bytes: int = 200_000
    escalation: Sequence[EscalationStep] = ()

    @property
    def known_targets(self) -> set[str]:
        """Every receiver there is: what is queued for another is never sent."""
        return {*self.targets, *(target for step in self.escalation for target in step.targets)}

    def message(self, alert: Alert, rule: Rule | None) -> Mapping[str, Any]:
        """The alert as a message, in the largest form within the budget."""
        message = alert_message(alert, rule, self.link(alert), self.runbook(rule))
        return first_within(self.max_bytes, page_forms(message))

    def link(self, alert: Alert) -> str:
        """The address of the web page of the alert's incident, or of an alert that has none; empty if the
        monitor serves none."""
        if alert.incident is not None:
            return self.incident_link(alert.incident)
        return f"{self.address}/alerts/{quote(alert.id, safe='')}" if self.address else ""

    def incident_link(self, incident: str) -> str:
        """The address of an incident's web page; empty if the monitor serves none."""
        return f"{self.address}/incidents/{quote(incident, safe='')}" if self.address else ""

    def runbook(self, rule: Rule | None) -> str | None:
        """The address of the rule's runbook, if it has one; what begins with / is a page of the monitor."""
        runbook = rule.runbook if rule else None
        if runbook and runbook.startswith("/"):
            return f"{self.address}{runbook}" if self.address else None
        return runbook

    def page_requests(
        self,
        page: Page,
        targets: Iterable[str],
        earlier: Iterable[datetime],
        now: datetime,
        quiet_until: datetime | None = None,
    ) -> list[PageRequest]:
        """A request for each of these receivers; `earlier` is when other incidents paged last, and
        `quiet_until` how long somebody keeps this one quiet.

        The pages of an incident stay in order.
        """
        targets = [target for target in targets if target in self.known_targets]
        not_before = now if page.kind is PageKind.BEGIN else _departure(earlier, self.group, now)
        if self.quiet is not None and page.message["severity"] != Severity.PAGE:
            not_before = self.quiet.until(not_before) or not_before
        not_before = max(not_before, quiet_until or not_before)
        message = first_within(self.max_bytes, page_forms(page.message))
        return [PageRequest(target, page.key, page.incident, message, not_before) for target in targets]


def _departure(earlier: Iterable[datetime], group: timedelta, now: datetime) -> datetime:
    """When a page of `now` leaves: at once, or with those that follow the last page within `group`."""
    left: datetime | None = None
    for at in (*sorted(earlier), now):
        if left is None or at >= left + group:
            left = at
        elif at > left:
            left += group
    return left or now

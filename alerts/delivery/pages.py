"""What is sent when an episode changes state, to whom and when.  Pure: now is an argument."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from alerts.detectors.base import Rule
from stream.domain.alerts import Alert, AlertState, PageRequest, Severity
from stream.domain.documents import printable

WEBHOOK, CHANNEL = "webhook:", "channel:"
SHOWN = 200


def page_key(alert: Alert) -> str:
    """What a receiver drops repeats by: the episode and the state it came into."""
    return f"{alert.id}:{alert.state}"


def alert_message(alert: Alert, rule: Rule | None = None, link: str = "") -> dict[str, Any]:
    """An alert's transition as JSON: on the alerts topic and in a page."""
    return {
        "key": page_key(alert),
        "id": alert.id,
        "rule": alert.rule,
        "topic": alert.topic,
        "state": alert.state,
        "severity": alert.severity,
        "message": alert.message or alert.summary,
        "summary": alert.summary,
        "value": alert.value,
        "threshold": alert.threshold,
        "usual": alert.usual,
        "n": alert.n,
        "uncertainty": alert.uncertainty,
        "since": alert.since,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "labels": rule.labels if rule else {},
        "runbook": rule.runbook if rule else None,
        "link": link,
        "sources": alert.sources,
        "evidence": alert.evidence,
    }


@dataclass(frozen=True)
class QuietHours:
    """A stretch of every day, over midnight too, in which only pages leave; all else waits for its end."""

    start: time
    end: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: str) -> "QuietHours":
        """Such as 22:00-07:00 and Europe/Berlin.  Raises ValueError."""
        try:
            start, end = (time.fromisoformat(part.strip()) for part in text.split("-"))
        except ValueError as error:
            raise ValueError("quiet hours are two times of the day, such as 22:00-07:00") from error
        try:
            return cls(start, end, ZoneInfo(zone))
        except (OSError, LookupError, ValueError) as error:
            raise ValueError(f"unknown time zone {zone!r}; one such as Europe/Berlin is meant") from error

    def until(self, now: datetime) -> datetime | None:
        """When the quiet hours that `now` lies in end; None outside."""
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
class Delivery:
    """Who gets a page and when: `targets` are receivers such as webhook:desk, `group` how long what follows
    a rule's page is collected into one."""

    targets: Sequence[str] = ()
    group: timedelta = timedelta(0)
    quiet: QuietHours | None = None
    address: str = ""

    def link(self, alert: Alert) -> str:
        """The page that opens the evidence; empty where none is served."""
        return f"{self.address}/alerts/{alert.id}" if self.address else ""

    def page_requests(
        self, alert: Alert, rule: Rule | None, last_page: datetime | None, now: datetime
    ) -> list[PageRequest]:
        """A request for every receiver; `last_page` is when the rule last paged, on whatever topic."""
        leaves = now
        if last_page is not None and now < last_page + self.group:
            leaves = last_page + self.group
        if self.quiet is not None and alert.severity != Severity.PAGE:
            leaves = self.quiet.until(leaves) or leaves
        message = alert_message(alert, rule, self.link(alert))
        lane = f"{alert.rule}:{alert.severity}"
        return [PageRequest(target, page_key(alert), lane, message, leaves) for target in self.targets]


def grouped(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pages of one rule and state as one: the first, and the `others`.

    With others it has a key of its own, made of all of theirs: what a receiver knows of one of them must not
    make it drop the rest.
    """
    first, *others = messages
    keys = [message["key"] for message in messages]
    key = keys[0]
    if others:
        key = f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:24]}:{first['state']}"
    return {**first, "key": key, "keys": keys, "others": others}


def as_text(page: Mapping[str, Any]) -> tuple[str, str]:
    """A grouped page for people, as (title, body) in plain text.

    The title is the same when it fires and when it ends: services tell by it that both are one incident.
    """
    others = page["others"]
    more = f" and {len(others)} more" if others else ""
    title = f"{page['rule']} on {page['topic']}{more} [{page['severity']}]"
    lines = [f"{page['state'].upper()}: {page['message']}"]
    if page["state"] == AlertState.RESOLVED:
        lines += [f"resolved at {page['resolved_at']}"]
    else:
        lines += [page["uncertainty"], *(_told(exhibit) for exhibit in page["evidence"])]
        lines += [f"runbook: {page['runbook']}"] if page["runbook"] else []
    lines += [page["link"], *(f"also {other['topic']}: {other['message']}" for other in others)]
    return printable(title), "\n".join(printable(line) for line in lines if line)


def _told(exhibit: Mapping[str, Any]) -> str:
    words = f" [{', '.join(exhibit['words'])}]" if exhibit["words"] else ""
    return f"{exhibit['score']:+.2f} {exhibit['source']}: {exhibit['content'][:SHOWN]}{words}"

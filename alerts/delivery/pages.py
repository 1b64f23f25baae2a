"""Pages: what is sent of an incident, to whom and when, and the messages of alerts on their topic.

Pure: now is an argument.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from itertools import islice
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import jinja2

from alerts.delivery.quoting import inert, inert_markdown
from alerts.detectors.base import Rule
from alerts.incidents import URGENCY
from alerts.wording import event_text
from stream.domain.alerts import Alert, AlertState, EvidenceItem, PageRequest, Severity
from stream.domain.budgets import cut, first_within
from stream.domain.documents import LONGEST_WORD, printable
from stream.domain.incidents import Page, PageKind

WEBHOOK, CHANNEL = "webhook:", "channel:"
# A page shows the beginning of an article, and of the sources those with the most negative documents.
LONGEST_CONTENT, LONGEST_URL, SHOWN_SOURCES = 200, 2048, 50
# What is left of a message in the shortest form of a page.
LONGEST_TITLE = 200


def page_key(alert: Alert) -> str:
    """The key of the event of an episode's state: a consumer recognises a repeat by it."""
    return f"{alert.id}:{alert.state}"


def alert_message(
    alert: Alert, rule: Rule | None = None, link: str = "", runbook: str | None = None
) -> dict[str, Any]:
    """A change of an alert's state, as JSON on the alerts topic and in a page."""
    return {
        "key": page_key(alert),
        "id": alert.id,
        "incident": alert.incident,
        "rule": alert.rule,
        "topic": alert.topic,
        "entity": alert.entity,
        "entity_name": alert.entity_name,
        "state": alert.state,
        "severity": alert.severity,
        "message": alert.message or alert.summary,
        "summary": alert.summary,
        "value": alert.value,
        "threshold": alert.threshold,
        "usual": alert.usual,
        "n": alert.n,
        "counted": alert.counted,
        "texts": alert.texts,
        "stories": alert.stories,
        "voices": alert.voices,
        "copies": alert.copies,
        "stories_text": alert.stories_text,
        "uncertainty": alert.uncertainty,
        "since": alert.since,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "labels": labels_of(alert, rule),
        "runbook": runbook,
        "link": link,
        "sources": dict(islice(alert.sources.items(), SHOWN_SOURCES)),
        "evidence": [_shown(item) for item in alert.evidence],
    }


def subject_of(page: Mapping[str, Any]) -> str:
    """What a page is about, as readers call it.  A page that version 0.3.0 queued knows no entity."""
    return str(page.get("entity_name") or page["topic"])


def labels_of(alert: Alert, rule: Rule | None) -> Mapping[str, str]:
    """The labels with which the alert fired; those of its rule if it was stored before they were kept."""
    if alert.labels is not None:
        return alert.labels
    return rule.labels if rule else {}


def _shown(item: EvidenceItem) -> EvidenceItem:
    """An item with its words and its address within limits; a cut address would lead elsewhere."""
    words = tuple(cut(word, LONGEST_WORD) for word in item.words)
    return replace(item, words=words, url=item.url if len(item.url or "") <= LONGEST_URL else None)


def page_forms(page: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A page, and the same with less and less in it: the last has title and link alone.

    Every form has the fields of the first.  One with less in it says so: `shortened` is true.
    """
    others = page.get("others", [])
    yield page
    if others:
        yield {**page, "others": [_without_evidence(other) for other in others], "shortened": True}
    for smaller in (_without_evidence, _title_and_link):
        form = smaller(page)
        yield {**form, "others": [smaller(other) for other in others]} if others else form


def _without_evidence(message: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "evidence": [], "sources": {}, "shortened": True}


def _title_and_link(message: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: cut(message[name], LONGEST_TITLE) for name in ("message", "summary")}
    return {**_without_evidence(message), **texts, "uncertainty": "", "labels": {}, "runbook": None}


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

    `targets` are receivers such as webhook:desk.  Updates and ends that follow within `group` of another
    incident's page are collected and sent together; a beginning waits for nothing.  `address` is the
    monitor's own, for links.  A message has at most `max_bytes`.
    """

    targets: Sequence[str] = ()
    group: timedelta = timedelta(0)
    quiet: QuietHours | None = None
    address: str = ""
    max_bytes: int = 200_000

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
        self, page: Page, targets: Iterable[str], earlier: Iterable[datetime], now: datetime
    ) -> list[PageRequest]:
        """A request for each of these receivers; `earlier` is when other incidents paged last.

        The pages of an incident stay in order.
        """
        not_before = now if page.kind is PageKind.BEGIN else _departure(earlier, self.group, now)
        if self.quiet is not None and page.message["severity"] != Severity.PAGE:
            not_before = self.quiet.until(not_before) or not_before
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


def _urgency(message: Mapping[str, Any]) -> int:
    """A severity that another version queued, and this one does not know, is urgent."""
    return URGENCY.get(message.get("severity", ""), 0)


def merge_pages(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pages that go together as one page: the first of the most urgent, with the rest as its `others`.

    A merged page has a key made of the keys of all, so that a receiver that already has one of them does not
    drop the rest as a repeat.
    """
    first, *others = sorted(messages, key=_urgency)
    keys = [message["key"] for message in (first, *others)]
    key = keys[0]
    if others:
        key = f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:24]}:{first['state']}"
    return {**first, "key": key, "keys": keys, "others": others}


@dataclass(frozen=True)
class PageTexts:
    """Writes pages as plain text, with what comes from others made harmless by `quote`."""

    title: jinja2.Template
    body: jinja2.Template

    @classmethod
    def quoted_by(cls, quote: Callable[[str], str]) -> "PageTexts":
        texts = jinja2.Environment(
            autoescape=False,  # noqa: S701  plain text, no HTML
            undefined=jinja2.StrictUndefined,
            # What is inserted comes from outside: control characters become spaces, line ends too.
            finalize=lambda value: (
                printable(value) if isinstance(value, _Address) else quote(printable(str(value)))
            ),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        texts.filters |= {"cut": cut, "address": _Address, "subject": subject_of, "event": event_text}
        return cls(texts.from_string(_TITLE), texts.from_string(_BODY))

    def __call__(self, page: Mapping[str, Any]) -> tuple[str, str]:
        """A merged page as (title, body).

        The title is the same when an alert fires and when it is resolved.
        """
        fields = {"page": page, "resolved": page["state"] == AlertState.RESOLVED}
        return self.title.render(fields), self.body.render(fields).rstrip("\n")


class _Address(str):
    """An address of the operator's own: it stays a link."""


_TITLE = (
    "{{ page.rule }} on {{ page | subject }}"
    "{% if page.others %} and {{ page.others | length }} more{% endif %} [{{ page.severity }}]"
)
_BODY = """\
{{ page.state | upper }}: {{ page.message }}
{% if resolved %}
resolved at {{ page.resolved_at }}
{% else %}
{% if page.stories_text is defined and page.stories_text %}
{{ page.stories_text }}
{% endif %}
{% if page.uncertainty %}
{{ page.uncertainty }}
{% endif %}
{% for item in page.evidence %}
{{ "%+.2f" | format(item.score) }} {{ item.source }}: {{ item.content | cut(LONGEST_CONTENT) }}
{%- if item.words %} [{{ item.words | map("cut", LONGEST_WORD) | join(", ") }}]{% endif %}
{%- if item.events is defined and item.events %} ({{ item.events | map("event") | join(", ") }}){% endif +%}
{% endfor %}
{% if page.shortened is defined %}
(shortened; the rest is on the page of the alert)
{% endif %}
{% if page.runbook %}
runbook: {{ page.runbook | address }}
{% endif %}
{% endif %}
{% if page.link %}
{{ page.link | address }}
{% endif %}
{% for other in page.others %}
also {% if other.rule != page.rule %}{{ other.rule }} on {% endif %}{{ other | subject }}: {{ other.message }}
{% endfor %}
""".replace("LONGEST_CONTENT", str(LONGEST_CONTENT)).replace("LONGEST_WORD", str(LONGEST_WORD))

plain_text = PageTexts.quoted_by(inert)
markdown_text = PageTexts.quoted_by(inert_markdown)

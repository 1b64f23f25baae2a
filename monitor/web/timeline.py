"""What happened in an incident, in the order in which it did: alerts, pages, and what people did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts.incidents.actions import in_words
from stream.domain.incident_actions import Action
from stream.domain.incidents import Page, PageKind
from stream.storage.desk.incidents import AlertChange

# What a page is called, by its kind.
PAGES = {
    PageKind.BEGIN: "Page: it begins",
    PageKind.UPDATE: "Page: it got worse",
    PageKind.END: "Page: it is over",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `kind` is `alert`, `page` or `action`; `text` is what somebody or a rule said besides."""

    at: datetime
    kind: str
    title: str
    text: str = ""


def timeline(
    changes: Iterable[AlertChange],
    pages: Iterable[Page],
    deliveries: Sequence[Any],
    actions: Iterable[Action],
) -> list[Event]:
    """All events, the latest first; `deliveries` are rows of their table."""
    events = [
        *map(_of_change, changes),
        *(_of_page(page, deliveries) for page in pages),
        *(Event(each.at, "action", in_words(each), each.text) for each in actions),
    ]
    return sorted(events, key=lambda event: event.at, reverse=True)


def _of_change(change: AlertChange) -> Event:
    about = change.entity or change.topic
    return Event(change.at, "alert", f"{change.rule} on {about}: {change.state}", change.summary)


def _of_page(page: Page, deliveries: Sequence[Any]) -> Event:
    sent = [f"{row.target}: {row.outcome or 'waiting'}" for row in deliveries if row.key == page.key]
    to = ", ".join(sent) or "to no webhook or channel; Alertmanager and the log get every incident"
    said = page.message.get("how_much") or page.message.get("what") or ""
    return Event(page.at, "page", PAGES[page.kind], f"{said} ({to})" if said else to)

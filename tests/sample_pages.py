"""A page as the outbox holds it."""

from typing import Any

import msgspec

from alerts.delivery.messages import alert_message, merge_pages
from alerts.delivery.template import EXAMPLE
from stream.domain.alerts import Alert, AlertState, EvidenceItem
from stream.domain.documents import EPOCH


def alert(**changes: Any) -> Alert:
    fields = {name: getattr(EXAMPLE, name) for name in Alert.__slots__}
    return Alert(**fields | {"summary": "much gloom"} | changes)


def message(link: str = "https://monitor.example/alerts/1", **changes: Any) -> dict[str, Any]:
    """A message on the alerts topic, after its way through JSON."""
    return dict(msgspec.json.decode(msgspec.json.encode(alert_message(alert(**changes), link=link))))


def page(*others: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A page of one alert, merged with the `others`."""
    return merge_pages([message(**changes), *others])


def quoting(content: str, source: str = "wire") -> tuple[EvidenceItem, ...]:
    return (EvidenceItem(source, "1", EPOCH, content, -0.9, ("fall",)),)


PAGE = page()
RESOLVED = page(state=AlertState.RESOLVED, resolved_at=EPOCH)

"""The pages of one incident: a lender halts withdrawals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from alerts.delivery.messages import incident_message
from alerts.detectors.negative_surge import NegativeSurgeRule
from alerts.incidents.page_facts import AlertFacts, Named, PageFacts
from alerts.incidents.robustness import Robustness
from stream.domain.alerts import Alert, AlertState, EvidenceItem, Severity
from stream.domain.incidents import Headline, Incident, PageKind
from stream.domain.sums import Counted

AT = datetime(2022, 6, 13, 2, 26, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULE = NegativeSurgeRule.model_validate({
    "name": "entity-surge", "type": "negative_surge", "entities": "each", "window": "30m",
    "runbook": "/runbooks#entity-surge",
})  # fmt: skip
TITLE = "Halcyon stops every payout and names no date for savers to be paid"


def alert(**changes: Any) -> Alert:
    fields: dict[str, Any] = {
        "id": "a1", "rule": "entity-surge", "topic": "all", "severity": Severity.PAGE,
        "state": AlertState.FIRING, "since": AT, "value": 23.0, "threshold": 3.0, "n": 26,
        "uncertainty": "would happen by chance less than once in a million years",
        "summary": "Halcyon Lending: 23 negative voices in 30 min, 23.0 times the usual 1.0", "usual": 1.0,
        "fired_at": AT, "entity": "house:halcyon", "counted": Counted.VOICES,
        "labels": {"entity": "house:halcyon", "entity_name": "Halcyon Lending"},
    }  # fmt: skip
    return Alert(**fields | changes)


def item(content: str = TITLE, source: str = "reuters", **changes: Any) -> EvidenceItem:
    fields: dict[str, Any] = {"words": ("stops",), "key": f"news:{source}:1", "story": 7, "copies": 6}
    return EvidenceItem(source, "1", AT - 12 * MINUTE, content, -0.94, **fields | changes)


def incident(**changes: Any) -> Incident:
    fields: dict[str, Any] = {"id": "i1", "began_at": AT, "severity": Severity.PAGE, "title": ""}
    return Incident(**fields | changes)


def facts(seen: Alert | None = None, **changes: Any) -> PageFacts:
    seen = seen or alert()
    fields: dict[str, Any] = {
        "incident": incident(), "kind": PageKind.BEGIN, "number": 1, "at": AT, "subject": "Halcyon Lending",
        "who": (Named("house:halcyon", "Halcyon Lending"),),
        "headline": Headline(7, TITLE, "reuters", AT - 12 * MINUTE, "reuters"),
        "alerts": (
            AlertFacts(seen, RULE.in_words(seen), RULE, RULE.window, 1e-9, "https://monitor.example/runbooks"),
        ),
        "texts": 36, "voices": 23, "stories": 4, "origins": 19, "authors": 12, "copies": 13,
        "at_least": False, "seen_since": AT - 12 * MINUTE, "seen_by": "reuters",
        "topics": {"Crypto": 20, "Macro": 3}, "sources": {"reuters": 5, "coindesk": 4}, "evidence": (item(),),
        "robustness": Robustness(19, 2), "link": "https://monitor.example/incidents/i1",
    }  # fmt: skip
    return PageFacts(**fields | changes)


def message(seen: Alert | None = None, **changes: Any) -> dict[str, Any]:
    """A message after its way through JSON."""
    return dict(msgspec.json.decode(msgspec.json.encode(incident_message(facts(seen, **changes)))))

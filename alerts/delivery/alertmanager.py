"""Alerts for the API (version 2) of Prometheus Alertmanager, which groups, silences and routes them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from alerts.delivery.messages import labels_of
from alerts.delivery.page_text import plain_text
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.incidents.joining import is_adopted
from alerts.wording import event_text
from stream.domain.alerts import Alert, Severity
from stream.domain.budgets import cut
from stream.domain.documents import LONGEST_WORD, printable
from stream.domain.incidents import Incident

PATH = "/api/v2/alerts"
# The label that says which incident an alert belongs to.
INCIDENT = "incident"


# An alert in its largest form and in smaller ones: they have the same labels.
AlertForms = Sequence[Mapping[str, Any]]
# What a form leaves out, each more than the one before it.
LEFT_OUT: tuple[tuple[str, ...], ...] = (
    (),
    ("evidence",),
    ("evidence", "description", "sources", "uncertainty"),
)
SHOWN_CHARACTERS, SHOWN_SOURCES = 200, 20


def alertmanager_url(url: SecretStr) -> SecretStr:
    """Where an Alertmanager with this base URL takes alerts."""
    return SecretStr(url.get_secret_value().rstrip("/") + PATH)


def smaller_forms(whole: dict[str, Any]) -> AlertForms:
    """An alert, and smaller forms of it for an Alertmanager that takes no more."""
    annotations = whole["annotations"]
    return [
        whole | {"annotations": _without(annotations, names) if names else annotations} for names in LEFT_OUT
    ]


def _without(annotations: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    kept = {
        name: cut(text, SHOWN_CHARACTERS) if name == "summary" else text
        for name, text in annotations.items()
        if name not in names
    }
    return kept | {"shortened": "left out, since it was too large: " + ", ".join(names)}


def alertmanager_alert(
    alert: Alert, rule: Rule | None, ends_at: datetime, router: PageRouter
) -> dict[str, Any]:
    """An episode in Alertmanager's format; `router` knows the addresses of its web page and its runbook.

    Alertmanager identifies an alert by its labels, so they stay the same from firing to resolved.  It
    resolves a firing alert at `ends_at` unless the alert is sent again.
    """
    annotations = {
        "summary": alert.message or alert.summary,
        "uncertainty": alert.uncertainty,
        "value": f"{alert.value:g}",
        "threshold": f"{alert.threshold:g}",
        "usual": "" if alert.usual is None else f"{alert.usual:g}",
        "documents": str(alert.n),
        "counted": alert.counted,
        "stories": alert.stories_text,
        "id": alert.id,
        "sources": _sources(alert.sources),
        "evidence": "\n".join(
            printable(
                f"{e.score:+.2f} {e.source}: {cut(e.content, SHOWN_CHARACTERS)} "
                f"[{', '.join(cut(word, LONGEST_WORD) for word in e.words)}] "
                f"{_events(e.events)}{e.key}".rstrip()
            )
            for e in alert.evidence
        ),
        "runbook_url": router.runbook(rule) or "",
    }
    starts_at, link = alert.fired_at or alert.since, router.link(alert)
    labels = alert_labels(alert, rule, alert.severity)
    return _as_sent(labels, annotations, starts_at, alert.resolved_at or ends_at, link)


def alertmanager_incident(
    incident: Incident, first: Alert, rule: Rule | None, page: Mapping[str, Any], ends_at: datetime
) -> dict[str, Any]:
    """An incident in Alertmanager's format: with the labels of its `first` alert, whose rule that is, and
    what its last `page` says.

    An incident that becomes more urgent is another alert there, so that it is routed as one; the one before
    it ends by itself.
    """
    labels = alert_labels(first, rule, incident.severity)
    return _as_sent(
        labels, incident_annotations(page), incident.began_at, incident.ended_at or ends_at, page["link"]
    )


def incident_annotations(page: Mapping[str, Any]) -> dict[str, str]:
    """What a page says, by name: whole in the `description`, and what templates show by itself."""
    title, body = plain_text({**page, "others": []})
    return {
        "summary": title,
        "description": body,
        "who": printable(page["subject"]),
        "what": printable(page["what"]),
        "how_much": page["how_much"],
        "since": page["since_text"],
        "stories": page["counts_text"],
        "robustness": page["robustness_text"],
        "id": page["incident"],
        "sources": _sources(page["sources"]),
        "uncertainty": page["uncertainty"],
        "runbook_url": page["runbook"] or "",
    }


def alert_labels(alert: Alert, rule: Rule | None, severity: Severity) -> dict[str, str]:
    """What Alertmanager knows an alert by.  One that an older version sent keeps the labels it had then."""
    incident = {} if alert.incident is None or is_adopted(alert) else {INCIDENT: alert.incident}
    labels = {"alertname": alert.rule, "topic": alert.topic, "severity": severity}
    return {**labels_of(alert, rule), **labels, **incident}


def _as_sent(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    starts_at: datetime,
    ends_at: datetime,
    link: str,
) -> dict[str, Any]:
    return {
        "labels": labels,
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": starts_at.isoformat(),
        "endsAt": ends_at.isoformat(),
        **({"generatorURL": link} if link else {}),
    }


def _events(events: Sequence[str]) -> str:
    return f"({', '.join(map(event_text, events))}) " if events else ""


def _sources(sources: Mapping[str, int]) -> str:
    shown = [printable(f"{source} {n}") for source, n in list(sources.items())[:SHOWN_SOURCES]]
    more = len(sources) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")

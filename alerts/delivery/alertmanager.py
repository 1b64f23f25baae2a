"""Alerts for the API (version 2) of Prometheus Alertmanager, which groups, silences and routes them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from alerts.delivery.messages import labels_of
from alerts.delivery.pages import PageRouter
from alerts.detectors.base import Rule
from alerts.wording import event_text
from stream.domain.alerts import Alert
from stream.domain.budgets import cut
from stream.domain.documents import LONGEST_WORD, printable

PATH = "/api/v2/alerts"


# An alert in its largest form and in smaller ones: they have the same labels.
AlertForms = Sequence[Mapping[str, Any]]
# What a form leaves out, each more than the one before it.
LEFT_OUT: tuple[tuple[str, ...], ...] = ((), ("evidence",), ("evidence", "sources", "uncertainty"))
SHOWN_CHARACTERS, SHOWN_SOURCES = 200, 20


def alertmanager_url(url: SecretStr) -> SecretStr:
    """Where an Alertmanager with this base URL takes alerts."""
    return SecretStr(url.get_secret_value().rstrip("/") + PATH)


def alertmanager_forms(alert: Alert, rule: Rule | None, ends_at: datetime, router: PageRouter) -> AlertForms:
    """An alert as `alertmanager_alert` makes it, and smaller forms for an Alertmanager that takes no more."""
    whole = alertmanager_alert(alert, rule, ends_at, router)
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
    link = router.link(alert)
    labels = {"alertname": alert.rule, "topic": alert.topic, "severity": alert.severity}
    return {
        "labels": {**labels_of(alert, rule), **labels},
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": (alert.fired_at or alert.since).isoformat(),
        "endsAt": (alert.resolved_at or ends_at).isoformat(),
        **({"generatorURL": link} if link else {}),
    }


def _events(events: Sequence[str]) -> str:
    return f"({', '.join(map(event_text, events))}) " if events else ""


def _sources(sources: Mapping[str, int]) -> str:
    shown = [printable(f"{source} {n}") for source, n in list(sources.items())[:SHOWN_SOURCES]]
    more = len(sources) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")

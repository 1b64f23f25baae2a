"""Alerts for the API (version 2) of Prometheus Alertmanager, which groups, silences and routes them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from alerts.delivery.notifiers import Webhooks
from alerts.detectors.base import Rule
from stream.domain.alerts import Alert
from stream.domain.documents import printable

PATH = "/api/v2/alerts"


def alertmanagers(urls: Mapping[str, SecretStr], seconds: float) -> Webhooks:
    """The Alertmanagers of a cluster, by name.  Every one gets every alert, as a JSON list."""
    return Webhooks(
        {name: SecretStr(url.get_secret_value().rstrip("/") + PATH) for name, url in urls.items()}, seconds
    )


def alertmanager_alert(alert: Alert, rule: Rule | None, ends_at: datetime, link: str = "") -> dict[str, Any]:
    """An episode in Alertmanager's format; `link` is the address of its web page.

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
        "id": alert.id,
        "sources": ", ".join(printable(f"{source} {n}") for source, n in alert.sources.items()),
        "evidence": "\n".join(
            printable(f"{e.score:+.2f} {e.source}: {e.content[:200]} [{', '.join(e.words)}] {e.key}".rstrip())
            for e in alert.evidence
        ),
        "runbook_url": (rule.runbook if rule else None) or "",
    }
    labels = {"alertname": alert.rule, "topic": alert.topic, "severity": alert.severity}
    return {
        "labels": {**(rule.labels if rule else {}), **labels},
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": (alert.fired_at or alert.since).isoformat(),
        "endsAt": (alert.resolved_at or ends_at).isoformat(),
        **({"generatorURL": link} if link else {}),
    }

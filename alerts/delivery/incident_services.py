"""Incident services: an alert opens one incident, and its end resolves that incident.

The id of the episode is the key of the incident: services recognise an alert by it when it is resolved or
sent again.  Apprise sends PagerDuty, Opsgenie, Jira and Splunk On-Call either without a key or in several
events, so their documented APIs are used here.  Other services of Apprise take a key in their URL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from alerts.delivery.channel_urls import options_of, scheme_of, service_of
from alerts.delivery.messages import subject_of
from alerts.delivery.page_text import plain_text
from stream.domain.alerts import AlertState, Severity
from stream.domain.budgets import cut

CLIENT = "sentiment-monitor"
PAGERDUTY_SEVERITIES = {Severity.PAGE: "critical", Severity.TICKET: "warning", Severity.INFO: "info"}
OPSGENIE_PRIORITIES = {Severity.PAGE: "P1", Severity.TICKET: "P3", Severity.INFO: "P5"}
SPLUNK_TYPES = {Severity.PAGE: "CRITICAL", Severity.TICKET: "WARNING", Severity.INFO: "INFO"}
PAGERDUTY_HOSTS = {"us": "events.pagerduty.com", "eu": "events.eu.pagerduty.com"}
OPSGENIE_HOSTS = {"us": "api.opsgenie.com", "eu": "api.eu.opsgenie.com"}
JIRA_ALERTS = "https://api.atlassian.com/jsm/ops/integration/v2/alerts"
SPLUNK_ALERTS = "https://alert.victorops.com/integrations/generic/20131114/alert"
# The documented limits of the services, in characters.
PAGERDUTY_SUMMARY, OPSGENIE_MESSAGE, OPSGENIE_DESCRIPTION, OPSGENIE_TAG = 1024, 130, 15_000, 50
# Services that Apprise lets resolve an incident by the key in their URL.
KEYED_BY_URL = {
    "squadcast",
    "ilert",
    "incidentio",
    "firehydrant",
    "pagertree",
    "signl4",
    "goalerts",
}


@dataclass(frozen=True, slots=True)
class IncidentRequest:
    """One POST of JSON to an incident service."""

    url: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def is_incident_service(channel_url: str) -> bool:
    """Whether every alert goes to this channel by itself: an incident has one key."""
    return scheme_of(channel_url) in {*_REQUESTS, *KEYED_BY_URL}


def incident_request(channel_url: str, page: Mapping[str, Any]) -> IncidentRequest | None:
    """What opens or resolves the incident of the page's alert; None if Apprise sends to this channel."""
    make = _REQUESTS.get(scheme_of(channel_url))
    if make is None:
        return None
    return make(service_of(channel_url), options_of(channel_url), page)


def keyed_url(channel_url: str, page: Mapping[str, Any]) -> str:
    """The URL by which Apprise opens and resolves the incident of the page, where the service has keys."""
    if scheme_of(channel_url) not in KEYED_BY_URL or {"dedup", "action"} & set(options_of(channel_url)):
        return channel_url
    key = urlencode({"dedup": page["id"], "action": "map"})
    return channel_url + ("&" if "?" in channel_url else "?") + key


def _pagerduty(service: Any, options: Mapping[str, str], page: Mapping[str, Any]) -> IncidentRequest:
    """Events API v2: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/"""
    event: dict[str, Any] = {
        "routing_key": service.integration_key,
        "event_action": "resolve" if _has_ended(page) else "trigger",
        "dedup_key": page["id"],
    }
    if not _has_ended(page):
        title, text = plain_text(page)
        links = [{"href": page["link"], "text": "evidence"}, {"href": page["runbook"], "text": "runbook"}]
        event |= {
            "client": CLIENT,
            "payload": {
                "summary": cut(f"{title}: {page['message']}", PAGERDUTY_SUMMARY),
                "source": CLIENT if service.source == "Apprise" else service.source,
                "severity": service.severity or PAGERDUTY_SEVERITIES.get(page["severity"], "critical"),
                "timestamp": page["fired_at"] or page["since"],
                "component": subject_of(page),
                "group": service.group or page["rule"],
                "class": service.class_id or "sentiment",
                "custom_details": {**_details(page), "text": text, **service.details},
            },
            "links": [link for link in links if str(link["href"] or "").startswith("http")],
        }
        if page["link"]:
            event["client_url"] = page["link"]
    return IncidentRequest(f"https://{PAGERDUTY_HOSTS[service.region_name]}/v2/enqueue", event)


def _opsgenie(service: Any, options: Mapping[str, str], page: Mapping[str, Any]) -> IncidentRequest:
    """Alert API: https://docs.opsgenie.com/docs/alert-api"""
    return _alert_api(f"https://{OPSGENIE_HOSTS[service.region_name]}/v2/alerts", service, options, page)


def _jira(service: Any, options: Mapping[str, str], page: Mapping[str, Any]) -> IncidentRequest:
    """Jira Service Management took over the Alert API of Opsgenie:
    https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v1/api-group-integration-events/"""
    return _alert_api(JIRA_ALERTS, service, options, page)


def _alert_api(
    alerts: str, service: Any, options: Mapping[str, str], page: Mapping[str, Any]
) -> IncidentRequest:
    headers = {"Authorization": f"GenieKey {service.apikey}"}
    title, text = plain_text(page)
    if _has_ended(page):
        url = f"{alerts}/{quote(page['id'], safe='')}/close?identifierType=alias"
        note = cut(text, OPSGENIE_DESCRIPTION)
        return IncidentRequest(url, {"source": CLIENT, "note": note}, headers)
    tags = [tag for tag in options.get("tags", "").replace(",", " ").split() if tag]
    priority = options.get("priority", "").upper()
    alert = {
        "message": cut(title, OPSGENIE_MESSAGE),
        "alias": page["id"],
        "description": cut(text, OPSGENIE_DESCRIPTION),
        "priority": priority if priority in _PRIORITIES else OPSGENIE_PRIORITIES.get(page["severity"], "P1"),
        "source": CLIENT,
        "entity": service.entity or subject_of(page),
        "tags": [cut(tag, OPSGENIE_TAG) for tag in (page["rule"], page["severity"], *tags)],
        "details": {name: str(value) for name, value in {**_details(page), **service.details}.items()},
    }
    if service.targets:
        alert["responders"] = service.targets
    return IncidentRequest(alerts, alert, headers)


_PRIORITIES = {f"P{number}" for number in range(1, 6)}


def _splunk(service: Any, options: Mapping[str, str], page: Mapping[str, Any]) -> IncidentRequest:
    """REST endpoint integration of Splunk On-Call, formerly VictorOps:
    https://help.splunk.com/en/splunk-enterprise/alert-and-respond/splunk-on-call"""
    title, text = plain_text(page)
    # The field is when the entity entered its current state.
    entered = (page["resolved_at"] if _has_ended(page) else page["fired_at"]) or page["since"]
    kind = SPLUNK_TYPES.get(page["severity"], "CRITICAL")
    incident = {
        # A label of the rule must not replace a field of the API.
        **_details(page),
        "message_type": "RECOVERY" if _has_ended(page) else kind,
        "entity_id": page["id"],
        "entity_display_name": title,
        "state_message": text,
        "state_start_time": int(datetime.fromisoformat(str(entered)).timestamp()),
        "monitoring_tool": CLIENT,
    }
    path = f"{quote(service.apikey, safe='')}/{quote(service.routing_key, safe='')}"
    return IncidentRequest(f"{SPLUNK_ALERTS}/{path}", incident)


_REQUESTS = {
    "pagerduty": _pagerduty, "opsgenie": _opsgenie, "jira": _jira, "splunk": _splunk
}  # fmt: skip


def _has_ended(page: Mapping[str, Any]) -> bool:
    return bool(page["state"] == AlertState.RESOLVED)


def _details(page: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and labels of the alert, without what is absent."""
    names = (
        "rule",
        "topic",
        "severity",
        "value",
        "threshold",
        "usual",
        "n",
        "stories_text",
        "uncertainty",
        "link",
        "runbook",
    )
    details = {name: page[name] for name in names if page.get(name) not in (None, "")}
    return {**page["labels"], **details}

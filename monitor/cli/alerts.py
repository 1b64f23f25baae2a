"""`monitor alerts`: a test page to the receivers."""

import json
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from alerts.delivery.alertmanager import alertmanager_alert, alertmanager_url
from alerts.delivery.answers import Attempt
from alerts.delivery.messages import alert_message, merge_pages
from alerts.delivery.notifiers import Channels, Webhooks, outcome
from alerts.delivery.pages import CHANNEL, WEBHOOK, PageRouter
from alerts.settings import AlertSettings
from monitor.cli.options import (
    CommandGroup,
    config_option,
    examples,
    json_option,
    load_settings_as_set,
    plain_errors,
)
from stream.domain.alerts import Alert, AlertState, Severity

RULE, TOPIC = "monitor-alerts-test", "test"
# Alertmanager takes a test alert for ended after this time.
TEST_LASTS = timedelta(minutes=5)
MOST_AT_ONCE = 8


@dataclass(frozen=True)
class TestedReceiver:
    """A receiver by its name, such as webhook:desk, and what sends it a test alert."""

    name: str
    attempt: Callable[[Alert], Attempt]


@dataclass(frozen=True)
class AnsweredTest:
    """What a receiver made of the test page, or of its end."""

    receiver: str
    state: AlertState
    attempt: Attempt

    @property
    def fields(self) -> dict[str, str]:
        return {
            "receiver": self.receiver,
            "state": self.state,
            "outcome": outcome(self.attempt.failure),
            "answered": self.attempt.answered,
        }


@click.group(cls=CommandGroup)
def alerts() -> None:
    """The receivers of alerts."""


@alerts.command(
    "test",
    epilog=examples(
        "monitor alerts test -c monitor.toml               every receiver",
        "monitor alerts test -c monitor.toml --resolve     and the end of the test",
        "monitor alerts test -c monitor.toml desk oncall   two of them",
    ),
)
@click.argument("receivers", nargs=-1, metavar="[RECEIVER]...")
@config_option
@click.option("--resolve", is_flag=True, help="Send the end of the test alert too: it closes its incident.")
@click.option(
    "--severity",
    type=click.Choice([severity.value for severity in Severity]),
    default=Severity.PAGE.value,
    show_default=True,
    help="As how urgent the test is sent: a page may wake people.",
)
@json_option
@plain_errors
def alerts_test(
    receivers: tuple[str, ...], config: Path | None, resolve: bool, severity: str, as_json: bool
) -> None:
    """Send a test page to every webhook, channel and Alertmanager, and say what each answered.

    Its text says that it is a test.  Nothing is stored: neither the outbox nor the alerts change.  The exit
    code is 1 if a receiver did not take it.
    """
    chosen = _chosen(_receivers(load_settings_as_set(config).alerts), receivers)
    states = (AlertState.FIRING, AlertState.RESOLVED) if resolve else (AlertState.FIRING,)
    run = partial(_test, alert=_test_alert(Severity(severity), datetime.now(UTC)), states=states)
    with ThreadPoolExecutor(min(MOST_AT_ONCE, len(chosen))) as pool:
        results = [result for found in pool.map(run, chosen) for result in found]
    if as_json:
        click.echo(json.dumps([result.fields for result in results]))
    else:
        _show(results)
    sys.exit(int(any(result.attempt.failure for result in results)))


def _receivers(settings: AlertSettings) -> list[TestedReceiver]:
    webhooks = Webhooks(settings.webhooks, settings.webhook_seconds)
    channels = Channels(settings.channels, settings.channel_seconds)
    urls = {name: alertmanager_url(url) for name, url in settings.alertmanagers.items()}
    managers = Webhooks(urls, settings.webhook_seconds)

    def to_webhook(name: str, alert: Alert) -> Attempt:
        return webhooks.attempt(name, msgspec.json.encode(_page(alert)))

    def to_channel(name: str, alert: Alert) -> Attempt:
        return channels.attempt(name, _page(alert))

    def to_alertmanager(name: str, alert: Alert) -> Attempt:
        body = [alertmanager_alert(alert, None, datetime.now(UTC) + TEST_LASTS, PageRouter())]
        return managers.attempt(name, msgspec.json.encode(body))

    kinds = (
        (WEBHOOK, settings.webhooks, to_webhook),
        (CHANNEL, settings.channels, to_channel),
        ("alertmanager:", settings.alertmanagers, to_alertmanager),
    )
    return [
        TestedReceiver(prefix + name, partial(send, name)) for prefix, names, send in kinds for name in names
    ]


def _chosen(receivers: Sequence[TestedReceiver], names: Sequence[str]) -> list[TestedReceiver]:
    """The receivers of these names, with or without what they are; all without names."""
    if not receivers:
        raise click.ClickException(
            "no receiver is configured: set alerts.webhooks, alerts.channels or alerts.alertmanagers"
        )
    known = [receiver.name for receiver in receivers]
    for name in names:
        if not any(name in (full, full.partition(":")[2]) for full in known):
            raise click.UsageError(f"there is no receiver {name!r}; there are {', '.join(known)}")
    return [
        receiver
        for receiver in receivers
        if not names or receiver.name in names or receiver.name.partition(":")[2] in names
    ]


def _test_alert(severity: Severity, now: datetime) -> Alert:
    """A test alert of this machine.  Its id stays the same, so that a later test can close its incident."""
    host = socket.gethostname()
    return Alert(
        id=f"{RULE}-{host}"[:64],
        rule=RULE,
        topic=TOPIC,
        severity=severity,
        state=AlertState.FIRING,
        since=now,
        value=0.0,
        threshold=0.0,
        n=0,
        uncertainty="",
        summary=f"TEST of the receivers by `monitor alerts test` on {host}; nothing has happened",
        fired_at=now,
        labels={"test": "true"},
    )


def _page(alert: Alert) -> dict[str, Any]:
    """The page as the outbox would hold it.  Its key is new each time: no receiver drops it as a repeat."""
    message = msgspec.to_builtins(alert_message(alert))
    moment = f"{alert.fired_at:%Y%m%dT%H%M%S}"
    return merge_pages([{**message, "key": f"{alert.id}:{moment}:{alert.state}", "test": True}])


def _test(receiver: TestedReceiver, alert: Alert, states: Sequence[AlertState]) -> list[AnsweredTest]:
    """Send the test alert in each of the states, up to the first that the receiver does not take."""
    results: list[AnsweredTest] = []
    for state in states:
        ended = datetime.now(UTC) if state == AlertState.RESOLVED else None
        attempt = receiver.attempt(replace(alert, state=state, resolved_at=ended))
        results.append(AnsweredTest(receiver.name, state, attempt))
        if attempt.failure:
            break
    return results


def _show(results: Sequence[AnsweredTest]) -> None:
    rows = [list(result.fields.values()) for result in results]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *columns, answered in rows:
        padded = [f"{text:<{width}}" for text, width in zip(columns, widths, strict=False)]
        click.echo("  ".join([*padded, answered]).rstrip())

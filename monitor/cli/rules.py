"""`monitor rules`: checking alert rules, and what the desk's verdicts say of them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.maintenance import open_store
from monitor.cli.options import (
    EXISTING,
    CommandGroup,
    config_option,
    examples,
    json_option,
    plain_errors,
)
from monitor.runtime import settings as settings_module

if TYPE_CHECKING:
    from alerts.detectors.base import Rule
    from alerts.incidents.advice import Advice
    from alerts.incidents.judgement import Precision
    from monitor.runtime.settings import Settings


@click.group(cls=CommandGroup)
def rules() -> None:
    """The alert rules."""


@rules.command("check", epilog=examples("monitor rules check rules.yaml"))
@click.argument("file", type=EXISTING)
@config_option
@plain_errors
def rules_check(file: Path, config: Path | None) -> None:
    """Check a rule file; each error names the file, the line and the rule."""
    loaded = _load(file, settings_module.load(config))
    budget = sum(rule.false_page_budget for rule in loaded)
    click.echo(f"{file}: {len(loaded)} rules; by chance alone they fire {budget:g} times a month at most")
    for rule in loaded:
        click.echo(f"  {rule.name}: {rule.type_name()}, {rule.severity}, {rule.scope_text}")


def _load(file: Path, settings: "Settings") -> "Sequence[Rule]":
    """The rules of a file.  Raises RuleError."""
    from alerts.rules.rule_file import load_rule_set
    from models.network.info import read_info
    from models.plan import event_types
    from monitor.entity_ids import resolver_of_settings

    topics = read_info(settings.models.weights).labels["topic"]
    alerts, resolve = settings.alerts, resolver_of_settings(settings.models)
    known = event_types(settings.models)
    return load_rule_set(file, topics, alerts.time_zone, resolve, alerts.watchlist, event_types=known).rules


@rules.command("advise", epilog=examples("monitor rules advise", "monitor rules advise --days 30 --json"))
@config_option
@click.option("--rules", "file", type=EXISTING, help="Rule file; default: alerts.rules of the settings.")
@click.option(
    "--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How far to look back."
)
@json_option
@plain_errors
def rules_advise(config: Path | None, file: Path | None, days: int, as_json: bool) -> None:
    """Propose changes of rules, from what the desk said of their incidents.

    The precision of each rule's pages stands beside its budget of false pages.  Nothing is changed: try a
    proposal with `monitor backtest`.
    """
    from alerts.incidents.advice import advise
    from alerts.incidents.judgement import Precision, precisions
    from stream.storage.desk.judgements import judged_alerts

    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    with open_store(config) as (settings, store):
        loaded, alerts = _load(file or settings.alerts.rules, settings), judged_alerts(store, since)
    found = precisions(alerts, since, now)
    rows = [(rule, found.get(rule.name, Precision(rule.name, now - since))) for rule in loaded]
    advised = [(rule, precision, advise(rule, alerts, precision)) for rule, precision in rows]
    if as_json:
        click.echo(json.dumps([_as_json(*each) for each in advised], indent=1))
        return
    for rule, precision, advice in advised:
        click.echo(f"{rule.name}: {precision.in_words}")
        click.echo(
            f"  wrong pages: {precision.wrong_a_month:.1f} a month; by chance alone it may send "
            f"{rule.false_page_budget:g}"
        )
        for each in advice:
            click.echo(f"  {each.in_words}")


def _as_json(rule: "Rule", precision: "Precision", advice: "Sequence[Advice]") -> dict[str, object]:
    return {
        "rule": rule.name,
        "incidents": precision.incidents,
        "right": precision.right,
        "wrong": dict(precision.wrong or {}),
        "precision": precision.share,
        "interval": precision.interval,
        "wrong_a_month": precision.wrong_a_month,
        "false_page_budget": rule.false_page_budget,
        "advice": [
            {"setting": each.setting, "present": each.present, "proposed": each.proposed, "why": each.why}
            for each in advice
        ],
    }


@rules.command("schema", epilog=examples("monitor rules schema > rules.schema.json"))
def rules_schema() -> None:
    """Print the JSON Schema of a rule file, for editors."""
    from alerts.rules.rule_file import schema

    click.echo(json.dumps(schema(), indent=1))

"""`monitor rules`: checking alert rules."""

import json
from pathlib import Path

import click

from monitor.cli.options import EXISTING, CommandGroup, config_option, examples, plain_errors
from monitor.runtime import settings as settings_module


@click.group(cls=CommandGroup)
def rules() -> None:
    """The alert rules."""


@rules.command("check", epilog=examples("monitor rules check rules.yaml"))
@click.argument("file", type=EXISTING)
@config_option
@plain_errors
def rules_check(file: Path, config: Path | None) -> None:
    """Check a rule file; each error names the file, the line and the rule."""
    from alerts.rules.rule_file import load_rule_set
    from models.network.info import read_info
    from models.plan import event_types
    from monitor.entity_ids import resolver_of_settings

    settings = settings_module.load(config)
    topics = read_info(settings.models.weights).labels["topic"]
    alerts, resolve = settings.alerts, resolver_of_settings(settings.models)
    known = event_types(settings.models)
    loaded = load_rule_set(file, topics, alerts.time_zone, resolve, alerts.watchlist, event_types=known).rules
    budget = sum(rule.false_page_budget for rule in loaded)
    click.echo(f"{file}: {len(loaded)} rules; by chance alone they fire {budget:g} times a month at most")
    for rule in loaded:
        click.echo(f"  {rule.name}: {rule.type_name()}, {rule.severity}, {rule.scope_text}")


@rules.command("schema", epilog=examples("monitor rules schema > rules.schema.json"))
def rules_schema() -> None:
    """Print the JSON Schema of a rule file, for editors."""
    from alerts.rules.rule_file import schema

    click.echo(json.dumps(schema(), indent=1))

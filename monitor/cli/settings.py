"""`monitor settings`: every setting, its value and its meaning."""

from pathlib import Path

import click
from pydantic_core import to_json
from rich.markup import escape
from rich.table import Table

from monitor.cli.options import config_option, examples, json_option, plain_errors, stdout_console
from monitor.runtime.settings import describe, load_as_set


@click.command("settings", epilog=examples("monitor settings", "monitor settings -c monitor.toml --json"))
@config_option
@json_option
@plain_errors
def show_settings(config: Path | None, as_json: bool) -> None:
    """Show every setting, its current value and what it means."""
    rows = [(name, value, field.description) for name, value, field in describe(load_as_set(config))]
    if as_json:
        click.echo(to_json({name: value for name, value, _ in rows}).decode())
        return
    table = Table(show_lines=False)
    for heading in ("setting", "value", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, value, meaning in rows:
        table.add_row(name, escape(str(value)), meaning or "")
    stdout_console().print(table)

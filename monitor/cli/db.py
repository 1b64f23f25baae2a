"""`monitor db`: creating and upgrading the database schema."""

import time
from pathlib import Path

import click

from monitor.cli.options import CommandGroup, config_option, examples, load_settings_as_set, plain_errors


@click.group(cls=CommandGroup)
def db() -> None:
    """The database."""


@db.command("upgrade", epilog=examples("monitor db upgrade -c monitor.toml"))
@config_option
@plain_errors
def db_upgrade(config: Path | None) -> None:
    """Create the tables, or upgrade them to this version's schema."""
    settings = load_settings_as_set(config)
    from stream.storage import database

    started = time.monotonic()
    revision = database.upgrade(settings.database)
    click.echo(f"schema at revision {revision} after {time.monotonic() - started:.1f} s")

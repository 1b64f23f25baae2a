"""`monitor db`: creating and upgrading the database schema."""

import json
import sys
import time
from pathlib import Path

import click

from monitor.cli.options import (
    CommandGroup,
    config_option,
    examples,
    json_option,
    load_settings_as_set,
    plain_errors,
    show_progress,
)


@click.group(cls=CommandGroup)
def db() -> None:
    """The database."""


@db.command("current", epilog=examples("monitor db current -c monitor.toml"))
@config_option
@json_option
@plain_errors
def db_current(config: Path | None, as_json: bool) -> None:
    """Show the revision of the schema here, the one that this version needs, and what to run.

    Exits with 1 if they differ.
    """
    settings = load_settings_as_set(config)
    from stream.storage import database

    current, needed = database.current_revision(settings.database), database.latest_revision()
    remedy = database.remedy(current)
    if as_json:
        click.echo(json.dumps({"current": current, "needed": needed, "what_to_do": remedy}))
    else:
        click.echo(f"the database is at {current or 'no revision: it has no tables'}")
        click.echo(f"this version needs {needed}: {remedy or 'nothing to do'}")
    sys.exit(0 if remedy is None else 1)


@db.command("upgrade", epilog=examples("monitor db upgrade -c monitor.toml"))
@config_option
@plain_errors
def db_upgrade(config: Path | None) -> None:
    """Create the tables, or upgrade them to this version's schema."""
    settings = load_settings_as_set(config)
    from stream.storage import database

    started, needed = time.monotonic(), database.latest_revision()
    with show_progress("upgrading") as update:
        revision = database.upgrade(
            settings.database,
            progress=lambda reached: update(0, None, f"upgrading to {needed}, now at {reached}"),
        )
    click.echo(f"schema at revision {revision} after {time.monotonic() - started:.1f} s")

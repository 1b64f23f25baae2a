"""`monitor leases`: freeing a lease whose holder is gone."""

from pathlib import Path

import click

from monitor.cli.maintenance import open_store
from monitor.cli.options import CommandGroup, config_option, examples, plain_errors


@click.group(cls=CommandGroup)
def leases() -> None:
    """The leases of background tasks; `monitor status` shows who holds them."""


@leases.command(
    "release", epilog=examples("monitor leases release alerts", "monitor leases release desk-1:4711")
)
@click.argument("name")
@config_option
@plain_errors
def leases_release(name: str, config: Path | None) -> None:
    """Free a lease, or all leases of a process (HOST:PID), so that nobody need wait until they end.

    It is for a holder that is gone.  One that still works takes them again, or another monitor does.
    """
    from stream.storage.leases import release_leases

    with open_store(config) as (_, store):
        released = release_leases(store.engine, name)
    if not released:
        raise click.ClickException(f"nobody holds a lease {name!r}, nor is it a holder: see `monitor status`")
    for lease, holder in released.items():
        click.echo(f"{lease}: released; {holder} held it")

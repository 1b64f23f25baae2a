"""`monitor leases`: freeing a lease whose holder is gone."""

from pathlib import Path

import click

from monitor.cli.maintenance import open_store
from monitor.cli.options import CommandGroup, config_option, examples, plain_errors


@click.group(cls=CommandGroup)
def leases() -> None:
    """The leases of background tasks; `monitor status` shows who holds them."""


@leases.command("release", epilog=examples("monitor leases release alerts"))
@click.argument("name")
@config_option
@plain_errors
def leases_release(name: str, config: Path | None) -> None:
    """Free a lease whose holder is gone, so that another monitor need not wait until it ends.

    A holder that still works takes it again, or another monitor does.
    """
    from stream.storage.leases import release_lease

    with open_store(config) as (_, store):
        holder = release_lease(store.engine, name)
    if holder is None:
        raise click.ClickException(f"nobody holds a lease {name!r}: `monitor status` lists them")
    click.echo(f"{name}: released; {holder} held it")

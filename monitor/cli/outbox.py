"""`monitor outbox`: deleting what waits for a receiver that is gone."""

from datetime import UTC, datetime
from pathlib import Path

import click

from monitor.cli.maintenance import open_store
from monitor.cli.options import CommandGroup, config_option, examples, plain_errors


@click.group(cls=CommandGroup)
def outbox() -> None:
    """What waits to be sent; `monitor status` shows it by target."""


@outbox.command("drop", epilog=examples("monitor outbox drop webhook:old-desk"))
@click.argument("target")
@click.option("--force", is_flag=True, help="Drop them although the settings name the target.")
@config_option
@plain_errors
def outbox_drop(target: str, force: bool, config: Path | None) -> None:
    """Delete what waits for a target, such as the pages of a receiver that is no longer configured.

    The pages get the outcome `dropped` in the table `deliveries`.  What they say stays in the database.
    """
    from monitor.runtime.tasks.installation import outbox_targets
    from stream.storage.outbox import Outbox

    with open_store(config) as (settings, store):
        if target in outbox_targets(settings) and not force:
            raise click.UsageError(
                f"the settings name {target}: its entries are sent once it accepts them. "
                "Add --force to delete them all the same"
            )
        dropped = Outbox(store.engine).drop(target, datetime.now(UTC))
    click.echo(f"{target}: {dropped} dropped")

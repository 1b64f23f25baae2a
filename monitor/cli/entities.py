"""`monitor entities`: the companies, coins and others that texts are linked to."""

import click

from monitor.cli.entities_unknown import unknown
from monitor.cli.options import CommandGroup


@click.group(cls=CommandGroup)
def entities() -> None:
    """The companies, coins and others that texts are linked to."""


entities.add_command(unknown)

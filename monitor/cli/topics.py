"""`monitor topics`: creating the Kafka topics."""

from pathlib import Path

import click

from monitor.cli.options import CommandGroup, config_option, examples, load_settings_as_set, plain_errors


@click.group(cls=CommandGroup)
def topics() -> None:
    """The Kafka topics."""


@topics.command("create", epilog=examples("monitor topics create -c monitor.toml"))
@config_option
@plain_errors
def topics_create(config: Path | None) -> None:
    """Create the topics that are missing."""
    kafka = load_settings_as_set(config).kafka
    from stream.kafka import admin

    created = admin.create_topics(kafka)
    for name in (*kafka.kinds, *kafka.output_topics):
        click.echo(f"{name}: {'created' if name in created else 'was there'}")

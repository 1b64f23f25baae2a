"""`monitor offsets`: where reading Kafka continues after the database was restored."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.maintenance import open_store_and_topics
from monitor.cli.options import config_option, examples, json_option, plain_errors

if TYPE_CHECKING:
    from stream.offsets import PartitionOffsets


@click.group()
def offsets() -> None:
    """Read positions in Kafka, for a database that was restored or is new."""


@offsets.command("show", epilog=examples("monitor offsets show -c monitor.toml"))
@config_option
@json_option
@plain_errors
def offsets_show(config: Path | None, as_json: bool) -> None:
    """Show Kafka's committed offsets and those in SQL, which decide what is read."""
    from stream import offsets as kafka_offsets

    with open_store_and_topics(config) as (settings, store, incarnations):
        rows = kafka_offsets.compare_offsets(settings.kafka, store, incarnations)
    if as_json:
        answer = [
            {
                "topic": row.partition.topic,
                "partition": row.partition.number,
                "committed": row.committed,
                "stored": row.stored,
            }
            for row in rows
        ]
        click.echo(json.dumps(answer))
        return
    for row in rows:
        unread = f", {row.unread} UNREAD" if row.unread else ""
        committed, stored = _or_nothing(row.committed), _or_nothing(row.stored)
        click.echo(f"{row.partition}: Kafka {committed}, SQL {stored}{unread}")


@offsets.command("rewind", epilog=examples("monitor offsets rewind -c monitor.toml"))
@config_option
@plain_errors
def offsets_rewind(config: Path | None) -> None:
    """Read again the messages that the database lacks: set the consumer group back to SQL's offsets.

    Stop every monitor first.
    """
    from stream import offsets as kafka_offsets

    with open_store_and_topics(config) as (settings, store, incarnations):
        _report(kafka_offsets.rewind(settings.kafka, store, incarnations), "will be read again")


@offsets.command("accept", epilog=examples("monitor offsets accept -c monitor.toml"))
@config_option
@plain_errors
def offsets_accept(config: Path | None) -> None:
    """Skip the messages that the database lacks: continue at the consumer group's offsets."""
    from stream import offsets as kafka_offsets

    with open_store_and_topics(config) as (settings, store, incarnations):
        _report(
            kafka_offsets.accept(settings.kafka, store, incarnations, datetime.now(UTC)),
            "will be skipped for good",
        )


def _or_nothing(offset: int | None) -> str:
    return "nothing" if offset is None else str(offset)


def _report(changed: Iterable["PartitionOffsets"], what_happens: str) -> None:
    changed = list(changed)
    for row in changed:
        click.echo(f"{row.partition}: {row.unread} messages {what_happens}")
    if not changed:
        click.echo("nothing to do: Kafka is not ahead of the database")

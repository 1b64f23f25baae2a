"""`monitor offsets`: where reading Kafka continues, and repairing it where Kafka and SQL disagree."""

import getpass
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.maintenance import open_store_and_topics
from monitor.cli.options import (
    CommandGroup,
    config_option,
    examples,
    json_option,
    plain_errors,
    plain_table,
    stdout_console,
)

if TYPE_CHECKING:
    from stream.kafka.admin import Member
    from stream.kafka.settings import KafkaSettings
    from stream.offsets import PartitionOffsets, Repair


class PartitionName(click.ParamType):
    """TOPIC:PARTITION, as a topic and a number."""

    name = "TOPIC:PARTITION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        topic, _, number = str(value).rpartition(":")
        if not topic or not number.isdecimal():
            self.fail(f"{value!r}: TOPIC:PARTITION was expected, as in news:0", param, ctx)
        return topic, int(number)


partition_argument = click.argument("partition", type=PartitionName())
Partition = tuple[str, int]


@click.group(cls=CommandGroup)
def offsets() -> None:
    """Read positions in Kafka, for a database or a log that was restored, cut or is new."""


@offsets.command("show", epilog=examples("monitor offsets show -c monitor.toml"))
@config_option
@json_option
@plain_errors
def offsets_show(config: Path | None, as_json: bool) -> None:
    """Show Kafka's log and committed offsets, those in SQL, which decide what is read, and who reads.

    The lag counts the offsets between SQL and the end of the log.  Where reading on would lose messages, say
    why and what to do.
    """
    from stream import offsets as kafka_offsets

    with open_store_and_topics(config) as (settings, store, incarnations):
        rows = kafka_offsets.compare_offsets(settings.kafka, store, incarnations)
    members, unknown = _members(settings.kafka)
    owners = {(owned.topic, owned.partition): member for member in members for owned in member.partitions}
    group = settings.kafka.group
    if as_json:
        click.echo(json.dumps([_offsets_row(row, owners.get(_key(row)), group) for row in rows]))
        return
    table = plain_table(
        "partition", "log start", "log end", "Kafka", "SQL", "lag", "owner", "owner's address"
    )
    for row in rows:
        owner = owners.get(_key(row))
        cells = (row.log and row.log.start, row.log and row.log.end, row.committed, row.stored, row.lag)
        client_and_host = (owner.client, owner.host) if owner else ("unknown" if unknown else "nobody", "")
        table.add_row(str(row.partition), *map(_or_dash, cells), *client_and_host)
    stdout_console().print(table)
    click.echo(unknown or f"{len(members)} workers in the group {group}")
    idle = [member for member in members if not member.partitions]
    for member in idle:
        click.echo(f"without a partition: {member.client} at {member.host}")
    for row in rows:
        if row.problem:
            click.echo(f"{row.problem.upper()} {row.explain(group)}")


def _members(kafka: "KafkaSettings") -> "tuple[list[Member], str | None]":
    """The workers of the group, and why they are unknown: a broker may tell offsets and not them."""
    from stream.domain.errors import BrokerError
    from stream.kafka import admin

    try:
        return admin.members(kafka), None
    except BrokerError as error:
        return [], f"the workers of the group are unknown: {error}"


def _key(row: "PartitionOffsets") -> Partition:
    return row.partition.topic, row.partition.number


def _offsets_row(row: "PartitionOffsets", owner: "Member | None", group: str) -> dict[str, Any]:
    return {
        "topic": row.partition.topic,
        "partition": row.partition.number,
        "log_start": row.log and row.log.start,
        "log_end": row.log and row.log.end,
        "committed": row.committed,
        "stored": row.stored,
        "lag": row.lag,
        "owner": owner and owner.client,
        "owner_host": owner and owner.host,
        "problem": row.problem,
        "what_to_do": row.explain(group) or None,
    }


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


@offsets.command(
    "skip",
    epilog=examples(
        "monitor offsets skip news:0 --from 5120 --to 5120",
        'monitor offsets skip news:0 --from 40 --to 99 --why "expired during the outage of 3 May"',
    ),
)
@partition_argument
@click.option("--from", "first", type=click.IntRange(0), required=True, help="First offset to leave out.")
@click.option("--to", "last", type=click.IntRange(0), required=True, help="Last offset to leave out.")
@click.option("--why", default="no reason given", help="Reason, for the dead letter.")
@config_option
@plain_errors
def offsets_skip(partition: Partition, first: int, last: int, why: str, config: Path | None) -> None:
    """Step over messages of one partition that cannot be read, or that Kafka no longer has.

    The offset that is read next must be in the range.  A dead letter with the reason `skipped` keeps what was
    left out, when, why and by whom.  Stop every monitor first.
    """
    from stream.offsets import OffsetRange

    if last < first:
        raise click.UsageError(f"--to {last} is before --from {first}")
    wanted = OffsetRange(*partition, first, last)
    signed = f"{why} ({_user()})"
    skipped = _repair(config, lambda repair, now: repair.skip(wanted, signed, now))
    click.echo(f"skipped {skipped}; a dead letter of {partition[0]}[{partition[1]}]@{skipped.first} says so")


@offsets.command("reset", epilog=examples("monitor offsets reset news:0 --to 100"))
@partition_argument
@click.option("--to", "offset", type=click.IntRange(0), required=True, help="Offset to read next.")
@config_option
@plain_errors
def offsets_reset(partition: Partition, offset: int, config: Path | None) -> None:
    """Read one partition again from an offset on, as after its log was cut.

    Documents that are read again are not counted again.  Stop every monitor first.
    """
    before = _repair(config, lambda repair, now: repair.reset(*partition, offset, now))
    click.echo(f"{partition[0]}:{partition[1]}: the next message to read is at {offset}; it was at {before}")


def _repair(config: Path | None, work: Callable[["Repair", datetime], Any]) -> Any:
    from stream.offsets import Repair
    from stream.outbound import BatchOutbound

    with open_store_and_topics(config) as (settings, store, incarnations):
        outbound = BatchOutbound(settings.kafka, settings.stream.publish_predictions)
        return work(Repair(settings.kafka, store, incarnations, outbound), datetime.now(UTC))


def _user() -> str:
    """Who runs this command; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown user"


def _or_dash(offset: int | None) -> str:
    return "-" if offset is None else str(offset)


def _report(changed: Iterable["PartitionOffsets"], what_happens: str) -> None:
    changed = list(changed)
    for row in changed:
        click.echo(f"{row.partition}: {row.unread} messages {what_happens}")
    if not changed:
        click.echo("nothing to do: Kafka is not ahead of the database")

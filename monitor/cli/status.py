"""`monitor status`: what all monitors do and what is wrong; `monitor.health` finds it out."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.cli.options import (
    config_option,
    examples,
    json_option,
    load_settings_as_set,
    plain_errors,
    plain_table,
    stdout_console,
)

if TYPE_CHECKING:
    from monitor.health.report import Problem, Report
    from stream.storage.leases import HeldLease
    from stream.storage.outbox import TargetDepth


@click.command(epilog=examples("monitor status -c monitor.toml", "monitor status --json | jq .problems"))
@config_option
@json_option
@plain_errors
def status(config: Path | None, as_json: bool) -> None:
    """Show workers, lag, leases, outbox and problems of all monitors, and what to do about the problems.

    Asks the database and Kafka, so it works while no monitor runs; what only the monitor on this machine
    knows comes from its HTTP port.  What cannot be found out is shown as unknown.  Exits with 1 if there are
    problems.
    """
    settings = load_settings_as_set(config)
    from monitor.health.problems import find_problems
    from monitor.health.report import as_json as report_as_json
    from monitor.health.report import ask

    report = ask(settings)
    problems = find_problems(report)
    if as_json:
        click.echo(json.dumps(report_as_json(report, problems), indent=2))
    else:
        show(report, problems, stdout_console())
    sys.exit(1 if problems else 0)


def show(report: "Report", problems: "Sequence[Problem]", console: Console) -> None:
    """Print the report for people."""
    for problem in problems:
        console.print(f"[red]PROBLEM[/] {escape(str(problem))}", highlight=False, soft_wrap=True)
    if not problems:
        console.print("[green]no problems[/]", highlight=False)
    for line in _summary(report):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for table in _tables(report):
        if table.row_count:
            console.print()
            console.print(table)


def _summary(report: "Report") -> Iterator[str]:
    from monitor.health.report import Unanswered

    found, kafka, local = report.database, report.kafka, report.local
    if isinstance(found, Unanswered):
        yield f"database  unknown: {found.problem}"
    else:
        yield f"database  answers, schema {found.revision or 'none'} (needed: {found.needed})"
        yield f"          last document {_since(found.last_document, found.now)}"
        yield f"          rules evaluated {_since(found.rules_evaluated, found.now)}"
    yield f"kafka     {f'unknown: {kafka.problem}' if isinstance(kafka, Unanswered) else 'answers'}"
    if isinstance(local, Unanswered):
        yield f"monitor   unknown: {local.problem}"
    else:
        ready = "ready" if local.ready else f"not ready: {'; '.join(local.reasons)}"
        yield f"monitor   {report.url} {ready}, {_known(local.rebalances)} rebalances"


def _tables(report: "Report") -> Iterator[Table]:
    from monitor.health.report import DatabaseState, KafkaState, LocalState

    knows_members = isinstance(report.kafka, KafkaState) and report.kafka.members is not None
    absent = "not in the group" if knows_members else "unknown"
    workers = plain_table("worker", "address", "partitions", "leases")
    for name, host, partitions, leases in report.workers() or ():
        owned = " ".join(f"{tp.topic}[{tp.partition}]" for tp in partitions or ())
        _add(workers, name, host or "unknown", owned if partitions is not None else absent, " ".join(leases))
    yield workers
    found, kafka, local = report.database, report.kafka, report.local
    lag = plain_table("partition", "lag")
    for row in (kafka.partitions if isinstance(kafka, KafkaState) else None) or ():
        _add(lag, str(row.partition), _known(row.lag))
    yield lag
    topics = plain_table("topic", "circuit breaker", "bytes in hand", "paused partitions")
    for topic in local.topics if isinstance(local, LocalState) else ():
        breaker = {True: "open", False: "closed", None: "unknown"}[topic.breaker_open]
        paused = " ".join(map(str, topic.paused)) or "-"
        _add(topics, topic.topic, breaker, _known(topic.in_hand_bytes), paused)
    yield topics
    if isinstance(found, DatabaseState):
        yield _leases_table(found.leases or ())
        letters = plain_table("dead letters of 24 hours", "not sent again")
        for count in found.dead_letters or ():
            _add(letters, count.reason, str(count.letters))
        yield letters
        yield _outbox_table(found.outbox or (), report.targets, found.now)


def _leases_table(leases: "Iterable[HeldLease]") -> Table:
    table = plain_table("lease", "holder", "expires")
    for lease in leases:
        seconds = lease.left.total_seconds()
        over = f"in {seconds:.0f} s" if seconds > 0 else f"free, {-seconds:.0f} s ago"
        _add(table, lease.name, lease.holder, over)
    return table


def _outbox_table(rows: "Iterable[TargetDepth]", targets: list[str], now: datetime) -> Table:
    table = plain_table("outbox", "entries", "oldest", "due", "failing", "last error")
    for row in rows:
        name = row.target if row.target in targets else f"{row.target} (not in the settings)"
        times = (_since(row.oldest, now), _since(row.due_since, now), _since(row.failing_since, now))
        _add(table, name, str(row.entries), *times, row.last_error or "-")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(escape, cells))


def _known(value: object) -> str:
    return "unknown" if value is None else str(value)


def _since(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "-"
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} ({(now - at).total_seconds():.0f} s ago)"

"""`monitor sums`: the sums over a topic or an entity, as they were known at any time."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.maintenance import open_store
from monitor.cli.options import (
    config_option,
    examples,
    json_option,
    parse_time,
    plain_errors,
    plain_table,
    stdout_console,
)

if TYPE_CHECKING:
    from stream.domain.sums import Aggregate
    from stream.storage.history import Answer, Question


@click.command(
    epilog=examples(
        "monitor sums --topic Earnings --from 2026-03-01 --until 2026-03-02",
        "monitor sums --entity XNAS:AAPL --from 2026-03-01T09:00Z --known-at 2026-03-01T15:30Z --json",
    )
)
@config_option
@click.option("--topic", help="Count the documents of this topic.")
@click.option("--entity", help="Count the documents that mention this entity, such as XNAS:AAPL.")
@click.option("--min-relevance", type=click.IntRange(0, 100), default=0, help="Only mentions with so much.")
@click.option("--kind", type=click.Choice(["news", "comment"]), help="Only documents of this kind.")
@click.option("--from", "start", callback=parse_time, required=True, help="Published at or after this time.")
@click.option("--until", "end", callback=parse_time, help="Published before this time; default: now.")
@click.option("--known-at", callback=parse_time, help="As it was known at this time; default: now.")
@json_option
@plain_errors
def sums(
    config: Path | None,
    topic: str | None,
    entity: str | None,
    min_relevance: int,
    kind: str | None,
    start: datetime,
    end: datetime | None,
    known_at: datetime | None,
    as_json: bool,
) -> None:
    """Add up documents over a time range, with the labels and entities that they had at a time.

    Only documents that had been received then count.  Later corrections, other models and other lists of
    entities change nothing.  Before the database kept its changes, the answer is "unknown".
    """
    if (topic is None) == (entity is None):
        raise click.UsageError("name either a --topic or an --entity")
    if min_relevance and entity is None:
        raise click.UsageError("--min-relevance is for an --entity")
    now = datetime.now(UTC)
    if known_at is not None and known_at > now:
        raise click.UsageError(f"--known-at {known_at:%Y-%m-%dT%H:%M:%SZ} is in the future")
    from stream.domain.sums import TimeRange
    from stream.storage.history import Question, sums_known_at

    published = TimeRange(start, end or now)
    if published.end <= published.start:
        raise click.UsageError("--until must be after --from")
    question = Question(published, topic, entity, min_relevance, (kind,) if kind else ())
    with open_store(config) as (_, store):
        answer = sums_known_at(store, question, known_at or now)
    if as_json:
        click.echo(json.dumps(_as_json(question, answer)))
    elif answer.total is None:
        click.echo(f"unknown: changes of documents are kept since {_time(answer.since)}, not before")
    else:
        _print_table(answer)


def _as_json(question: "Question", answer: "Answer") -> dict[str, Any]:
    kinds = None if answer.sums is None else {kind: _fields(each) for kind, each in answer.sums.items()}
    return {
        "topic": question.topic,
        "entity": question.entity,
        "min_relevance": question.min_relevance,
        "from": _time(question.published.start),
        "until": _time(question.published.end),
        "known_at": _time(answer.at),
        "known": answer.sums is not None,
        "changes_kept_since": _time(answer.since),
        "sums": None if answer.total is None else _fields(answer.total),
        "kinds": kinds,
    }


def _fields(total: "Aggregate") -> dict[str, Any]:
    from stream.domain.sums import SUM_FIELDS

    return dict(zip(SUM_FIELDS, total.totals, strict=True)) | {"mean_score": total.mean}


def _time(stamp: datetime) -> str:
    return stamp.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _print_table(answer: "Answer") -> None:
    columns = ("n", "positive", "neutral", "negative", "uncertain")
    table = plain_table("kind", *columns, "mean score")
    rows = {**(answer.sums or {}), "all": answer.total}
    for kind, total in rows.items():
        if total is not None:
            mean = "-" if total.mean is None else f"{total.mean:+.4f}"
            table.add_row(kind, *[str(getattr(total, name)) for name in columns], mean)
    click.echo(f"known at {_time(answer.at)}")
    stdout_console().print(table)

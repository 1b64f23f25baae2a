"""Commands about what is stored: feeding, erasing, judging and reading again."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from monitor.cli.options import (
    EXISTING,
    config_option,
    counting,
    examples,
    json_option,
    map_option,
    parse_time,
    plain_errors,
    progress,
)
from monitor.runtime import log, settings
from monitor.runtime.settings import Settings


def parse_speed(_context: click.Context, _parameter: click.Parameter, value: str) -> float | None:
    if value == "max":
        return None
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.BadParameter(f"{value!r}: a number above 0, or max, was expected")
    return speed


@click.command(
    epilog=examples(
        "monitor feed news.jsonl --kind news --speed max",
        "monitor feed headlines.jsonl --map published_at=ts --speed 3600",
        "tail -f posts.jsonl | monitor feed - --kind comment --shift-to-now",
    )
)
@click.argument("file", type=EXISTING)
@config_option
@click.option("--kind", type=click.Choice(["news", "comment"]), default="news", show_default=True)
@click.option("--speed", default="1", callback=parse_speed, show_default=True,
              help="How many times faster than the stamps; max: as fast as it goes.")  # fmt: skip
@click.option("--shift-to-now", is_flag=True, help="Stamp every text with the time it is sent.")
@click.option("--source", help="Source of rows that name none.")
@map_option("id, source, published_at, title, text, author, url, symbols, lang")
@json_option
@plain_errors
def feed(
    file: Path,
    config: Path | None,
    kind: str,
    speed: float | None,
    shift_to_now: bool,
    source: str | None,
    columns: Mapping[str, str],
    as_json: bool,
) -> None:
    """Replay stamped JSON lines from FILE (or - for standard input) into Kafka."""
    from stream import feed as feeding
    from stream.kafka import admin

    if complaint := feeding.unknown_field(columns):
        raise click.BadParameter(complaint)
    chosen = settings.load(config)
    log.set_up(chosen.log)
    topic = {each.value: name for name, each in chosen.kafka.kinds.items()}[kind]
    admin.incarnations(chosen.kafka, [topic])
    options = feeding.FeedOptions(columns, speed, shift_to_now, source)
    producer = admin.producer(chosen.kafka, linger_ms=20, batch_size=1 << 16)
    with click.open_file(str(file), "rb") as lines, progress(file, "feeding") as advance:
        report = feeding.send_rows(
            feeding.lines_of(lines), str(file), topic, producer, options, progress=advance
        )
    producer.close()
    for complaint in report.refused:
        click.echo(complaint, err=True)
    rate = report.sent / report.seconds if report.seconds else 0.0
    if as_json:
        summary: dict[str, float] = {"sent": report.sent, "refused": report.refused_rows}
        summary |= {"seconds": round(report.seconds, 3), "per_second": round(rate, 1)}
        click.echo(json.dumps(summary))
    else:
        done = f"{report.sent} sent to {topic}, {report.refused_rows} refused"
        click.echo(f"{done}, {report.seconds:.1f} s, {rate:.0f} documents/s")
    sys.exit(1 if report.refused_rows else 0)


@click.command(epilog=examples("monitor purge --older-than 90", "monitor purge --older-than 90 --dry-run"))
@config_option
@click.option("--older-than", type=click.IntRange(1), required=True, help="Days since they were received.")
@click.option("--dry-run", is_flag=True, help="Only say how many documents it would be.")
@plain_errors
def purge(config: Path | None, older_than: int, dry_run: bool) -> None:
    """Erase old texts, authors and evidence; labels, scores, sums and identities stay."""
    from stream.storage import retention

    now = datetime.now(UTC)
    with _stored(config) as (_, store):
        total = retention.count_purgeable(store, now - timedelta(days=older_than))
        if dry_run:
            click.echo(f"{total} documents would lose their texts")
            return
        with counting("purging", total) as advance:
            done = retention.purge(store, now - timedelta(days=older_than), now, advance)
    click.echo(
        f"{done.documents} documents lost their texts, {done.alerts} alerts their evidence, "
        f"{done.dead_letters} dead letters their details"
    )


@click.command(
    epilog=examples(
        "monitor relabel -c monitor.toml                       after another model was promoted",
        "monitor relabel --model registry/house-0123 --from 2026-03-01",
    )
)
@config_option
@click.option("--model", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Model folder or registry; without it that of the settings.")  # fmt: skip
@click.option("--from", "start", callback=parse_time, help="Documents published from here on; default: all.")
@click.option("--to", "end", callback=parse_time, help="... and before this.")
@plain_errors
def relabel(config: Path | None, model: Path | None, start: datetime | None, end: datetime | None) -> None:
    """Judge stored documents again, and change the aggregates by the difference.

    The live stream goes on meanwhile; a run that was cut short goes on where it was.
    """
    from models import backend_selection
    from models.inference.engine import Engine
    from stream.domain.documents import EPOCH
    from stream.domain.sums import TimeRange
    from stream.outbound import BatchOutbound
    from stream.storage import relabel as relabeling

    with _stored(config) as (chosen, store):
        own = chosen.models.model_copy(update={"weights": model}) if model else chosen.models
        engine = Engine.load(backend_selection.select_backend(own))
        published = TimeRange(start or EPOCH, end or datetime.max.replace(tzinfo=UTC))
        total = relabeling.count_outdated(store, published, engine.info.version)
        outbound = BatchOutbound(chosen.kafka, chosen.stream.publish_predictions)
        with counting("judging", total) as advance:
            done = relabeling.relabel(
                store,
                published,
                engine.info.version,
                classify=engine.classify,
                outbound=outbound,
                clock=lambda: datetime.now(UTC),
                progress=advance,
            )
    click.echo(f"{done} documents judged by {engine.info.version}")


@click.command(
    epilog=examples(
        "monitor replay -c monitor.toml --from 2026-03-01T09:00:00Z",
        "monitor replay --from 2026-03-01 --recount-only",
    )
)
@config_option
@click.option("--from", "start", callback=parse_time, required=True, help="Time from which on to look.")
@click.option("--recount-only", is_flag=True, help="Only hold the aggregates against the documents.")
@plain_errors
def replay(config: Path | None, start: datetime, recount_only: bool) -> None:
    """Read Kafka again from a time on, write what the database lost, and count its aggregates again.

    What the database holds is left as it is.  The live stream goes on meanwhile, and so may be repeated.
    """
    from models import backend_selection
    from models.inference.engine import Engine
    from stream.codec import Codec
    from stream.domain.sums import TimeRange
    from stream.outbound import BatchOutbound
    from stream.replay import Replay, Replayed
    from stream.storage import recount

    with _standing(config) as (chosen, store, incarnations):
        done, now = Replayed(), datetime.now(UTC)
        if not recount_only:
            engine = Engine.load(backend_selection.select_backend(chosen.models))
            outbound = BatchOutbound(chosen.kafka, chosen.stream.publish_predictions)
            reader = Replay(
                chosen.kafka, store, Codec.of(chosen.stream), engine.classify, outbound, incarnations,
                lambda: datetime.now(UTC),
            )  # fmt: skip
            with counting("reading", None) as advance:
                done = reader.run(start, advance)
        times = TimeRange(min(start, done.first or start), now + timedelta(hours=1))
        with counting("counting hours", None) as advance:
            wrong = recount.recount(store, times, advance)
    click.echo(
        f"{done.read} messages read, {done.restored} documents restored, {done.refused} cannot be read, "
        f"{wrong} rows of the aggregates mended"
    )


@click.group()
def offsets() -> None:
    """How far Kafka was read, where the database was restored or is new."""


@offsets.command("show", epilog=examples("monitor offsets show -c monitor.toml"))
@config_option
@json_option
@plain_errors
def offsets_show(config: Path | None, as_json: bool) -> None:
    """Kafka's committed offsets beside those in SQL, which are the ones that count."""
    from stream import offsets as kafka_offsets

    with _standing(config) as (chosen, store, incarnations):
        found = kafka_offsets.standings(chosen.kafka, store, incarnations)
    if as_json:
        rows = [
            {
                "topic": s.partition.topic,
                "partition": s.partition.number,
                "committed": s.committed,
                "stored": s.stored,
            }
            for s in found
        ]
        click.echo(json.dumps(rows))
        return
    for standing in found:
        click.echo(
            f"{standing.partition}: Kafka {_or_nothing(standing.committed)}, "
            f"SQL {_or_nothing(standing.stored)}" + (f", {standing.unread} UNREAD" if standing.unread else "")
        )


@offsets.command("rewind", epilog=examples("monitor offsets rewind -c monitor.toml"))
@config_option
@plain_errors
def offsets_rewind(config: Path | None) -> None:
    """Read again what the database does not hold: set Kafka's group back to where SQL is.

    No monitor may run meanwhile.
    """
    from stream import offsets as kafka_offsets

    with _standing(config) as (chosen, store, incarnations):
        _told(kafka_offsets.rewind(chosen.kafka, store, incarnations), "will be read again")


@offsets.command("accept", epilog=examples("monitor offsets accept -c monitor.toml"))
@config_option
@plain_errors
def offsets_accept(config: Path | None) -> None:
    """Leave out what the database does not hold: go on where Kafka's group is."""
    from stream import offsets as kafka_offsets

    with _standing(config) as (chosen, store, incarnations):
        _told(
            kafka_offsets.accept(chosen.kafka, store, incarnations, datetime.now(UTC)),
            "are left out for good",
        )


@contextmanager
def _stored(config: Path | None) -> Iterator[tuple[Settings, Any]]:
    """The settings and the store, whose schema is the one this version knows."""
    from stream.storage import database
    from stream.storage.batches import Store

    chosen = settings.load(config)
    log.set_up(chosen.log)
    store = Store(database.connect(chosen.database), chosen.stream.window_seconds)
    try:
        database.check_schema(store.engine)
        yield chosen, store
    finally:
        store.engine.dispose()


@contextmanager
def _standing(config: Path | None) -> Iterator[tuple[Settings, Any, Mapping[str, str]]]:
    """The settings, the store and the topics' incarnations."""
    from stream.kafka import admin

    with _stored(config) as (chosen, store):
        yield chosen, store, admin.incarnations(chosen.kafka, chosen.kafka.kinds)


def _or_nothing(offset: int | None) -> str:
    return "nothing" if offset is None else str(offset)


def _told(changed: Iterable[Any], what: str) -> None:
    changed = list(changed)
    for standing in changed:
        click.echo(f"{standing.partition}: {standing.unread} messages {what}")
    if not changed:
        click.echo("nothing to do: Kafka is not ahead of the database")

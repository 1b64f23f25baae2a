"""`monitor purge`, `relabel` and `replay`: changing what the database holds."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.options import (
    config_option,
    counting,
    examples,
    load_settings,
    parse_time,
    plain_errors,
)
from monitor.runtime.settings import Settings

if TYPE_CHECKING:
    from stream.storage.batches import Store


@contextmanager
def open_store(config: Path | None) -> Iterator[tuple[Settings, "Store"]]:
    """The settings and the store.  Raises SchemaError where its schema is not this version's."""
    from stream.storage import database
    from stream.storage.batches import Store
    from stream.stories.publishers import load_publishers

    settings = load_settings(config)
    house = settings.stream.publishers
    publishers = (
        load_publishers(house) if house else None
    )  # the shipped ones are read when a command needs them
    store = Store(database.connect_existing(settings.database), settings.stream.window_seconds, publishers)
    try:
        yield settings, store
    finally:
        store.engine.dispose()


@contextmanager
def open_store_and_topics(config: Path | None) -> Iterator[tuple[Settings, "Store", Mapping[str, str]]]:
    """The settings, the store, and the incarnations of the topics that the monitor reads."""
    from stream.kafka import admin

    with open_store(config) as (settings, store):
        yield settings, store, admin.incarnations(settings.kafka, settings.kafka.kinds)


@click.command(epilog=examples("monitor purge --older-than 90", "monitor purge --older-than 90 --dry-run"))
@config_option
@click.option("--older-than", type=click.IntRange(1), required=True, help="Days since the text was received.")
@click.option("--dry-run", is_flag=True, help="Only print how many documents would be purged.")
@plain_errors
def purge(config: Path | None, older_than: int, dry_run: bool) -> None:
    """Erase old texts, authors and evidence; keep labels, scores, sums and identities."""
    from stream.storage import retention

    now = datetime.now(UTC)
    with open_store(config) as (_, store):
        total = retention.count_purgeable(store, now - timedelta(days=older_than), now)
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
        "monitor relabel --for-switch --model registry/house-0123   before and after promoting another model",
        "monitor relabel --model registry/house-0123 --from 2026-03-01",
    )
)
@config_option
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model folder or registry; default: models.weights of the settings.",
)
@click.option("--from", "start", callback=parse_time, help="Only documents published at or after this time.")
@click.option("--to", "end", callback=parse_time, help="Only documents published before this time.")
@click.option(
    "--for-switch",
    is_flag=True,
    help="Only what the rules compare with, for a switch of the model: their longest baseline.",
)
@plain_errors
def relabel(
    config: Path | None, model: Path | None, start: datetime | None, end: datetime | None, for_switch: bool
) -> None:
    """Classify stored documents again, and update the aggregates by the difference.

    The monitor may run meanwhile.  An interrupted run continues where it stopped.
    """
    if for_switch and (start or end):
        raise click.UsageError("--for-switch takes its times from the rules: leave out --from and --to")
    from alerts.rules.rule_file import load_rules
    from alerts.windows.window_reader import longest_comparison
    from models import backend_selection
    from models.document_classifier import DocumentClassifier
    from models.loading import as_labelled
    from stream.domain.documents import EPOCH
    from stream.domain.sums import TimeRange
    from stream.outbound import BatchOutbound
    from stream.storage import relabel as relabeling

    with open_store(config) as (settings, store):
        model_settings = settings.models
        if model:
            model_settings = model_settings.model_copy(update={"weights": model})
        if for_switch:
            rules = load_rules(settings.alerts.rules, (), settings.alerts.time_zone)
            start = datetime.now(UTC) - longest_comparison(rules)
        model_settings = as_labelled(model_settings, store.reads.latest_model())
        classifier = DocumentClassifier.load(model_settings, choose=backend_selection.select_backend)
        published = TimeRange(start or EPOCH, end or datetime.max.replace(tzinfo=UTC))
        total = relabeling.count_outdated(store, published, classifier.version)
        outbound = BatchOutbound(settings.kafka, settings.stream.publish_predictions)
        with counting("classifying", total) as advance:
            done = relabeling.relabel(
                store,
                published,
                classifier.version,
                classify=classifier.classify,
                outbound=outbound,
                clock=lambda: datetime.now(UTC),
                progress=advance,
            )
        erased = relabeling.count_erased(store, published, classifier.version)
    click.echo(f"{done} documents classified by {classifier.version}")
    if erased:
        click.echo(
            f"{erased} documents keep the labels of another model, since their texts were erased: "
            "baselines leave out their hours"
        )


@click.command(
    epilog=examples(
        "monitor replay -c monitor.toml --from 2026-03-01T09:00:00Z",
        "monitor replay --from 2026-03-01 --recount-only",
    )
)
@config_option
@click.option("--from", "start", callback=parse_time, required=True, help="Read messages from this time on.")
@click.option("--recount-only", is_flag=True, help="Only recount the aggregates from the stored documents.")
@plain_errors
def replay(config: Path | None, start: datetime, recount_only: bool) -> None:
    """Read Kafka again from a time on, restore documents missing in the database, and recount the aggregates.

    Stored documents are not changed, but for stories that were corrected since.  The monitor may run
    meanwhile; repeat the command if it did.
    """
    from models import backend_selection
    from models.document_classifier import DocumentClassifier
    from models.loading import as_labelled
    from stream.codec import Codec
    from stream.decoder import Decoder
    from stream.domain.sums import TimeRange
    from stream.outbound import BatchOutbound
    from stream.replay import Replay, ReplayReport
    from stream.storage import recount
    from stream.storage.secrets import load_heartbeats

    with open_store_and_topics(config) as (settings, store, incarnations):
        done, now = ReplayReport(), datetime.now(UTC)
        if not recount_only:
            models = as_labelled(settings.models, store.reads.latest_model())
            classifier = DocumentClassifier.load(models, choose=backend_selection.select_backend)
            outbound = BatchOutbound(settings.kafka, settings.stream.publish_predictions)
            heartbeats = load_heartbeats(store.engine, settings.stream.heartbeat_secret)
            codec = Codec.from_settings(settings.stream, heartbeats)
            reader = Replay(
                kafka=settings.kafka,
                store=store,
                decoder=Decoder(codec, settings.kafka.kinds, incarnations),
                classify=classifier.classify,
                outbound=outbound,
                clock=lambda: datetime.now(UTC),
            )
            with counting("reading", None) as advance:
                done = reader.run(start, advance)
        times = TimeRange(min(start, done.first or start), now + timedelta(hours=1))
        with counting("recounting hours", None) as advance:
            wrong = recount.recount(store, times, advance)
    click.echo(
        f"{done.read} messages read, {done.restored} documents restored, {done.refused} cannot be read, "
        f"{done.corrected} stories corrected, {wrong} rows of the aggregates corrected"
    )

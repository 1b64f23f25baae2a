"""`monitor backfill`: bringing stored documents up to date with what new ones get."""

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from monitor.cli.maintenance import open_store
from monitor.cli.options import CommandGroup, config_option, counting, examples, parse_time, plain_errors


@click.group(cls=CommandGroup)
def backfill() -> None:
    """Bring stored documents up to date with what new ones get."""


@backfill.command(
    "entities",
    epilog=examples(
        "monitor backfill entities --since 2026-01-01",
        "monitor backfill entities --since 2026-01-01 --dry-run    count them first",
    ),
)
@config_option
@click.option(
    "--since", callback=parse_time, required=True, help="Only documents published at or after this time."
)
@click.option("--until", callback=parse_time, help="Only documents published before this time.")
@click.option("--dry-run", is_flag=True, help="Only print how many documents would be searched.")
@plain_errors
def backfill_entities(config: Path | None, since: datetime, until: datetime | None, dry_run: bool) -> None:
    """Search stored documents for the entities of the present list, and update the sums by the difference.

    Only documents that were searched with another list, or with none.  Labels and scores of the texts stay.
    The monitor may run meanwhile.  An interrupted run continues where it stopped.
    """
    from models import backend_selection
    from models.document_classifier import DocumentClassifier
    from models.loading import as_labelled
    from stream.domain.sums import TimeRange
    from stream.storage import backfill as backfilling

    published, started = TimeRange(since, until or datetime.max.replace(tzinfo=UTC)), time.monotonic()
    if published.end <= published.start:
        raise click.UsageError("--until must be after --since")
    with open_store(config) as (settings, store):
        models = as_labelled(settings.models, store.reads.latest_model())
        classifier = DocumentClassifier.load(models, choose=backend_selection.select_backend)
        if classifier.gazetteer is None:
            raise click.ClickException("this classifier has no list of entities")
        version = classifier.gazetteer.version
        total = backfilling.count_outdated(store, published, version)
        if dry_run:
            click.echo(f"{total} documents would be searched for the entities of list {version}")
            return
        with counting("searching", total) as advance:
            done = backfilling.backfill_entities(
                store,
                published,
                version,
                find=classifier.with_entities,
                clock=lambda: datetime.now(UTC),
                progress=advance,
            )
        erased = backfilling.count_erased(store, published, version)
    minutes = (time.monotonic() - started) / 60
    click.echo(f"{done} documents searched for the entities of list {version} in {minutes:.1f} min")
    if erased:
        click.echo(f"{erased} documents keep the entities they have, since their texts were erased")


@backfill.command(
    "stories",
    epilog=examples(
        "monitor backfill stories --since 2026-01-01",
        "monitor backfill stories --since 2026-01-01 --dry-run     count them first",
    ),
)
@config_option
@click.option(
    "--since", callback=parse_time, required=True, help="Only documents received at or after this time."
)
@click.option("--dry-run", is_flag=True, help="Only print how many documents would be assigned.")
@plain_errors
def backfill_stories(config: Path | None, since: datetime, dry_run: bool) -> None:
    """Assign stored documents of before there were stories, so that rules can count voices from then on.

    Only documents that have no story.  Texts are read again for their embeddings; labels stay.  The monitor
    may run meanwhile.  An interrupted run continues where it stopped.
    """
    from models import backend_selection
    from models.document_classifier import DocumentClassifier
    from models.loading import as_labelled
    from stream.domain.sums import TimeRange
    from stream.storage import story_backfill

    received, started = TimeRange(since, datetime.max.replace(tzinfo=UTC)), time.monotonic()
    with open_store(config) as (settings, store):
        total = story_backfill.count_without_story(store, received)
        if dry_run:
            click.echo(f"{total} documents would be assigned to stories")
            return
        models = as_labelled(settings.models, store.reads.latest_model())
        classifier = DocumentClassifier.load(models, choose=backend_selection.select_backend)
        with counting("assigning", total) as advance:
            done = story_backfill.backfill_stories(
                store,
                received,
                classify=classifier.classify,
                weights=classifier.story_weights,
                clock=lambda: datetime.now(UTC),
                progress=advance,
            )
    minutes = (time.monotonic() - started) / 60
    click.echo(f"{done} documents assigned to stories in {minutes:.1f} min")

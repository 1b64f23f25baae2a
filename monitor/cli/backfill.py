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

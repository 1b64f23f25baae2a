"""`monitor entities unknown`: frequent names without an entity."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

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

# What is looked at without --since.
DAYS = 7


@click.command(
    epilog=examples(
        "monitor entities unknown",
        "monitor entities unknown --since 2026-03-01 --limit 20 --json",
    )
)
@config_option
@click.option(
    "--since",
    callback=parse_time,
    help=f"Documents published at or after this time; default: {DAYS} days ago.",
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most names shown."
)
@json_option
@plain_errors
def unknown(config: Path | None, since: datetime | None, limit: int, as_json: bool) -> None:
    """List frequent names that look like a company or a ticker and belong to no entity.

    They are read from the stored documents: cashtags, symbols and codes that no entity has, names with a
    legal form, and names beside words of finance.  Nothing is stored.  What should be an entity can be added
    to the house's own file (docs/entities.md).
    """
    from models.entities.loading import load_linker
    from models.entities.unknown import UnknownNames
    from stream.domain.documents import TextInput, join_content
    from stream.storage.texts import text_pages

    with open_store(config) as (settings, store):
        names = UnknownNames(load_linker(settings.models))
        for rows in text_pages(store.engine, since or datetime.now(UTC) - timedelta(days=DAYS)):
            for row in rows:
                content = join_content(row.title, row.text)
                names.add(row.key, TextInput(content, row.lang, len(row.title), tuple(row.symbols)))
    found = names.most_frequent(limit)
    if as_json:
        fields = [
            {
                "name": each.name.text,
                "sign": each.name.sign,
                "documents": each.documents,
                "example": each.example,
            }
            for each in found
        ]
        click.echo(json.dumps(fields, ensure_ascii=False, indent=2))
        return
    table = plain_table("documents", "sign", "name", "example")
    for each in found:
        table.add_row(str(each.documents), each.name.sign, each.name.text, each.example)
    stdout_console().print(table)

"""`monitor entities`: whom texts are linked to, and checking a house's own file of entities."""

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.entities.entity import Entity, EntityKind
from models.errors import GazetteerError
from monitor.cli.entities_unknown import unknown
from monitor.cli.options import (
    EXISTING,
    CommandGroup,
    config_option,
    examples,
    json_option,
    load_settings_as_set,
    plain_errors,
    plain_table,
    stdout_console,
)

if TYPE_CHECKING:
    from models.entities.gazetteer import Gazetteer

# How many tickers of an entity a table shows: banks have dozens of notes.
SHOWN_TICKERS = 4


@click.group(cls=CommandGroup)
def entities() -> None:
    """The companies, coins, currencies, central banks and more that texts are linked to."""


@entities.command("list", epilog=examples("monitor entities list --kind central_bank"))
@click.option(
    "--kind", type=click.Choice([kind.value for kind in EntityKind]), help="Only entities of this kind."
)
@json_option
@config_option
@plain_errors
def list_entities(kind: str | None, as_json: bool, config: Path | None) -> None:
    """List all entities, by id."""
    gazetteer = _load(config)
    found = [each for each in gazetteer.entities.values() if kind in (None, each.kind.value)]
    found.sort(key=lambda each: each.id)
    if as_json:
        click.echo(json.dumps([_summary(each) for each in found], ensure_ascii=False, indent=1))
        return
    table = plain_table("id", "kind", "name", "Chinese name", "tickers")
    for each in found:
        table.add_row(each.id, each.kind.value, each.name, each.chinese_name or "", _tickers(each.tickers))
    stdout_console().print(table)


@entities.command(
    "show",
    epilog=examples(
        "monitor entities show XNAS:AAPL",
        "monitor entities show 0700.HK",
        "monitor entities show 高盛 --json",
    ),
)
@click.argument("what", metavar="ID|NAME|TICKER")
@json_option
@config_option
@plain_errors
def show(what: str, as_json: bool, config: Path | None) -> None:
    """Show an entity with all its names and tickers.

    A name is found in any spelling; names with a question mark are words too, and need evidence in a text.
    """
    gazetteer = _load(config)
    found = _find(what, gazetteer)
    if not found:
        raise GazetteerError(f"no entity is called {what!r}{_suggestion(what, gazetteer)}")
    former = {each.id: [old for old, now in gazetteer.retired.items() if now == each.id] for each in found}
    if as_json:
        shown = [_detail(each, former[each.id], gazetteer.version) for each in found]
        click.echo(json.dumps(shown, ensure_ascii=False, indent=1))
        return
    click.echo("\n\n".join("\n".join(_lines(each, former[each.id])) for each in found))


@entities.command("check", epilog=examples("monitor entities check entities.yaml"))
@click.argument("file", type=EXISTING, required=False)
@config_option
@plain_errors
def check(file: Path | None, config: Path | None) -> None:
    """Check a file of your own entities and names, by default that of the settings (models.entities).

    Each error names the file, the line and the entry.  Names that the file takes away from a shipped entity
    are listed.
    """
    from models.entities.gazetteer import Gazetteer
    from models.entities.house import SECTIONS, apply, read_house

    path = file or load_settings_as_set(config).models.entities
    if path is None:
        raise click.UsageError("no file: give one, or set models.entities in the settings")
    house = read_house(path)
    applied = apply(path, house, Gazetteer.load())
    counts = ", ".join(f"{section} {house.count(section):,}" for section in SECTIONS)
    click.echo(f"{path}: {counts}; {len(applied.entities):,} entities")
    for name, before, now in applied.taken:
        click.echo(f"  {name}: no longer {before}" + (f", now {now}" if now else ""))


def _load(config: Path | None) -> "Gazetteer":
    from models.entities.gazetteer import Gazetteer

    return Gazetteer.load(load_settings_as_set(config).models.entities)


def _find(what: str, gazetteer: "Gazetteer") -> list[Entity]:
    """The entities that have this id, ticker or name; of a ticker all that have it on any exchange."""
    from models.entities.forms import fold, name_forms
    from models.entities.gazetteer import normal_ticker
    from models.entities.tickers import TickerBook

    if (current := gazetteer.resolve(what)) is not None:
        return [gazetteer.entities[current]]
    forms = {fold(what), *(form.text for form in name_forms(what))}
    called = [
        each for each in gazetteer.entities.values() if any(fold(name.text) in forms for name in each.names)
    ]
    symbols = TickerBook(gazetteer).symbols([what], False)
    bare = normal_ticker(what)
    listed = [
        each
        for each in gazetteer.entities.values()
        if any(normal_ticker(ticker).rpartition(":")[2] == bare for ticker in each.tickers)
    ]
    return list(
        {each.id: each for each in (*(gazetteer.entities[id_] for id_ in symbols), *called, *listed)}.values()
    )


def _suggestion(what: str, gazetteer: "Gazetteer") -> str:
    known = {each.id: each.id for each in gazetteer.entities.values()}
    for each in gazetteer.entities.values():
        known.update((name.text, each.id) for name in each.names)
    near = difflib.get_close_matches(what, known, 1, 0.75)
    return f" (did you mean {near[0]!r}, {known[near[0]]}?)" if near else ""


def _summary(entity: Entity) -> dict[str, Any]:
    return {
        "id": entity.id,
        "kind": entity.kind.value,
        "name": entity.name,
        "chinese_name": entity.chinese_name,
        "tickers": list(entity.tickers),
    }


def _detail(entity: Entity, former: Sequence[str], version: str) -> dict[str, Any]:
    names = [{"name": name.text, "needs_evidence": name.needs_evidence} for name in entity.names]
    return {**_summary(entity), "names": names, "former_ids": list(former), "gazetteer": version}


def _lines(entity: Entity, former: Sequence[str]) -> Iterable[str]:
    yield f"{entity.id}  {entity.kind.value}"
    yield f"  name      {entity.name}" + (f", {entity.chinese_name}" if entity.chinese_name else "")
    yield "  names     " + "; ".join(
        name.text + ("?" if name.needs_evidence else "") for name in entity.names
    )
    if entity.tickers:
        yield "  tickers   " + " ".join(entity.tickers)
    if former:
        yield "  once      " + " ".join(former)


def _tickers(tickers: Sequence[str]) -> str:
    rest = f" and {len(tickers) - SHOWN_TICKERS} more" if len(tickers) > SHOWN_TICKERS else ""
    return " ".join(tickers[:SHOWN_TICKERS]) + rest


entities.add_command(unknown)

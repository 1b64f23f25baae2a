"""Commands about alert rules: checking them, and what they would have sent."""

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from monitor.cli.options import (
    EXISTING,
    config_option,
    examples,
    json_option,
    map_option,
    parse_time,
    plain_errors,
)
from monitor.runtime import log, settings
from stream.domain.documents import Kind


@click.group()
def rules() -> None:
    """The alert rules."""


@rules.command("check", epilog=examples("monitor rules check rules.yaml"))
@click.argument("file", type=EXISTING)
@config_option
@plain_errors
def rules_check(file: Path, config: Path | None) -> None:
    """Read a rule file; complaints name file, line and rule."""
    from alerts.rule_file import load_rules
    from models.network.artifact import read_info

    found = load_rules(file, read_info(settings.load(config).models.weights).labels["topic"])
    budget = sum(rule.false_page_budget for rule in found)
    click.echo(f"{file}: {len(found)} rules; by chance alone they fire {budget:g} times a month at most")
    for rule in found:
        about = rule.topics if isinstance(rule.topics, str) else ", ".join(rule.topics)
        click.echo(f"  {rule.name}: {rule.type_name()}, {rule.severity}, topics {about}")


@rules.command("schema", epilog=examples("monitor rules schema > rules.schema.json"))
def rules_schema() -> None:
    """The JSON Schema of a rule file, for editors."""
    from alerts.rule_file import schema

    click.echo(json.dumps(schema(), indent=1))


@click.command(
    epilog=examples(
        "monitor backtest -c monitor.toml --from 2026-01-01",
        "monitor backtest --data headlines.jsonl --map published_at=ts --html pages.html",
        "monitor backtest --rules new.yaml --against old.yaml --data headlines.jsonl --labels events.csv",
    )
)
@config_option
@click.option("--rules", "rule_file", type=EXISTING, help="Rule file; without it those of the settings.")
@click.option("--against", type=EXISTING, help="Another rule file, to compare with.")
@click.option("--data", type=EXISTING, help="Stamped texts (JSON lines); without it the database.")
@click.option("--kind", type=click.Choice(["news", "comment"]), default="news", show_default=True,
              help="What the texts of --data are.")  # fmt: skip
@map_option("id, source, published_at, title, text, author, url, symbols, lang")
@click.option("--from", "start", callback=parse_time, help="Page from here on; older texts are baseline.")
@click.option("--to", "end", callback=parse_time, help="Leave out texts from here on.")
@click.option("--labels", type=EXISTING, help="Known events (.csv, .jsonl): name, start, end.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page too.")
@click.option("--png", "picture", type=click.Path(dir_okay=False, path_type=Path), help="And the timeline.")
@json_option
@plain_errors
def backtest(
    config: Path | None,
    rule_file: Path | None,
    against: Path | None,
    data: Path | None,
    kind: str,
    columns: Mapping[str, str],
    start: datetime | None,
    end: datetime | None,
    labels: Path | None,
    page: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """How many pages rules would have sent over history, when, for what, and what they missed."""
    chosen = settings.load(config)
    log.set_up(chosen.log)
    logging.getLogger("alerts").setLevel(logging.ERROR)
    from alerts.rule_file import load_rules
    from models.network.artifact import read_info
    from monitor.cli import backtest as testing

    topics = read_info(chosen.models.weights).labels["topic"]
    files = [rule_file or chosen.alerts.rules, *([against] if against else [])]
    loaded = [load_rules(file, topics) for file in files]
    events = testing.read_events(labels) if labels else []
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("reading", total=1.0)

        def tell(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        if data is None:
            texts = testing.stored(chosen, start, end, loaded)
        else:
            texts, complaints = testing.judge(chosen.models, data, columns, Kind(kind), end, tell)
            for complaint in complaints[:20]:
                click.echo(complaint, err=True)
            if complaints:
                click.echo(f"{len(complaints)} lines of {data} were left out", err=True)
        results = [
            testing.run(str(file), rules_, topics, texts, start, events, tell)
            for file, rules_ in zip(files, loaded, strict=True)
        ]
    if page is not None:
        page.write_text(testing.html(results, texts), encoding="utf-8")
    if picture is not None:
        testing.png(picture, results, texts)
    if as_json:
        click.echo(msgspec.json.encode(testing.as_answer(results, len(texts))).decode())
    else:
        testing.show(results, texts, Console())

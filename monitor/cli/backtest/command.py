"""`monitor backtest`: the alert rules over history."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from pathlib import Path

import click
import msgspec

from alerts.detectors.base import Rule
from alerts.schedules.calendars import TradingCalendars
from monitor.cli.options import (
    EXISTING,
    OutputFile,
    config_option,
    data_options,
    examples,
    json_option,
    load_settings,
    parse_time,
    plain_errors,
    show_progress,
    stdout_console,
)
from monitor.cli.progress_lines import Unit
from stream.domain.documents import Kind

SHOWN_LINE_ERRORS = 20


@click.command(
    epilog=examples(
        "monitor backtest -c monitor.toml --from 2026-01-01",
        "monitor backtest --data headlines.jsonl --map published_at=ts --html pages.html",
        "monitor backtest --rules new.yaml --against old.yaml --data headlines.jsonl --labels events.csv",
    )
)
@config_option
@click.option("--rules", "rule_file", type=EXISTING, help="Rule file; default: alerts.rules of the settings.")
@click.option("--against", type=EXISTING, help="Another rule file to compare with.")
@click.option(
    "--data",
    type=EXISTING,
    help="Timestamped texts (JSON lines, an array or CSV; - for standard input); default: the database.",
)
@data_options
@click.option(
    "--from",
    "start",
    callback=parse_time,
    help="Report pages from this time on; older texts are only baseline.",
)
@click.option("--to", "end", callback=parse_time, help="Ignore texts from this time on.")
@click.option("--labels", "events_file", type=EXISTING, help="Known events (.csv, .jsonl): name, start, end.")
@click.option("--html", "page", type=OutputFile(), help="Also write an HTML page.")
@click.option("--png", "picture", type=OutputFile(), help="Also write the timeline as a picture.")
@json_option
@plain_errors
def backtest(
    config: Path | None,
    rule_file: Path | None,
    against: Path | None,
    data: Path | None,
    kind: str,
    columns: Mapping[str, str],
    encoding: str | None,
    zone: tzinfo | None,
    excel_days: bool,
    start: datetime | None,
    end: datetime | None,
    events_file: Path | None,
    page: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Show how many pages rules would have sent over history, when and why, and which events they missed."""
    from stream.domain.files.file_times import TimeFormat
    from stream.feed import RowOptions, unknown_field_error

    if complaint := unknown_field_error(columns):
        raise click.BadParameter(complaint)
    settings = load_settings(config)
    logging.getLogger("alerts").setLevel(logging.ERROR)
    from alerts.rules.rule_file import load_rules
    from models.errors import DataError
    from models.network.info import read_info
    from models.plan import event_types
    from monitor.cli.backtest import outcome, report
    from monitor.cli.backtest.report import BacktestScope
    from monitor.cli.backtest.texts import classify_file, read_database
    from monitor.entity_ids import resolver_of_settings

    if picture is not None:
        report.require_plots()
    topics = read_info(settings.models.weights).labels["topic"]
    files = [rule_file or settings.alerts.rules, *([against] if against else [])]
    resolve = resolver_of_settings(settings.models)
    known, zone_of_rules = event_types(settings.models), settings.alerts.time_zone
    rule_sets = [load_rules(file, topics, zone_of_rules, resolve, event_types=known) for file in files]
    times = TimeFormat(zone, excel_days)
    events = outcome.read_events(events_file, times) if events_file else []
    with show_progress("reading", Unit.SHARE) as update:

        def progress(step: str, share: float) -> None:
            update(share, 1.0, step)

        if data is None:
            texts, stories_since, moment = read_database(settings, start, end, rule_sets)
        else:
            options = RowOptions(columns, kind=Kind(kind), times=times)
            stories_since, moment = None, None  # every text of a file gets its story
            texts, line_errors = classify_file(
                settings, data, options, encoding=encoding, end=end, progress=progress
            )
            _print_line_errors(data, line_errors)
        if start is not None and texts[-1].published_at < start:
            last = f"{texts[-1].published_at:%Y-%m-%d %H:%M} UTC"
            raise DataError(f"nothing to test: the last text is of {last}, before --from")
        calendars = calendars_of([rule for rules in rule_sets for rule in rules], texts[0].published_at)
        results = [
            outcome.run_backtest(
                str(file),
                rules,
                topics,
                texts,
                start=start,
                events=events,
                progress=progress,
                stories_since=stories_since,
                policy=settings.alerts.incidents.policy,
                calendars=calendars,
            )
            for file, rules in zip(files, rule_sets, strict=True)
        ]
    if page is not None:
        page.write_text(report.backtest_html(results, texts), encoding="utf-8")
    if picture is not None:
        report.png(picture, results, texts)
    if as_json:
        tested = BacktestScope(start, end, moment)
        click.echo(msgspec.json.encode(report.as_answer(results, len(texts), tested)).decode())
    else:
        report.show(results, texts, stdout_console())


def calendars_of(rules: Sequence[Rule], since: datetime) -> TradingCalendars:
    """The trading calendars that the rules name; what cannot be read is said."""
    from monitor.trading_calendars import names_of, read_calendars

    read = read_calendars(names_of(rules), since)
    for name, problem in read.problems.items():
        click.echo(f"trading calendar {name} cannot be read, so its rules go without: {problem}", err=True)
    return TradingCalendars(read.calendars)


def _print_line_errors(data: Path, line_errors: Sequence[str]) -> None:
    for line_error in line_errors[:SHOWN_LINE_ERRORS]:
        click.echo(line_error, err=True)
    if line_errors:
        click.echo(f"skipped rows of {data}: {len(line_errors)}", err=True)

"""`monitor evaluate`: score the classifier on labelled rows; the report is text, JSON or HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.cli.options import (
    EXISTING,
    OutputFile,
    config_option,
    encoding_option,
    examples,
    json_option,
    load_settings,
    map_option,
    plain_errors,
    stdout_console,
)

if TYPE_CHECKING:
    from models.evaluation.events import EventReport
    from models.evaluation.report import Report
    from models.evaluation.robustness import Check
    from models.evaluation.scores import ClassReport, Comparison, TaskReport


@click.command(
    epilog=examples(
        "monitor evaluate validation.jsonl",
        "monitor evaluate validation.jsonl --html report.html --checks",
        "monitor evaluate --recipe models/recipes/zh.yaml --root ./data",
        "monitor evaluate validation.csv --against ./other",
    )
)
@click.argument("files", type=EXISTING, nargs=-1)
@config_option
@click.option("--recipe", type=EXISTING, help="Score the rows that the recipe keeps back.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the recipe's files.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another model to compare with on the same rows.",
)
@click.option(
    "--checks",
    is_flag=True,
    help="Also check label flips, directions, hard kinds of text and the faithfulness of the evidence.",
)
@click.option("--html", "html_file", type=OutputFile(), help="Also write an HTML page.")
@map_option("text, title, topic, sentiment, entities, events")
@encoding_option
@json_option
@plain_errors
def evaluate(
    files: tuple[Path, ...], config: Path | None, as_json: bool, html_file: Path | None, **options: Any
) -> None:
    """Score the classifier on labelled rows: accuracy and F1 with intervals, calibration, coverage."""
    settings = load_settings(config)
    from models import loading
    from models.backend_selection import cached_backend
    from models.evaluation.report import build_report, html

    engine = loading.load(settings.models, cached_backend)
    report = build_report(engine, files, **options)
    if html_file is not None:
        html_file.write_text(html(report), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(as_dict(report)))
    else:
        print_report(report, stdout_console())


def as_dict(report: Report) -> dict[str, Any]:
    """The report as --json prints it."""
    return {
        "model": report.model,
        "files": {name: [task.as_dict() for task in tasks] for name, tasks in report.files.items()},
        "events": {name: events.as_dict() for name, events in report.events.items()},
        "comparisons": {
            name: [asdict(c) for c in comparisons] for name, comparisons in report.comparisons.items()
        },
        "robustness": {
            language: _with_rates(checks.as_dict()) for language, checks in report.robustness.items()
        },
        "faithfulness": {
            name: asdict(measure) | {"ratio": measure.ratio} for name, measure in report.faithfulness.items()
        },
    }


def _with_rates(report: dict[str, Any]) -> dict[str, Any]:
    return {
        kind: [check | {"rate": check["failed"] / max(check["n"], 1)} for check in checks]
        for kind, checks in report.items()
    }


def print_report(report: Report, console: Console) -> None:
    """Print the report as tables."""
    for name, tasks in report.files.items():
        console.print(f"{escape(name)}  (model {escape(report.model)})", highlight=False)
        for task in tasks:
            _print_task(task, console)
        if name in report.events:
            _print_events(report.events[name], console)
        for comparison in report.comparisons.get(name, ()):
            _print_comparison(comparison, console)
        if name in report.faithfulness:
            faithfulness = report.faithfulness[name]
            console.print(
                "evidence: without the 3 evidence words the winning probability falls by "
                f"{faithfulness.shown:.3f}, without 3 random words by {faithfulness.chance:.3f} "
                f"({faithfulness.n} texts)"
            )
    for language, checks in report.robustness.items():
        _print_checks(f"{language}: label flips under meaning-preserving edits", checks.flips, console)
        _print_checks(f"{language}: opposite pairs with a wrong label", checks.directions, console)
        _print_checks(f"{language}: kinds of text with a wrong sentiment", checks.kinds, console, "texts")


def _print_comparison(comparison: Comparison, console: Console) -> None:
    low, high = comparison.difference_interval
    console.print(
        f"{comparison.task}, this and the other model: accuracy {comparison.accuracy[0]:.4f} and "
        f"{comparison.accuracy[1]:.4f}, McNemar p = {comparison.p_value:.3g}; "
        f"macro-F1 of the other minus this {low:+.4f} to {high:+.4f}"
    )


def _print_task(task: TaskReport, console: Console) -> None:
    low, high = task.macro_f1_interval
    summary = f"accuracy {task.accuracy:.4f}, macro-F1 {task.macro_f1:.4f} ({low:.3f} to {high:.3f})"
    unlabelled = f", {task.unsupported} of them unsupported" if task.unsupported else ""
    console.print(_class_table(f"{task.task}: {summary}, {task.n} rows{unlabelled}", "class", task.classes))
    console.print(
        f"calibration error {task.ece:.3f}; certain: {task.certain:.1%} of the rows, "
        f"accuracy on these {task.certain_accuracy:.1%}"
    )


def _print_events(events: EventReport, console: Console) -> None:
    low, high = events.macro_f1_interval
    quiet = "" if events.quiet is None else f", none found in {events.quiet:.1%} of the rows without any"
    summary = f"events: macro-F1 {events.macro_f1:.4f} ({low:.3f} to {high:.3f}), {events.n} rows{quiet}"
    console.print(_class_table(summary, "event", events.types))


def _class_table(title: str, heading: str, classes: Sequence[ClassReport]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in (heading, "precision", "recall", "F1", "rows"):
        table.add_column(name, justify="left" if name == heading else "right")
    for report in classes:
        scores = (report.precision, report.recall, report.f1)
        table.add_row(report.label, *(f"{score:.3f}" for score in scores), str(report.support))
    return table


def _print_checks(title: str, checks: Sequence[Check], console: Console, what: str = "pairs") -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("", what, "failed", "rate"):
        table.add_column(heading, justify="right" if heading else "left")
    for check in checks:
        table.add_row(check.name, str(check.n), str(check.failed), f"{check.rate:.1%}")
    console.print(table)

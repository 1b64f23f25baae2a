"""`monitor evaluate`: labelled rows in, a report as text or JSON out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.data.dataset import Row, read_recipe, read_rows, read_source
from models.errors import DataError
from models.evaluation.report import Report
from models.evaluation.robustness import Check, faithfulness, robustness
from models.evaluation.scores import TaskReport, compare
from models.evaluation.scores import evaluate as score
from models.inference.engine import Engine
from models.settings import ModelSettings

# Deleting words means judging every text three times: so many of a file are enough.
DELETED = 500


def evaluate(
    engine: Engine,
    files: Sequence[Path],
    columns: Mapping[str, str],
    recipe: Path | None = None,
    root: Path | None = None,
    against: Path | None = None,
    checks: bool = False,
) -> Report:
    """Score every file, and what a recipe keeps back, on its own."""
    sets = {str(file): read_rows([file], columns) for file in files}
    if recipe is not None:
        kept = [source for source in read_recipe(recipe, root).sources if source.keep_back]
        sets |= {f"{source.file} (kept back)": read_source(source, kept_back=True) for source in kept}
    if not sets and not checks:
        raise DataError("nothing to score: give files of labelled rows, or a recipe that keeps some back")
    other = Engine.load(ModelSettings(weights=against)) if against else None
    languages = engine.info.languages if checks else ()
    return Report(
        engine.info.version,
        {name: score(engine, rows) for name, rows in sets.items()},
        {name: compare(engine, other, rows) for name, rows in sets.items()} if other else {},
        {language: robustness(engine, language) for language in languages},
        {name: faithfulness(engine, _texts(rows)) for name, rows in sets.items()} if checks else {},
    )


def _texts(rows: Sequence[Row]) -> list[str]:
    return [row.text for row in rows[:DELETED]]


def as_answer(report: Report) -> dict[str, Any]:
    """The report as JSON shows it."""
    return {
        "model": report.model,
        "files": {name: [task.as_dict() for task in tasks] for name, tasks in report.files.items()},
        "comparisons": {name: [asdict(c) for c in found] for name, found in report.comparisons.items()},
        "robustness": {language: _rates(found.as_dict()) for language, found in report.robustness.items()},
        "faithfulness": {
            name: asdict(found) | {"ratio": found.ratio} for name, found in report.faithfulness.items()
        },
    }


def _rates(found: dict[str, Any]) -> dict[str, Any]:
    return {
        what: [check | {"rate": check["failed"] / max(check["n"], 1)} for check in checks]
        for what, checks in found.items()
    }


def show(report: Report, console: Console) -> None:
    """The report for people."""
    for name, tasks in report.files.items():
        console.print(f"{escape(name)}  (model {escape(report.model)})", highlight=False)
        for task in tasks:
            _show_task(task, console)
        for found in report.comparisons.get(name, ()):
            low, high = found.difference_interval
            console.print(
                f"{found.task} against the other: accuracy {found.accuracy[0]:.4f} here, "
                f"{found.accuracy[1]:.4f} there, McNemar p = {found.p_value:.3g}; "
                f"macro-F1 there minus here {low:+.4f} to {high:+.4f}"
            )
        if name in report.faithfulness:
            faith = report.faithfulness[name]
            console.print(
                f"evidence: without the 3 words shown the winning probability falls by {faith.shown:.3f}, "
                f"without 3 random ones by {faith.chance:.3f} ({faith.n} texts)"
            )
    for language, checks in report.robustness.items():
        _show_checks(f"{language}: labels that turned though the meaning did not", checks.flips, console)
        _show_checks(f"{language}: pairs not got right", checks.directions, console)


def _show_task(task: TaskReport, console: Console) -> None:
    low, high = task.macro_f1_interval
    scores = f"accuracy {task.accuracy:.4f}, macro-F1 {task.macro_f1:.4f} ({low:.3f} to {high:.3f})"
    unlabelled = f", {task.unsupported} of them unsupported" if task.unsupported else ""
    table = Table(title=f"{task.task}: {scores}, {task.n} rows{unlabelled}", title_justify="left")
    for heading in ("class", "precision", "recall", "F1", "rows"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for item in task.classes:
        numbers = (f"{item.precision:.3f}", f"{item.recall:.3f}", f"{item.f1:.3f}", str(item.support))
        table.add_row(item.label, *numbers)
    console.print(table)
    console.print(
        f"calibration error {task.ece:.3f}; certain of {task.certain:.1%}, "
        f"right on {task.certain_accuracy:.1%} of those"
    )


def _show_checks(title: str, checks: Sequence[Check], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("", "pairs", "failed", "rate"):
        table.add_column(heading, justify="right" if heading else "left")
    for check in checks:
        table.add_row(check.name, str(check.n), str(check.failed), f"{check.rate:.1%}")
    console.print(table)

"""Leaving sources out of a run: how well a model reads texts of a kind that it was not trained on."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.data.dataset import Row, near_duplicates
from models.errors import DataError
from models.evaluation.scores import TaskReport, evaluate
from models.inference.engine import Engine
from models.settings import ModelSettings

# So many rows of a source are scored, drawn at random: enough for intervals of two points.
SCORED_ROWS = 3000


def leave_out(rows: Sequence[Row], names: Sequence[str]) -> tuple[list[Row], dict[str, list[Row]]]:
    """(the other rows, the rows of each source left out).  Raises DataError for an unknown name."""
    known = dict.fromkeys(row.source for row in rows)
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"--leave-out {unknown[0]!r} is no source of this run: {', '.join(known)}")
    left_out = {name: [row for row in rows if row.source == name and row.labels] for name in names}
    kept = [row for row in rows if row.source not in left_out]
    if not kept:
        raise DataError("nothing to train on: every source is left out")
    return kept, left_out


def score_left_out(
    folder: Path, left_out: Mapping[str, Sequence[Row]], trained_on: Sequence[Row]
) -> dict[str, list[TaskReport]]:
    """The model in `folder` on each source, without rows that nearly repeat a row `trained_on`."""
    reports = {}
    engine = Engine.load(ModelSettings(weights=folder)) if left_out else None
    for name, rows in left_out.items():
        repeated = {id(row) for row, _ in near_duplicates(trained_on, rows)}
        new = [row for row in rows if id(row) not in repeated]
        scored = random.Random(0).sample(new, min(SCORED_ROWS, len(new)))
        if engine is not None and scored:
            reports[name] = evaluate(engine, scored)
    return reports


def as_markdown(reports: Mapping[str, Sequence[TaskReport]]) -> str:
    """The part of the model's card about sources that were left out."""
    lines = [
        "",
        "Sources that were left out, without rows that nearly repeat a training row (95 % intervals):",
        "",
        "| left out | task | rows | accuracy | macro-F1 |",
        "|---|---|---|---|---|",
    ]
    for name, tasks in reports.items():
        for task in tasks:
            low, high = task.macro_f1_interval
            macro_f1 = f"{task.macro_f1:.3f} ({low:.3f} to {high:.3f})"
            lines.append(f"| {name} | {task.task} | {task.n} | {task.accuracy:.3f} | {macro_f1} |")
    return "\n".join(lines) + "\n"

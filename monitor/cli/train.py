"""`monitor train`: rows of files or of a recipe in, a model folder or a new version out."""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from models.data.dataset import Recipe, Row, Source, read_recipe, read_rows, read_source
from models.errors import DataError
from models.network import registry
from models.settings import SHIPPED_WEIGHTS
from models.training.fit import FitOptions, Progress
from models.training.train import TrainingOptions, TrainingResult, drill_rows, lesson_rows, train
from stream.domain.documents import SENTIMENTS

log = logging.getLogger(__name__)

UNFINISHED = "unfinished"


def run(files: Sequence[Path], options: Mapping[str, Any], progress: Progress) -> tuple[Path, TrainingResult]:
    """Train as the command line said; the folder of the model and what came out."""
    sources, rows = sources_and_rows(files, options)
    valid = read_rows(options["valid_files"], options["columns"])
    root, out = options["registry"], options["out"]
    if out is None:
        root.mkdir(parents=True, exist_ok=True)
    own = {field.name for field in fields(TrainingOptions)} - {"fit", "out", "base"}
    of_fit = {field.name for field in fields(FitOptions)}
    chosen = TrainingOptions(
        out=out or root / UNFINISHED,
        base=options["base"] or str(SHIPPED_WEIGHTS),
        fit=FitOptions(**{name: value for name, value in options.items() if name in of_fit}),
        **{name: value for name, value in options.items() if name in own},
    )
    result = train(chosen, rows, valid, sources, progress)
    return out or registry.add(root, chosen.out, result.info), result


def sources_and_rows(files: Sequence[Path], options: Mapping[str, Any]) -> tuple[list[Source], list[Row]]:
    """What to train on: files, a recipe's sources, drills, and lessons against forgetting."""
    sources = [Source.plain(file, options["columns"]) for file in files]
    recipe = read_recipe(options["recipe"], options["root"]) if options["recipe"] else Recipe(sources=[])
    sources += recipe.sources
    if options["licensed_only"]:
        sources = [source for source in sources if source.licence or source.file in files]
    if not sources:
        raise DataError("nothing to train on: give files of labelled rows, or a recipe")
    own = [only_asked(read_source(source)) for source in sources]
    rows = [row for rows in own for row in rows]
    return sources, rows + drill_rows(recipe.drills, options["seed"]) + _rehearsed(len(rows), options)


def only_asked(rows: list[Row]) -> list[Row]:
    """Sentiments that no row of a file has were never asked for there: not that its texts are never so.

    Posts marked bullish or bearish by their authors would else teach that nothing is neutral.
    """
    said = [row.labels["sentiment"] for row in rows if "sentiment" in row.labels]
    found = tuple(name for name in SENTIMENTS if any(name in label.names for label in said))
    if not found or len(found) == len(SENTIMENTS) or any(label.among for label in said):
        return rows
    log.warning(
        "%s: no row is %s: taken as never asked for",
        rows[0].source, " or ".join(name for name in SENTIMENTS if name not in found),
    )  # fmt: skip
    return [
        replace(row, labels={**row.labels, "sentiment": replace(row.labels["sentiment"], among=found)})
        if "sentiment" in row.labels
        else row
        for row in rows
    ]


def _rehearsed(rows: int, options: Mapping[str, Any]) -> list[Row]:
    """So many of the project's written lessons that a trained model does not forget over a house's own rows
    what they do not show: as many as there are rows, where a recipe brings no lessons of its own."""
    wanted = rows if options["rehearsal"] is None else options["rehearsal"]
    bare = options["base"] is not None and not (Path(options["base"]) / "model.json").is_file()
    if options["recipe"] or bare or not wanted:
        return []
    known = [row for language in options["languages"] for row in lesson_rows(language)]
    return random.Random(options["seed"]).sample(known, min(wanted, len(known)))

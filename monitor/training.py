"""`monitor train`: rows of files or of a recipe in, a model folder or a new version out."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from models import registry
from models.dataset import Recipe, Row, Source, read_recipe, read_rows, read_source
from models.errors import DataError
from models.fit import FitOptions, Progress
from models.settings import SHIPPED_WEIGHTS
from models.training import TrainingOptions, TrainingResult, drill_rows, train

UNFINISHED = "unfinished"


def run(files: Sequence[Path], options: Mapping[str, Any], progress: Progress) -> tuple[Path, TrainingResult]:
    """Train as the command line said; the folder of the model and what came out."""
    sources, rows = _rows(files, options)
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


def _rows(files: Sequence[Path], options: Mapping[str, Any]) -> tuple[list[Source], list[Row]]:
    sources = [Source.plain(file, options["columns"]) for file in files]
    recipe = read_recipe(options["recipe"], options["root"]) if options["recipe"] else Recipe(sources=[])
    sources += recipe.sources
    if options["licensed_only"]:
        sources = [source for source in sources if source.licence or source.file in files]
    if not sources:
        raise DataError("nothing to train on: give files of labelled rows, or a recipe")
    rows = [row for source in sources for row in read_source(source)]
    return sources, rows + drill_rows(recipe.drills, options["seed"])

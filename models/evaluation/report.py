"""The evaluation report: scores, comparisons and checks, also as one HTML page without scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from models.data.dataset import read_recipe, read_rows, read_source
from models.errors import DataError
from models.evaluation.events import EventReport, evaluate_events
from models.evaluation.robustness import Faithfulness, RobustnessReport, faithfulness, robustness
from models.evaluation.scores import Comparison, TaskReport, compare, evaluate
from models.inference.engine import Engine
from models.inference.second_opinion import TextClassifier
from models.settings import ModelSettings

PAGE = Path(__file__).with_suffix(".html")
WIDTH, HEIGHT, MARGIN = 300, 240, 34
# The deletion test classifies every text three times: this many texts of a file are enough.
DELETION_TEXTS = 500


@dataclass(frozen=True)
class Report:
    """Everything that was measured; the mappings are by file, `robustness` by language."""

    model: str
    files: dict[str, Sequence[TaskReport]]
    comparisons: dict[str, Sequence[Comparison]] = field(default_factory=dict)
    robustness: dict[str, RobustnessReport] = field(default_factory=dict)
    faithfulness: dict[str, Faithfulness] = field(default_factory=dict)
    events: dict[str, EventReport] = field(default_factory=dict)


def build_report(
    engine: TextClassifier,
    files: Sequence[Path],
    columns: Mapping[str, str],
    recipe: Path | None = None,
    root: Path | None = None,
    against: Path | None = None,
    checks: bool = False,
    encoding: str | None = None,
) -> Report:
    """Score each file, and the kept-back rows of each source of a recipe.

    `against` is the folder of another model to compare with; `checks` adds robustness and faithfulness;
    `encoding` is that of the files.  Raises DataError.
    """
    row_sets = {str(file): read_rows([file], columns, encoding) for file in files}
    if recipe is not None:
        kept_back = [source for source in read_recipe(recipe, root).sources if source.keep_back]
        row_sets |= {
            f"{source.file} (kept back)": read_source(source, kept_back=True) for source in kept_back
        }
    if not row_sets and not checks:
        raise DataError("nothing to score: give files of labelled rows, or a recipe that keeps some back")
    other = Engine.load(ModelSettings(weights=against)) if against else None
    languages = engine.info.languages if checks else ()
    return Report(
        engine.info.version,
        {name: evaluate(engine, rows) for name, rows in row_sets.items()},
        {name: compare(engine, other, rows) for name, rows in row_sets.items()} if other else {},
        {language: robustness(engine, language) for language in languages},
        {
            name: faithfulness(engine, [row.text for row in rows[:DELETION_TEXTS]])
            for name, rows in row_sets.items()
        }
        if checks
        else {},
        {
            name: events
            for name, rows in row_sets.items()
            if (events := evaluate_events(engine, rows)) is not None
        },
    )


def html(report: Report) -> str:
    """The report as an HTML page; all text is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"points": points, "pc": lambda value: f"{100 * value:.1f} %"}
    size = {"w": WIDTH, "h": HEIGHT, "m": MARGIN}
    return environment.from_string(PAGE.read_text(encoding="utf-8")).render(report=report, **size)


def points(pairs: Sequence[tuple[float, float]]) -> str:
    """Points (x, y) from 0 to 1 as the `points` of an SVG polyline."""
    inner = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)
    return " ".join(f"{MARGIN + x * inner[0]:.1f},{HEIGHT - MARGIN - y * inner[1]:.1f}" for x, y in pairs)

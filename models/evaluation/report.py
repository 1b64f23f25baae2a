"""An evaluation as one HTML page without scripts: scores, reliability, coverage, confusion, checks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from models.evaluation.robustness import Faithfulness, RobustnessReport
from models.evaluation.scores import Comparison, TaskReport

PAGE = Path(__file__).with_suffix(".html")
WIDTH, HEIGHT, MARGIN = 300, 240, 34


@dataclass(frozen=True)
class Report:
    """What one page shows."""

    model: str
    files: dict[str, Sequence[TaskReport]]
    comparisons: dict[str, Sequence[Comparison]] = field(default_factory=dict)
    robustness: dict[str, RobustnessReport] = field(default_factory=dict)
    faithfulness: dict[str, Faithfulness] = field(default_factory=dict)


def html(report: Report) -> str:
    """The page; everything that came from outside is escaped."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"points": points, "pc": lambda value: f"{100 * value:.1f} %"}
    size = {"w": WIDTH, "h": HEIGHT, "m": MARGIN}
    return environment.from_string(PAGE.read_text(encoding="utf-8")).render(report=report, **size)


def points(pairs: Sequence[tuple[float, float]]) -> str:
    """(x, y) from 0 to 1 as the points of an SVG polyline."""
    inner = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)
    return " ".join(f"{MARGIN + x * inner[0]:.1f},{HEIGHT - MARGIN - y * inner[1]:.1f}" for x, y in pairs)

"""How well a classifier finds the events that texts report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.data.dataset import Row
from models.evaluation.scores import ClassReport, bootstrap
from models.inference.second_opinion import TextClassifier


@dataclass(frozen=True)
class EventReport:
    """Scores over the rows that say which events they report.

    `types` are those that some row reports or that were found.  Macro-F1 is over those that some row reports,
    with a 95 % interval by bootstrap over the rows.  `quiet` is the share of the rows without any event in
    which none was found; None if every row reports one.
    """

    n: int
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    quiet: float | None
    types: tuple[ClassReport, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate_events(engine: TextClassifier, rows: Sequence[Row]) -> EventReport | None:
    """Look for the events of rows as the daemon would; None if no row says which events it reports."""
    labelled = [row for row in rows if row.events is not None]
    if not labelled:
        return None
    predictions = engine.classify([row.text for row in labelled])
    found = [{event.type for event in prediction.events} for prediction in predictions]
    return event_report([set(row.events or ()) for row in labelled], found)


def event_report(reported: Sequence[set[str]], found: Sequence[set[str]]) -> EventReport:
    """From the types of events that each of some texts reports, and those that were found in it."""
    names = sorted(set().union(*reported, *found))
    truth, predicted = (
        np.array([[name in own for name in names] for own in sets]) for sets in (reported, found)
    )
    counted = truth.any(0)

    def macro_f1(weight: np.ndarray) -> float:
        hits, both = weight @ (truth & predicted), weight @ truth + weight @ predicted
        f1 = np.divide(2 * hits, both, out=np.zeros(len(names)), where=both > 0)
        return float(f1[counted].mean()) if counted.any() else 0.0

    quiet = [not own for own, known in zip(found, reported, strict=True) if not known]
    return EventReport(
        len(reported),
        macro_f1(np.ones(len(reported))),
        bootstrap(len(reported), macro_f1),
        float(np.mean(quiet)) if quiet else None,
        tuple(_class_report(name, truth[:, i], predicted[:, i]) for i, name in enumerate(names)),
    )


def _class_report(name: str, truth: np.ndarray, predicted: np.ndarray) -> ClassReport:
    hits, found, n = int((truth & predicted).sum()), int(predicted.sum()), int(truth.sum())
    f1 = 2 * hits / (found + n) if found + n else 0.0
    return ClassReport(name, hits / found if found else 0.0, hits / n if n else 0.0, f1, n)

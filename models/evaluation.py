"""How good a classifier is: precision, recall and F1 per class, accuracy and macro-F1."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.dataset import Row
from models.engine import Engine
from stream.nouns import Prediction

UNKNOWN, NONE_GIVEN = -2, -1


@dataclass(frozen=True)
class ClassReport:
    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class TaskReport:
    """Scores of one task on the rows that carry a label for it."""

    task: str
    n: int
    unsupported: int
    accuracy: float
    macro_f1: float
    classes: tuple[ClassReport, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(engine: Engine, rows: Sequence[Row]) -> list[TaskReport]:
    """Classify the rows as the daemon would and score each task that has labels.

    A row the engine calls unsupported counts as wrong: it got no label.
    """
    predictions = engine.classify([row.text for row in rows])
    return [
        _task_report(task, names, rows, predictions)
        for task, names in engine.info.labels.items()
        if any(task in row.labels for row in rows)
    ]


def _task_report(
    task: str, names: Sequence[str], rows: Sequence[Row], predictions: Sequence[Prediction]
) -> TaskReport:
    pairs = [
        (row.labels[task], getattr(prediction, task))
        for row, prediction in zip(rows, predictions, strict=True)
        if task in row.labels
    ]
    index = {name: i for i, name in enumerate(names)}
    truth = np.array([index.get(true, UNKNOWN) for true, _ in pairs])
    given = np.array([index.get(said, NONE_GIVEN) for _, said in pairs])
    return score(task, truth, given, names)


def score(task: str, truth: np.ndarray, given: np.ndarray, names: Sequence[str]) -> TaskReport:
    """Compare label positions, [n] with [n]; `names` are the labels in order.

    Macro-F1 is the plain mean of F1 over the classes that occur in `truth`.  UNKNOWN (a label the
    model does not have) and NONE_GIVEN are always wrong.
    """
    classes = []
    for i, name in enumerate(names):
        hit = int(((truth == i) & (given == i)).sum())
        said, support = int((given == i).sum()), int((truth == i).sum())
        precision, recall = hit / said if said else 0.0, hit / support if support else 0.0
        f1 = 2 * hit / (said + support) if said + support else 0.0
        classes.append(ClassReport(name, precision, recall, f1, support))
    seen = [c.f1 for c in classes if c.support]
    return TaskReport(
        task=task,
        n=len(truth),
        unsupported=int((given == NONE_GIVEN).sum()),
        accuracy=float((truth == given).mean()) if len(truth) else 0.0,
        macro_f1=float(np.mean(seen)) if seen else 0.0,
        classes=tuple(classes),
    )

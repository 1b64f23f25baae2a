"""How good a classifier is: scores with intervals, calibration, coverage, and where it is weak."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np

from models.data.dataset import Row
from models.inference.second_opinion import TextClassifier
from models.network.calibration import Bin, expected_calibration_error, reliability
from stream.domain.documents import Prediction

# Positions of labels that have no position: a true label the model does not know, and a row it did not label.
UNKNOWN_LABEL, NO_LABEL = -2, -1
RESAMPLES = 1000
LENGTHS = (40, 80, 160, 320)
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class ClassReport:
    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """Scores of some rows: accuracy, and macro-F1 over those with one right label."""

    n: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class Coverage:
    """The share and the accuracy of the labels with at least this confidence."""

    threshold: float
    covered: float
    accuracy: float


@dataclass(frozen=True)
class TaskReport:
    """Scores of one task on the rows that carry a label for it.

    Intervals are 95 % by bootstrap over the rows.  `confusion` counts [true][predicted], in the order of
    `labels`, over rows with one right label; `slices` score the rows by source, kind and length.
    `certain` is the share of labels that the engine calls certain, `certain_accuracy` theirs.
    """

    task: str
    n: int
    unsupported: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    ece: float
    certain: float
    certain_accuracy: float
    labels: tuple[str, ...]
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[Bin, ...]
    coverage: tuple[Coverage, ...]
    slices: Mapping[str, Scores]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows; `only_first` counts rows that only the first labels correctly.

    `p_value` is McNemar's exact test that neither is better; the difference in macro-F1 (second minus
    first) has a 95 % interval by paired bootstrap.
    """

    task: str
    n: int
    accuracy: tuple[float, float]
    macro_f1: tuple[float, float]
    only_first: int
    only_second: int
    p_value: float
    difference_interval: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class LabelledPredictions:
    """The rows with a label for one task and their predictions, as arrays over the rows.

    `truth` and `predicted` are label positions, `correct` whether the predicted label is (one of) the
    true ones, `single` whether there is only one true label.
    """

    rows: Sequence[Row]
    truth: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    single: np.ndarray
    confidence: np.ndarray
    certain: np.ndarray


def evaluate(engine: TextClassifier, rows: Sequence[Row]) -> list[TaskReport]:
    """Classify the rows as the daemon would and score each task that has labels.

    A row the engine calls unsupported counts as wrong: it got no label.
    """
    predictions = engine.classify([row.text for row in rows])
    return [
        report(task, names, labelled_predictions(task, names, rows, predictions))
        for task, names in engine.info.labels.items()
        if any(task in row.labels for row in rows)
    ]


def labelled_predictions(
    task: str, names: Sequence[str], rows: Sequence[Row], predictions: Sequence[Prediction]
) -> LabelledPredictions:
    """The rows with a label for `task`, with their predictions."""
    positions = {name: i for i, name in enumerate(names)}
    pairs = [
        (row, prediction) for row, prediction in zip(rows, predictions, strict=True) if task in row.labels
    ]
    labels = [getattr(prediction, task) for _, prediction in pairs]
    true_names = [row.labels[task].names for row, _ in pairs]
    probabilities = [prediction.probabilities.get(task, {"": 0.0}) for _, prediction in pairs]
    return LabelledPredictions(
        rows=[row for row, _ in pairs],
        truth=np.array([positions.get(allowed[0], UNKNOWN_LABEL) for allowed in true_names]),
        predicted=np.array([positions.get(label, NO_LABEL) for label in labels]),
        correct=np.array([label in allowed for label, allowed in zip(labels, true_names, strict=True)]),
        single=np.array([len(allowed) == 1 for allowed in true_names]),
        confidence=np.array([max(by_label.values()) for by_label in probabilities]),
        certain=np.array(
            [prediction.certain and prediction.sentiment is not None for _, prediction in pairs]
        ),
    )


def report(task: str, names: Sequence[str], predictions: LabelledPredictions) -> TaskReport:
    """The report of one task."""
    truth, predicted = predictions.truth[predictions.single], predictions.predicted[predictions.single]
    labelled = predictions.predicted != NO_LABEL
    bins = reliability(predictions.confidence[labelled], predictions.correct[labelled])
    classes = class_reports(truth, predicted, names)
    return TaskReport(
        task=task,
        n=len(predictions.rows),
        unsupported=int((~labelled).sum()),
        accuracy=_mean(predictions.correct),
        accuracy_interval=bootstrap(
            len(predictions.correct), lambda weight: float(predictions.correct @ weight)
        ),
        macro_f1=macro_f1(truth, predicted, len(names)),
        macro_f1_interval=bootstrap(
            len(truth), lambda weight: macro_f1(truth, predicted, len(names), weight)
        ),
        ece=expected_calibration_error(bins),
        certain=_mean(predictions.certain),
        certain_accuracy=_mean(predictions.correct[predictions.certain]),
        labels=tuple(names),
        classes=tuple(classes),
        confusion=confusion(truth, predicted, len(names)),
        reliability=bins,
        coverage=coverage(predictions),
        slices=slices(predictions, len(names)),
    )


def class_reports(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> list[ClassReport]:
    """Precision, recall and F1 of each label; UNKNOWN_LABEL and NO_LABEL are always wrong."""
    classes = []
    for i, name in enumerate(names):
        hits = int(((truth == i) & (predicted == i)).sum())
        predictions, support = int((predicted == i).sum()), int((truth == i).sum())
        precision, recall = hits / predictions if predictions else 0.0, hits / support if support else 0.0
        f1 = 2 * hits / (predictions + support) if predictions + support else 0.0
        classes.append(ClassReport(name, precision, recall, f1, support))
    return classes


def macro_f1(
    truth: np.ndarray, predicted: np.ndarray, labels: int, weight: np.ndarray | None = None
) -> float:
    """The plain mean of F1 over the classes that occur in `truth`, rows weighted by `weight`."""
    weight = np.ones(len(truth)) if weight is None else weight
    supports, predictions = (
        np.bincount(positions[positions >= 0], weight[positions >= 0], labels)
        for positions in (truth, predicted)
    )
    correct = (truth == predicted) & (truth >= 0)
    hits = np.bincount(truth[correct], weight[correct], labels)
    occurs = supports > 0
    return _mean(2 * hits[occurs] / (supports + predictions)[occurs])


def confusion(truth: np.ndarray, predicted: np.ndarray, labels: int) -> tuple[tuple[int, ...], ...]:
    """Counts [true][predicted]; rows with UNKNOWN_LABEL or NO_LABEL are left out."""
    both = (truth >= 0) & (predicted >= 0)
    counts = np.bincount(truth[both] * labels + predicted[both], minlength=labels * labels)
    return tuple(tuple(int(n) for n in row) for row in counts.reshape(labels, labels))


def coverage(predictions: LabelledPredictions) -> tuple[Coverage, ...]:
    """Coverage at each of THRESHOLDS."""
    covered = {threshold: predictions.confidence >= threshold for threshold in THRESHOLDS}
    return tuple(
        Coverage(threshold, _mean(rows), _mean(predictions.correct[rows]))
        for threshold, rows in covered.items()
    )


def slices(predictions: LabelledPredictions, labels: int) -> dict[str, Scores]:
    """Scores by source, kind and length in characters."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(predictions.rows):
        length = next(
            (f"up to {limit}" for limit in LENGTHS if len(row.text) <= limit), f"over {LENGTHS[-1]}"
        )
        for key in (f"source {row.source}", f"kind {row.kind}", f"characters {length}"):
            groups.setdefault(key, []).append(i)
    return {key: _scores(predictions, np.array(rows), labels) for key, rows in sorted(groups.items())}


def _scores(predictions: LabelledPredictions, rows: np.ndarray, labels: int) -> Scores:
    """Scores of the rows at the positions `rows`."""
    single = rows[predictions.single[rows]]
    return Scores(
        n=len(rows),
        accuracy=_mean(predictions.correct[rows]),
        macro_f1=macro_f1(predictions.truth[single], predictions.predicted[single], labels),
    )


def bootstrap(n: int, statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """The 95 % interval of `statistic` over resamples of n rows (Efron 1979).

    `statistic` gets weights [n] that sum to one: how often each row was drawn.  The seed is fixed, so the
    interval is reproducible.
    """
    if n == 0:
        return 0.0, 0.0
    rng = np.random.default_rng(0)
    values = [statistic(np.bincount(rng.integers(0, n, n), minlength=n) / n) for _ in range(RESAMPLES)]
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def compare(first: TextClassifier, second: TextClassifier, rows: Sequence[Row]) -> list[Comparison]:
    """Compare two models on the same rows, for each task that has labels and that both models have."""
    texts = [row.text for row in rows]
    predictions_by_model = [engine.classify(texts) for engine in (first, second)]
    comparisons = []
    for task, names in first.info.labels.items():
        if any(task in row.labels for row in rows) and set(names) == set(second.info.labels[task]):
            one, two = (
                labelled_predictions(task, names, rows, predictions) for predictions in predictions_by_model
            )
            comparisons.append(_compare(task, one, two, len(names)))
    return comparisons


def _compare(task: str, one: LabelledPredictions, two: LabelledPredictions, labels: int) -> Comparison:
    only_first = int((one.correct & ~two.correct).sum())
    only_second = int((two.correct & ~one.correct).sum())
    truth, first, second = (values[one.single] for values in (one.truth, one.predicted, two.predicted))

    def difference(weight: np.ndarray) -> float:
        return macro_f1(truth, second, labels, weight) - macro_f1(truth, first, labels, weight)

    return Comparison(
        task=task,
        n=len(one.rows),
        accuracy=(_mean(one.correct), _mean(two.correct)),
        macro_f1=(macro_f1(truth, first, labels), macro_f1(truth, second, labels)),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        difference_interval=bootstrap(len(truth), difference),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that neither model is more accurate (McNemar 1947).

    Under that hypothesis a row that only one model labels correctly is equally likely to be either's.
    """
    n, smaller = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(n, k) for k in range(smaller + 1))
    return float(min(1.0, 2 * tail / 2**n))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0

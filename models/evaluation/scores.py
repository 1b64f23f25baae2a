"""How good a classifier is: scores with intervals, calibration, coverage, and where it is weak."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np

from models.data.dataset import Row
from models.inference.engine import Engine
from models.network.calibration import Bin, expected_calibration_error, reliability
from stream.domain.documents import Prediction

UNKNOWN, NONE_GIVEN = -2, -1
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
    """What is left, and how good it is, when labels below a confidence do not count."""

    threshold: float
    covered: float
    accuracy: float


@dataclass(frozen=True)
class TaskReport:
    """Scores of one task on the rows that carry a label for it.

    Intervals are 95 % by bootstrap over the rows.  `confusion` counts [true][given], in the order of
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
    """Two models on the same rows: `only_first` rows that only the first has right, and so on.

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
class Answers:
    """One task's labelled rows and what was said of them, as arrays over the rows.

    `truth` and `given` are label positions, `right` whether the given label is (one of) the true.
    """

    rows: Sequence[Row]
    truth: np.ndarray
    given: np.ndarray
    right: np.ndarray
    single: np.ndarray
    confidence: np.ndarray
    certain: np.ndarray


def evaluate(engine: Engine, rows: Sequence[Row]) -> list[TaskReport]:
    """Classify the rows as the daemon would and score each task that has labels.

    A row the engine calls unsupported counts as wrong: it got no label.
    """
    predictions = engine.classify([row.text for row in rows])
    return [
        report(task, names, answers(task, names, rows, predictions))
        for task, names in engine.info.labels.items()
        if any(task in row.labels for row in rows)
    ]


def answers(
    task: str, names: Sequence[str], rows: Sequence[Row], predictions: Sequence[Prediction]
) -> Answers:
    """The labelled rows of a task beside their predictions."""
    index = {name: i for i, name in enumerate(names)}
    pairs = [(row, given) for row, given in zip(rows, predictions, strict=True) if task in row.labels]
    said = [getattr(given, task) for _, given in pairs]
    allowed = [row.labels[task].names for row, _ in pairs]
    return Answers(
        rows=[row for row, _ in pairs],
        truth=np.array([index.get(label[0], UNKNOWN) for label in allowed]),
        given=np.array([index.get(label, NONE_GIVEN) for label in said]),
        right=np.array([label in may for label, may in zip(said, allowed, strict=True)]),
        single=np.array([len(may) == 1 for may in allowed]),
        confidence=np.array([max(given.probabilities.get(task, {"": 0.0}).values()) for _, given in pairs]),
        certain=np.array([given.certain and given.sentiment is not None for _, given in pairs]),
    )


def report(task: str, names: Sequence[str], found: Answers) -> TaskReport:
    """Everything about one task."""
    truth, given = found.truth[found.single], found.given[found.single]
    labelled = found.given != NONE_GIVEN
    bins = reliability(found.confidence[labelled], found.right[labelled])
    classes = class_reports(truth, given, names)
    return TaskReport(
        task=task,
        n=len(found.rows),
        unsupported=int((~labelled).sum()),
        accuracy=_mean(found.right),
        accuracy_interval=bootstrap(len(found.right), lambda weight: float(found.right @ weight)),
        macro_f1=macro_f1(truth, given, len(names)),
        macro_f1_interval=bootstrap(len(truth), lambda weight: macro_f1(truth, given, len(names), weight)),
        ece=expected_calibration_error(bins),
        certain=_mean(found.certain),
        certain_accuracy=_mean(found.right[found.certain]),
        labels=tuple(names),
        classes=tuple(classes),
        confusion=confusion(truth, given, len(names)),
        reliability=bins,
        coverage=coverage(found),
        slices=slices(found, len(names)),
    )


def class_reports(truth: np.ndarray, given: np.ndarray, names: Sequence[str]) -> list[ClassReport]:
    """Precision, recall and F1 of each label; UNKNOWN and NONE_GIVEN are always wrong."""
    classes = []
    for i, name in enumerate(names):
        hit = int(((truth == i) & (given == i)).sum())
        said, support = int((given == i).sum()), int((truth == i).sum())
        precision, recall = hit / said if said else 0.0, hit / support if support else 0.0
        f1 = 2 * hit / (said + support) if said + support else 0.0
        classes.append(ClassReport(name, precision, recall, f1, support))
    return classes


def macro_f1(truth: np.ndarray, given: np.ndarray, labels: int, weight: np.ndarray | None = None) -> float:
    """The plain mean of F1 over the classes that occur in `truth`, rows weighted by `weight`."""
    weight = np.ones(len(truth)) if weight is None else weight
    counts = [np.bincount(of[of >= 0], weight[of >= 0], labels) for of in (truth, given)]
    hit = (truth == given) & (truth >= 0)
    hits = np.bincount(truth[hit], weight[hit], labels)
    seen = counts[0] > 0
    return _mean(2 * hits[seen] / (counts[0] + counts[1])[seen])


def confusion(truth: np.ndarray, given: np.ndarray, labels: int) -> tuple[tuple[int, ...], ...]:
    both = (truth >= 0) & (given >= 0)
    counts = np.bincount(truth[both] * labels + given[both], minlength=labels * labels)
    return tuple(tuple(int(n) for n in row) for row in counts.reshape(labels, labels))


def coverage(found: Answers) -> tuple[Coverage, ...]:
    kept = [(threshold, found.confidence >= threshold) for threshold in THRESHOLDS]
    return tuple(Coverage(at, _mean(inside), _mean(found.right[inside])) for at, inside in kept)


def slices(found: Answers, labels: int) -> dict[str, Scores]:
    """Scores by source, kind and length in characters."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(found.rows):
        longest = next(
            (f"up to {limit}" for limit in LENGTHS if len(row.text) <= limit), f"over {LENGTHS[-1]}"
        )
        for key in (f"source {row.source}", f"kind {row.kind}", f"characters {longest}"):
            groups.setdefault(key, []).append(i)
    return {key: _scores(found, np.array(places), labels) for key, places in sorted(groups.items())}


def _scores(found: Answers, places: np.ndarray, labels: int) -> Scores:
    single = places[found.single[places]]
    return Scores(
        len(places), _mean(found.right[places]), macro_f1(found.truth[single], found.given[single], labels)
    )


def bootstrap(n: int, figure: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """The 95 % interval of `figure` over resamples of n rows (Efron 1979).

    `figure` gets weights [n] that sum to one: how often each row was drawn.  Same seed, same interval.
    """
    if n == 0:
        return 0.0, 0.0
    dice = np.random.default_rng(0)
    draws = [figure(np.bincount(dice.integers(0, n, n), minlength=n) / n) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def compare(first: Engine, second: Engine, rows: Sequence[Row]) -> list[Comparison]:
    """Both models on the same rows, a comparison for each task that has labels and both know."""
    texts = [row.text for row in rows]
    said = [engine.classify(texts) for engine in (first, second)]
    found = []
    for task, names in first.info.labels.items():
        if any(task in row.labels for row in rows) and set(names) == set(second.info.labels[task]):
            one, two = (answers(task, names, rows, predictions) for predictions in said)
            found.append(_compare(task, one, two, len(names)))
    return found


def _compare(task: str, one: Answers, two: Answers, labels: int) -> Comparison:
    only_first, only_second = int((one.right & ~two.right).sum()), int((two.right & ~one.right).sum())
    truth, given = one.truth[one.single], (one.given[one.single], two.given[one.single])

    def difference(weight: np.ndarray) -> float:
        return macro_f1(truth, given[1], labels, weight) - macro_f1(truth, given[0], labels, weight)

    return Comparison(
        task=task,
        n=len(one.rows),
        accuracy=(_mean(one.right), _mean(two.right)),
        macro_f1=(macro_f1(truth, given[0], labels), macro_f1(truth, given[1], labels)),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        difference_interval=bootstrap(len(truth), difference),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that rows only one has right fall to either side alike (McNemar 1947)."""
    n, few = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(n, k) for k in range(few + 1))
    return float(min(1.0, 2 * tail / 2**n))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0

"""The figures of `tools.judgement` that come from labelled texts, each with a 95 % bootstrap interval."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from models.data.dataset import Row, Source, read_recipe, read_source
from models.document_classifier import DocumentClassifier
from models.evaluation.robustness import read_pairs
from models.evaluation.scores import NO_LABEL, LabelledPredictions, bootstrap, labelled_predictions, macro_f1
from models.network.calibration import expected_calibration_error, reliability
from stream.domain.documents import SENTIMENTS, Prediction, TextInput
from stream.domain.entities import TargetSentiment

RECIPES = Path(__file__).parents[1] / "models" / "recipes"
LANGUAGES = ("en", "zh")
# The topic that rows labelled before it existed do not have.
NEW_TOPIC = "Crypto"
BINS = 15
# With fewer rows a calibration error is mostly chance, and nothing is required of it.
MANY_ROWS = 800
DRAWS = 200
# A wrong label above this probability misleads whoever filters by it.
SURE = 0.9

Interval = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A measured value of `n` things, with an interval, and the least or the most that is required of it."""

    name: str
    value: float
    interval: Interval | None = None
    n: int = 0
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the value is what is required; None if nothing is."""
        if self.at_least is None and self.at_most is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)


@dataclass(frozen=True)
class LabelledSet:
    """Rows with labels of one task.  `required` are the accuracy and the macro-F1 that they must show.

    Of a set that is `binary`, the label says only whether a text is negative.
    """

    name: str
    task: str
    rows: Sequence[Row]
    required: tuple[float | None, float | None] = (None, None)
    binary: bool = False


def labelled_sets(data: Path) -> Iterator[LabelledSet]:
    """The validation sets without near-copies of training rows, and rows that training leaves alone."""
    news = read_source(Source(file=data / "sentiment/tfn_valid_strict.jsonl"))
    yield LabelledSet("TFN sentiment", "sentiment", news, (0.895, 0.87))
    topics = read_source(Source(file=data / "topic/tfn_valid_strict.jsonl"))
    yield LabelledSet("TFN topic", "topic", topics, (0.905, 0.885))
    posts = read_source(Source(file=data / "sentiment/stockemotions_valid.jsonl", kind="comment"))
    yield LabelledSet("StockEmotions, two labels", "sentiment", posts)
    forum = read_source(Source(file=data / "zh/finfe_valid_strict.jsonl", kind="comment"))
    yield LabelledSet("Chinese forum", "sentiment", forum, (0.80, 0.69))
    recipe = {source.file.name: source for source in read_recipe(RECIPES / "zh.yaml", data).sources}
    flashes = recipe["finnl_train.jsonl"].model_copy(update={"file": data / "zh/finnl_valid_strict.jsonl"})
    clear = [row for row in read_source(flashes) if row.labels["topic"].only not in (None, NEW_TOPIC)]
    yield LabelledSet("Chinese flashes with one clear tag", "topic", clear)
    bad_news = read_source(recipe["finnsp_train.jsonl"], kept_back=True)
    yield LabelledSet("Chinese bad news or not", "sentiment", bad_news, binary=True)


def label_figures(classifier: DocumentClassifier, data: Path) -> Iterator[Figure]:
    """Accuracy, macro-F1 and calibration error of each set."""
    errors = []
    for one in labelled_sets(data):
        predictions = classifier.classify([TextInput(row.text) for row in one.rows])
        names = classifier.engine.info.labels[one.task]
        if one.task == "topic":
            names = tuple(name for name in names if name != NEW_TOPIC)
            predictions = list(map(without_new_topic, predictions))
        scored = labelled_predictions(one.task, names, one.rows, predictions)
        yield _share(f"{one.name}: accuracy", scored.correct, at_least=one.required[0])
        if not one.binary:
            yield _macro_f1(one, scored, len(names))
        confidence = _two_way(predictions) if one.binary else scored.confidence
        at_most = 0.03 if len(one.rows) >= MANY_ROWS else None
        errors.append(_calibration(f"{one.name}: ECE", confidence, scored.correct, at_most))
        yield errors[-1]
        yield _calibration_by_chance(f"{one.name}: ECE that chance alone gives", confidence)
    worst = max(errors, key=lambda figure: figure.value if figure.at_most else 0.0)
    yield Figure("largest ECE of the sets with many rows", worst.value, worst.interval, worst.n, at_most=0.03)


def without_new_topic(prediction: Prediction) -> Prediction:
    """The prediction as one among the topics without the new one: the next best takes its place."""
    by_label = prediction.probabilities.get("topic", {})
    rest = {name: value for name, value in by_label.items() if name != NEW_TOPIC}
    total = sum(rest.values())
    if len(rest) == len(by_label) or not total:
        return prediction
    rest = {name: value / total for name, value in rest.items()}
    probabilities = {**prediction.probabilities, "topic": rest}
    return replace(prediction, topic=max(rest, key=rest.__getitem__), probabilities=probabilities)


def _two_way(predictions: Sequence[Prediction]) -> np.ndarray:
    """How sure each prediction is that its text is negative, or that it is not."""
    negative = [
        prediction.probabilities.get("sentiment", {}).get("negative", 0.0) for prediction in predictions
    ]
    labels = [prediction.sentiment for prediction in predictions]
    return np.array(
        [p if label == "negative" else 1 - p for p, label in zip(negative, labels, strict=True)], float
    )


def _macro_f1(one: LabelledSet, scored: LabelledPredictions, labels: int) -> Figure:
    truth, predicted = scored.truth[scored.single], scored.predicted[scored.single]

    def statistic(weight: np.ndarray) -> float:
        return macro_f1(truth, predicted, labels, weight)

    interval = bootstrap(len(truth), statistic)
    value = macro_f1(truth, predicted, labels)
    return Figure(f"{one.name}: macro-F1", value, interval, len(truth), at_least=one.required[1])


def _calibration(name: str, confidence: np.ndarray, right: np.ndarray, at_most: float | None) -> Figure:
    """The expected calibration error, over BINS equal intervals of confidence."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = right - confidence

    def statistic(weight: np.ndarray) -> float:
        return float(np.abs(np.bincount(bins, gap * weight, BINS)).sum())

    n = len(right)
    return Figure(name, statistic(np.full(n, 1 / n)), bootstrap(n, statistic), n, at_most=at_most)


def _calibration_by_chance(name: str, confidence: np.ndarray) -> Figure:
    """The mean error, and a 95 % interval, of labels that are right as often as their confidence says."""
    rng = np.random.default_rng(0)
    draws = [rng.random(len(confidence)) < confidence for _ in range(DRAWS)]
    errors = [expected_calibration_error(reliability(confidence, right, BINS)) for right in draws]
    low, high = np.percentile(errors, (2.5, 97.5))
    return Figure(name, float(np.mean(errors)), (float(low), float(high)), len(confidence))


def _share(
    name: str, right: np.ndarray, groups: np.ndarray | None = None, at_least: float | None = None
) -> Figure:
    """The share that is right, with an interval over the groups that belong together (int [n])."""
    groups = np.arange(len(right)) if groups is None else groups
    right = np.asarray(right, float)

    def statistic(weight: np.ndarray) -> float:
        weights = weight[groups]
        return float(right @ weights / weights.sum()) if weights.sum() else 0.0

    size = int(groups.max()) + 1 if len(groups) else 0
    value = float(right.mean()) if len(right) else 0.0
    return Figure(name, value, bootstrap(size, statistic), len(right), at_least=at_least)


def kind_figures(classifier: DocumentClassifier, _: Path) -> Iterator[Figure]:
    """The hard kinds of text: accuracy of each, overall, and pairs that are right as a whole."""
    for language in LANGUAGES:
        rows = read_pairs(f"kinds_{language}.csv")
        predictions = classifier.classify([TextInput(row["text"], language) for row in rows])
        right = np.array([p.sentiment == row["sentiment"] for p, row in zip(predictions, rows, strict=True)])
        pairs = np.unique([f"{row['kind']} {row['pair']}" for row in rows], return_inverse=True)[1]
        yield _share(f"kinds, {language}: accuracy", right, pairs, at_least=0.90)
        for kind in dict.fromkeys(row["kind"] for row in rows):
            inside = np.array([row["kind"] == kind for row in rows])
            own = np.unique(pairs[inside], return_inverse=True)[1]
            yield _share(f"kinds, {language}: {kind}", right[inside], own, at_least=0.75)
        whole = np.array([right[pairs == pair].all() for pair in range(pairs.max() + 1)])
        yield _share(f"kinds, {language}: pairs right as a whole", whole)
        confidence = _confidence(predictions, "sentiment")
        yield _calibration(f"kinds, {language}: ECE", confidence, right, at_most=None)
        yield _share(f"kinds, {language}: wrong with p > {SURE}", ~right & (confidence > SURE), pairs)


def _confidence(predictions: Sequence[Prediction], task: str) -> np.ndarray:
    return np.array([max(p.probabilities.get(task, {"": 0.0}).values()) for p in predictions])


def direction_figures(classifier: DocumentClassifier, _: Path) -> Iterator[Figure]:
    """Pairs that differ in the words that decide the sentiment: both sides right."""
    both = []
    for language in LANGUAGES:
        pairs = read_pairs(f"directions_{language}.csv")
        sides = [
            classifier.classify([TextInput(pair[side], language) for pair in pairs]) for side in ("a", "b")
        ]
        right = [
            a.sentiment == pair["a_sentiment"] and b.sentiment == pair["b_sentiment"]
            for pair, a, b in zip(pairs, *sides, strict=True)
        ]
        yield _share(f"direction pairs, {language}: both sides right", np.array(right), at_least=0.94)
        both += right
    yield _share("direction pairs: both sides right", np.array(both), at_least=0.94)


def plain_figures(classifier: DocumentClassifier, _: Path) -> Iterator[Figure]:
    """Plain news: accuracy of the labels, and of those that are certain."""
    for language in LANGUAGES:
        rows = read_pairs(f"plain_{language}.csv")
        predictions = classifier.classify([TextInput(row["text"], language) for row in rows])
        right = np.array([p.sentiment == row["sentiment"] for p, row in zip(predictions, rows, strict=True)])
        certain = np.array([p.counted_sentiment is not None for p in predictions])
        yield _share(f"plain news, {language}: accuracy", right)
        yield _share(f"plain news, {language}: certain", certain)
        yield _share(f"plain news, {language}: accuracy of certain labels", right[certain], at_least=0.96)
        sure = int((~right & (_confidence(predictions, "sentiment") > SURE)).sum())
        yield Figure(
            f"plain news, {language}: wrong with p > {SURE}", sure, n=len(rows), at_most=len(rows) // 120 or 1
        )
        known = np.array([row["topic"] in classifier.topics for row in rows])
        topic = np.array([p.topic == row["topic"] for p, row in zip(predictions, rows, strict=True)])
        yield _share(f"plain news, {language}: topics that it knows", topic[known])


def target_figures(classifier: DocumentClassifier, data: Path) -> Iterator[Figure]:
    """The sentiment towards names, on rows that training leaves alone."""
    chinese = _kept_back(data / "zh/cfsc_targets_dev.jsonl", "zh.yaml", data)
    yield from _target_figures(classifier, "towards names, Chinese", chinese, (0.80, 0.70))
    headlines = _kept_back(data / "sentiment/sentfin_entities.jsonl", "en.yaml", data)
    several = [row for row in headlines if row.has_several_moods]
    yield from _target_figures(classifier, "towards names, texts with several moods", several, (0.78, None))
    yield from _target_figures(classifier, "towards names, headlines", headlines, (None, None))


def _kept_back(file: Path, recipe: str, data: Path) -> list[Row]:
    """The rows of a file that a training run with the recipe does not read, if they have targets."""
    (source,) = (one for one in read_recipe(RECIPES / recipe, data).sources if one.file == file)
    return [row for row in read_source(source, kept_back=True) if row.targets]


def _target_figures(
    classifier: DocumentClassifier,
    name: str,
    rows: Sequence[Row],
    required: tuple[float | None, float | None],
) -> Iterator[Figure]:
    places = [[target.places for target in row.targets] for row in rows]
    predictions = classifier.engine.classify([row.text for row in rows], targets=places)
    texts = np.repeat(np.arange(len(rows)), [len(row.targets) for row in rows])
    labels: dict[str | None, int] = {label: i for i, label in enumerate(SENTIMENTS)}
    truth = np.array([labels[target.label.only] for row in rows for target in row.targets])
    # As in the product, the sentiment of the text stands for one towards a name that there is none for.
    given = [
        prediction.targets or [TargetSentiment(prediction.sentiment)] * len(row.targets)
        for prediction, row in zip(predictions, rows, strict=True)
    ]
    answers = [answer for of_text in given for answer in of_text]
    predicted = np.array([labels.get(answer.sentiment, NO_LABEL) for answer in answers])

    def statistic(weight: np.ndarray) -> float:
        return macro_f1(truth, predicted, len(labels), weight[texts])

    yield _share(f"{name}: accuracy", truth == predicted, texts, at_least=required[0])
    score = macro_f1(truth, predicted, len(labels))
    interval = bootstrap(len(rows), statistic)
    yield Figure(f"{name}: macro-F1", score, interval, len(truth), at_least=required[1])
    own = np.array([answer.of_target for answer in answers])
    yield _share(f"{name}: answered by the head for targets", own, texts)


# What a model that was trained without a source is scored on, and the macro-F1 that the card gives for it.
LEFT_OUT: Mapping[str, tuple[str, float]] = {
    "tfn": ("sentiment/tfn_valid_strict.jsonl", 0.569),
    "sentfin": ("sentiment/sentfin_entities.jsonl", 0.742),
    "stockemotions": ("sentiment/stockemotions_valid.jsonl", 0.509),
}


def left_out_figures(
    load: Callable[[Path], DocumentClassifier], data: Path, models: Mapping[str, Path]
) -> Iterator[Figure]:
    """Models that were each trained without one source, on rows of that source."""
    gains = []
    for source, folder in models.items():
        file, before = LEFT_OUT[source]
        rows = [row for row in read_source(Source(file=data / file)) if "sentiment" in row.labels]
        classifier = load(folder)
        predictions = classifier.classify([TextInput(row.text) for row in rows])
        names = classifier.engine.info.labels["sentiment"]
        scored = labelled_predictions("sentiment", names, rows, predictions)
        one = LabelledSet(f"left out of training, {source}", "sentiment", rows)
        yield _share(f"{one.name}: accuracy", scored.correct)
        figure = _macro_f1(one, scored, len(names))
        yield figure
        gains.append(100 * (figure.value - before))
    if gains:
        name = "left out of training: points of macro-F1 above the card, mean"
        yield Figure(name, float(np.mean(gains)), n=len(gains), at_least=4.0)

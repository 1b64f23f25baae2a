"""Scores agree with hand-computed values, intervals have their coverage, and calibration corrects confidence."""

import numpy as np
import pytest

from models.data.dataset import Label, Row
from models.evaluation.scores import (
    NO_LABEL,
    UNKNOWN_LABEL,
    bootstrap,
    class_reports,
    confusion,
    labelled_predictions,
    macro_f1,
    mcnemar,
    report,
)
from models.network.calibration import Bin, expected_calibration_error, fit_temperature, reliability, softmax
from stream.domain.documents import Prediction

NAMES = ("positive", "neutral", "negative")


def test_precision_recall_f1_and_confusion_match_hand_computed_values() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2, UNKNOWN_LABEL])
    predicted = np.array([0, 0, 1, 1, 0, NO_LABEL, 0])
    a, b, c, d = class_reports(truth, predicted, ["a", "b", "c", "d"])
    assert (a.precision, a.recall, a.f1) == (pytest.approx(2 / 4), pytest.approx(2 / 3), pytest.approx(4 / 7))
    assert (b.precision, b.recall, b.support) == (0.5, 0.5, 2)
    assert (c.precision, c.recall, c.f1) == (0, 0, 0)
    assert d.support == 0
    assert macro_f1(truth, predicted, 4) == pytest.approx((4 / 7 + 0.5 + 0) / 3)
    assert confusion(truth, predicted, 3) == ((2, 1, 0), (1, 1, 0), (0, 0, 0))


def test_scoring_no_rows_gives_zero_instead_of_an_error() -> None:
    no_rows = np.array([], dtype=int)
    assert macro_f1(no_rows, no_rows, 1) == 0.0
    assert bootstrap(0, lambda weight: 1.0) == (0.0, 0.0)


def prediction(sentiment: str | None, confidence: float = 0.9, certain: bool = True) -> Prediction:
    if sentiment is None:
        return Prediction("m", "fr")
    rest = (1 - confidence) / 2
    probabilities = {name: confidence if name == sentiment else rest for name in NAMES}
    return Prediction("m", "en", "Macro", sentiment, 0.0, {"sentiment": probabilities}, certain=certain)


def test_a_report_counts_every_row_and_scores_slices_and_coverage() -> None:
    rows = [
        Row("short", {"sentiment": Label(("positive",))}, source="a", kind="news"),
        Row("x" * 50, {"sentiment": Label(("neutral", "positive"))}, source="b", kind="comment"),
        Row("short", {"sentiment": Label(("negative",))}, source="a", kind="news"),
        Row("french", {"sentiment": Label(("negative",))}, source="a", kind="news"),
    ]
    predictions = [
        prediction("positive"),
        prediction("neutral"),
        prediction("positive", 0.5, certain=False),
        prediction(None),
    ]
    scores = report("sentiment", NAMES, labelled_predictions("sentiment", NAMES, rows, predictions))
    assert (scores.n, scores.unsupported, scores.accuracy) == (4, 1, 0.5)
    assert (scores.certain, scores.certain_accuracy) == (0.5, 1.0)
    assert scores.slices["source a"].accuracy == pytest.approx(1 / 3)
    assert scores.slices["kind comment"].n == 1
    assert scores.slices["characters up to 80"].n == 1
    assert [(step.threshold, step.covered) for step in scores.coverage if step.threshold in (0.6, 0.9)] == [
        (0.6, 0.5),
        (0.9, 0.5),
    ]
    low, high = scores.accuracy_interval
    assert 0 <= low < 0.5 < high <= 1


def test_the_bootstrap_interval_of_a_mean_matches_the_normal_approximation() -> None:
    right = np.random.default_rng(1).random(2000) < 0.8
    low, high = bootstrap(len(right), lambda weight: float(right @ weight))
    half = 1.96 * (0.8 * 0.2 / 2000) ** 0.5
    assert low == pytest.approx(right.mean() - half, abs=0.004)
    assert high == pytest.approx(right.mean() + half, abs=0.004)


def test_mcnemar_gives_exact_p_values() -> None:
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 10) == pytest.approx(2 / 1024)
    assert mcnemar(0, 0) == 1.0


def test_temperature_scaling_corrects_overconfidence_and_changes_no_label() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(4000, 3)) * 1.5
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits)])
    allowed = np.eye(3, dtype=bool)[truth]
    temperature = fit_temperature(logits * 4, allowed)
    assert temperature == pytest.approx(4, rel=0.1)
    scaled = softmax(logits * 4 / temperature)
    right = allowed[np.arange(4000), scaled.argmax(-1)]
    assert expected_calibration_error(reliability(scaled.max(-1), right)) < 0.03
    before = softmax(logits * 4)
    assert expected_calibration_error(reliability(before.max(-1), right)) > 0.1
    assert (before.argmax(-1) == scaled.argmax(-1)).all()


def test_calibration_error_is_the_mean_gap_weighted_by_bin_size() -> None:
    assert expected_calibration_error([Bin(3, 0.9, 0.8), Bin(1, 0.5, 0.9)]) == pytest.approx(0.175)
    assert expected_calibration_error([]) == 0.0

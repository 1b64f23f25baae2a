"""Scores against the textbook, intervals that hold what they promise, calibration that calibrates."""

import numpy as np
import pytest

from models.data.dataset import Label, Row
from models.evaluation.scores import (
    NONE_GIVEN,
    UNKNOWN,
    answers,
    bootstrap,
    class_reports,
    confusion,
    macro_f1,
    mcnemar,
    report,
)
from models.network.calibration import Bin, expected_calibration_error, fit_temperature, reliability, softmax
from stream.domain.documents import Prediction

NAMES = ("positive", "neutral", "negative")


def test_scores_are_those_of_the_textbook() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2, UNKNOWN])
    given = np.array([0, 0, 1, 1, 0, NONE_GIVEN, 0])
    a, b, c, d = class_reports(truth, given, ["a", "b", "c", "d"])
    assert (a.precision, a.recall, a.f1) == (pytest.approx(2 / 4), pytest.approx(2 / 3), pytest.approx(4 / 7))
    assert (b.precision, b.recall, b.support) == (0.5, 0.5, 2)
    assert (c.precision, c.recall, c.f1) == (0, 0, 0)
    assert d.support == 0
    assert macro_f1(truth, given, 4) == pytest.approx((4 / 7 + 0.5 + 0) / 3)
    assert confusion(truth, given, 3) == ((2, 1, 0), (1, 1, 0), (0, 0, 0))


def test_nothing_to_score_is_zero_not_an_error() -> None:
    none = np.array([], dtype=int)
    assert macro_f1(none, none, 1) == 0.0
    assert bootstrap(0, lambda weight: 1.0) == (0.0, 0.0)


def said(sentiment: str | None, confidence: float = 0.9, certain: bool = True) -> Prediction:
    if sentiment is None:
        return Prediction("m", "fr")
    rest = (1 - confidence) / 2
    probabilities = {name: confidence if name == sentiment else rest for name in NAMES}
    return Prediction("m", "en", "Macro", sentiment, 0.0, {"sentiment": probabilities}, certain=certain)


def test_a_report_counts_every_row_and_says_where_it_is_weak() -> None:
    rows = [
        Row("short", {"sentiment": Label(("positive",))}, source="a", kind="news"),
        Row("x" * 50, {"sentiment": Label(("neutral", "positive"))}, source="b", kind="comment"),
        Row("short", {"sentiment": Label(("negative",))}, source="a", kind="news"),
        Row("french", {"sentiment": Label(("negative",))}, source="a", kind="news"),
    ]
    given = [said("positive"), said("neutral"), said("positive", 0.5, certain=False), said(None)]
    found = report("sentiment", NAMES, answers("sentiment", NAMES, rows, given))
    assert (found.n, found.unsupported, found.accuracy) == (4, 1, 0.5)
    assert (found.certain, found.certain_accuracy) == (0.5, 1.0)
    assert found.slices["source a"].accuracy == pytest.approx(1 / 3)
    assert found.slices["kind comment"].n == 1
    assert found.slices["characters up to 80"].n == 1
    assert [(step.threshold, step.covered) for step in found.coverage if step.threshold in (0.6, 0.9)] == [
        (0.6, 0.5),
        (0.9, 0.5),
    ]
    low, high = found.accuracy_interval
    assert 0 <= low < 0.5 < high <= 1


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    right = np.random.default_rng(1).random(2000) < 0.8
    low, high = bootstrap(len(right), lambda weight: float(right @ weight))
    half = 1.96 * (0.8 * 0.2 / 2000) ** 0.5
    assert low == pytest.approx(right.mean() - half, abs=0.004)
    assert high == pytest.approx(right.mean() + half, abs=0.004)


def test_mcnemar_is_the_exact_sign_test() -> None:
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 10) == pytest.approx(2 / 1024)
    assert mcnemar(0, 0) == 1.0


def test_temperature_undoes_overconfidence_and_keeps_every_label() -> None:
    dice = np.random.default_rng(2)
    logits = dice.normal(size=(4000, 3)) * 1.5
    truth = np.array([dice.choice(3, p=row) for row in softmax(logits)])
    allowed = np.eye(3, dtype=bool)[truth]
    temperature = fit_temperature(logits * 4, allowed)
    assert temperature == pytest.approx(4, rel=0.1)
    scaled = softmax(logits * 4 / temperature)
    right = allowed[np.arange(4000), scaled.argmax(-1)]
    assert expected_calibration_error(reliability(scaled.max(-1), right)) < 0.03
    before = softmax(logits * 4)
    assert expected_calibration_error(reliability(before.max(-1), right)) > 0.1
    assert (before.argmax(-1) == scaled.argmax(-1)).all()


def test_calibration_error_is_the_weighted_gap() -> None:
    assert expected_calibration_error([Bin(3, 0.9, 0.8), Bin(1, 0.5, 0.9)]) == pytest.approx(0.175)
    assert expected_calibration_error([]) == 0.0

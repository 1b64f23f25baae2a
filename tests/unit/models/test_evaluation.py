import numpy as np
import pytest

from models.evaluation import NONE_GIVEN, UNKNOWN, score


def test_scores_are_those_of_the_textbook() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2, UNKNOWN])
    given = np.array([0, 0, 1, 1, 0, NONE_GIVEN, 0])
    report = score("topic", truth, given, ["a", "b", "c", "d"])
    assert (report.n, report.unsupported) == (7, 1)
    assert report.accuracy == pytest.approx(3 / 7)
    a, b, c, d = report.classes
    assert (a.precision, a.recall, a.f1) == (pytest.approx(2 / 4), pytest.approx(2 / 3), pytest.approx(4 / 7))
    assert (b.precision, b.recall, b.support) == (0.5, 0.5, 2)
    assert (c.precision, c.recall, c.f1) == (0, 0, 0)
    assert d.support == 0
    assert report.macro_f1 == pytest.approx((4 / 7 + 0.5 + 0) / 3)


def test_nothing_to_score_is_zero_not_an_error() -> None:
    report = score("topic", np.array([], dtype=int), np.array([], dtype=int), ["a"])
    assert (report.accuracy, report.macro_f1) == (0.0, 0.0)

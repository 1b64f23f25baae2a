"""Calibration of probabilities: temperature scaling, and the calibration error that measures it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COARSE = np.geomspace(0.25, 8.0, 60)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    shifted = np.asarray(logits, float) - np.max(logits, axis=-1, keepdims=True)
    powers: np.ndarray = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_temperature(logits: np.ndarray, allowed: np.ndarray) -> float:
    """The T that maximises the likelihood of softmax(logits / T) (Guo et al. 2017).

    logits [n, labels]; allowed bool [n, labels], true for the right label, or for each acceptable one.
    Dividing by T never changes which label is the largest.
    """

    def loss(temperature: float) -> float:
        likelihood = (softmax(logits / temperature) * allowed).sum(-1)
        return float(-np.log(np.maximum(likelihood, 1e-12)).mean())

    best = min(COARSE, key=loss)
    return float(min(np.geomspace(best / 1.05, best * 1.05, 21), key=loss))


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence: how many, their mean confidence and their accuracy."""

    n: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> tuple[Bin, ...]:
    """The bins that are not empty, of `bins` equal intervals of confidence; both arrays are [n]."""
    bin_index = np.minimum((confidence * bins).astype(int), bins - 1)
    return tuple(
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (bin_index == i for i in range(bins))
        if inside.any()
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean gap between confidence and accuracy, weighted by the size of the bins (Naeini et al. 2015)."""
    total = sum(item.n for item in bins)
    return sum(item.n * abs(item.confidence - item.accuracy) for item in bins) / total if total else 0.0

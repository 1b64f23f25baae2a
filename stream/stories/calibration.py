"""Finds from pairs of texts from when on two of them tell the same event, for the embeddings of one model."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream.domain.stories import StoryInput, StoryWeights
from stream.stories.assignment import WITH_EMBEDDINGS, Assigner, Comparison

# The share of pairs that tell the same event which must be joined.  More would join look-alikes.
JOINED = 0.97


class Pair(NamedTuple):
    """Two texts, and whether they tell the same event."""

    first: StoryInput
    second: StoryInput
    same: bool


class Calibration(NamedTuple):
    """The weights, and the shares of the pairs that they get right."""

    weights: StoryWeights
    joined: float
    kept_apart: float


def calibrate(pairs: Sequence[Pair]) -> Calibration:
    """The weights with the highest threshold that joins JOINED of the pairs that tell the same event.

    What counts how much is the same for every model; its embeddings decide where the threshold is.
    """
    free = StoryWeights(0.0, WITH_EMBEDDINGS.weights)
    scores = np.array([compare(pair.first, pair.second).score(free) for pair in pairs])
    same = np.array([pair.same for pair in pairs])
    threshold = math.floor(1000 * float(np.quantile(scores[same], 1 - JOINED))) / 1000
    weights = StoryWeights(threshold, WITH_EMBEDDINGS.weights)
    return Calibration(
        weights, float((scores[same] >= threshold).mean()), float((scores[~same] < threshold).mean())
    )


def compare(first: StoryInput, second: StoryInput) -> Comparison:
    """The second of two documents with the story that the first one begins."""
    assigner = Assigner()
    _, story = assigner.assign(first)
    return assigner.compare(second.features, [story])[0]

"""Finds from pairs of texts what makes two of them tell the same event, for the embeddings of one model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from stream.domain.stories import TERM_KINDS, StoryInput, StoryWeights
from stream.stories.assignment import Assigner, Comparison
from stream.stories.story import Terms

# What keeps weights small where the pairs say little.
PENALTY = 0.003
# The sign that each weight may have, in the order of FEATURES: cosine and words, then for each kind of terms
# all, some, none, and none by the share of words.  Pairs that look alike share words: that alone must not
# count against them.
POSITIVE, NEGATIVE, ANY = (0.0, None), (None, 0.0), (None, None)
BOUNDS = (POSITIVE, POSITIVE, *(POSITIVE, ANY, NEGATIVE, NEGATIVE) * len(TERM_KINDS), ANY)
# Other texts of the pairs that a text is compared with: those with most terms in common.  A pair counts as
# much as so many of them together.
OTHERS, WEIGHT_OF_A_PAIR = 4, 4.0


@dataclass(frozen=True)
class Pair:
    """The numbers of two texts, and whether they tell the same event."""

    first: int
    second: int
    same: bool


def calibrate(texts: Sequence[StoryInput], pairs: Sequence[Pair]) -> StoryWeights:
    """The weights of a logistic regression on the pairs, and on texts of different pairs.

    The threshold joins as large a share of the pairs that tell the same as it keeps apart of the others.
    """
    hard = [compare(texts[pair.first], texts[pair.second]) for pair in pairs]
    others = [compare(texts[a], texts[b]) for a, b in _different(texts, pairs)]
    values = np.array([comparison.features for comparison in (*hard, *others)])
    labels = np.array([*(pair.same for pair in pairs), *[False] * len(others)], float)
    counts = np.repeat([WEIGHT_OF_A_PAIR, len(hard) / max(1, len(others))], [len(hard), len(others)])
    weights = _logistic(values, labels, counts / counts.sum())
    scores, same = values[: len(hard)] @ weights, labels[: len(hard)] > 0
    return StoryWeights(round(_balanced(scores[same], scores[~same]), 4), tuple(weights.tolist()))


def compare(first: StoryInput, second: StoryInput) -> Comparison:
    """The second of two documents with the story that the first one begins."""
    assigner = Assigner()
    _, story = assigner.assign(first)
    return assigner.compare(second.features, [story])[0]


def _different(texts: Sequence[StoryInput], pairs: Sequence[Pair]) -> Iterator[tuple[int, int]]:
    """For each text the texts of other events with most terms in common."""
    events = _events(len(texts), pairs)
    terms = [set(Terms.of(text.features.terms).all) for text in texts]
    for number, own in enumerate(terms):
        others = [other for other in range(len(texts)) if events[other] != events[number]]
        others.sort(key=lambda other: (-len(own & terms[other]), other))
        yield from ((number, other) for other in others[:OTHERS])


def _events(count: int, pairs: Sequence[Pair]) -> Mapping[int, int]:
    """The event of each text: the first text that pairs join it with."""
    event = list(range(count))

    def root(number: int) -> int:
        while event[number] != number:
            number = event[number]
        return number

    for pair in pairs:
        if pair.same:
            event[root(pair.second)] = root(pair.first)
    return {number: root(number) for number in range(count)}


def _logistic(values: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The weights [features] of a logistic regression; each row counts so much."""
    spread = values.std(axis=0) + 1e-6
    scaled = (values - values.mean(axis=0)) / spread

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logits = scaled @ parameters[:-1] + parameters[-1]
        entropy = np.logaddexp(0.0, np.where(labels > 0, -logits, logits)) @ counts
        slope = (1 / (1 + np.exp(-logits)) - labels) * counts
        gradient = np.append(scaled.T @ slope + 2 * PENALTY * parameters[:-1], slope.sum())
        return entropy + PENALTY * float((parameters[:-1] ** 2).sum()), gradient

    start = np.zeros(values.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=BOUNDS).x
    weights: np.ndarray = (found[:-1] / spread).round(4)
    return weights


def _balanced(same: np.ndarray, others: np.ndarray) -> float:
    """The threshold at which the smaller of two shares is largest: of scores on their right sides."""
    candidates = np.unique(np.concatenate([same, others]))
    joined = (same[None, :] >= candidates[:, None]).mean(axis=1)
    apart = (others[None, :] < candidates[:, None]).mean(axis=1)
    return float(candidates[int(np.minimum(joined, apart).argmax())])

"""Drift: how far incoming texts differ from the texts that the classifier was trained on.

A profile summarises how texts look to the model: length in tokens, share of unknown tokens, labels and
confidence.  Drift is the population stability index between the profile of the training data and that of
recent texts.  By the usual rule, below 0.1 is no drift, and above 0.25 is drift to investigate.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from models.network.profile import CONFIDENCES, LENGTHS, SHARES, Profile


class Profiler:
    """Builds a profile.  With `memory`, it covers about that many recent texts, and older ones fade."""

    def __init__(self, labels: Mapping[str, Sequence[str]], memory: int | None = None) -> None:
        self.memory = memory
        self.texts = 0.0
        self._tokens = [0.0] * (len(LENGTHS) + 1)
        self._unknown = [0.0] * (len(SHARES) + 1)
        self._labels = {task: dict.fromkeys(names, 0.0) for task, names in labels.items()}
        self._confidence = {task: [0.0] * (len(CONFIDENCES) + 1) for task in labels}

    def add(
        self, sizes: Iterable[tuple[int, int]], labels: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        """Add texts: (tokens, unknown tokens) of each, and for each task (label, confidence) of each."""
        sizes = list(sizes)
        self._fade(len(sizes))
        for tokens, unknown in sizes:
            self._tokens[bisect_right(LENGTHS, tokens)] += 1
            self._unknown[bisect_right(SHARES, unknown / max(tokens, 1))] += 1
        for task, pairs in labels.items():
            for label, confidence in pairs:
                self._labels[task][label] += 1
                self._confidence[task][bisect_right(CONFIDENCES, confidence)] += 1

    def profile(self) -> Profile:
        return Profile(
            self.texts,
            _shares(self._tokens),
            _shares(self._unknown),
            {
                task: dict(zip(counts, _shares(list(counts.values())), strict=True))
                for task, counts in self._labels.items()
            },
            {task: _shares(counts) for task, counts in self._confidence.items()},
        )

    def _fade(self, arriving: int) -> None:
        keep = 1.0 if self.memory is None else math.exp(-arriving / self.memory)
        self.texts = self.texts * keep + arriving
        for counts in (self._tokens, self._unknown, *self._confidence.values()):
            counts[:] = [count * keep for count in counts]
        for labelled in self._labels.values():
            for label in labelled:
                labelled[label] *= keep


def drift(reference: Profile, recent: Profile) -> dict[str, float]:
    """Population stability index of each feature: tokens, unknown, and by task label and confidence."""
    indexes = {
        "tokens": stability_index(reference.tokens, recent.tokens),
        "unknown": stability_index(reference.unknown, recent.unknown),
    }
    for task, shares in reference.labels.items():
        names = list(shares)
        expected, actual = [shares[name] for name in names], [recent.labels[task][name] for name in names]
        indexes[f"{task}_label"] = stability_index(expected, actual)
        confidence = reference.confidence[task], recent.confidence[task]
        indexes[f"{task}_confidence"] = stability_index(*confidence)
    return indexes


def stability_index(expected: Sequence[float], actual: Sequence[float], floor: float = 0.005) -> float:
    """The sum of (a - e) ln(a / e) over the buckets; shares are at least `floor`, so that it is finite."""
    pairs = [(max(e, floor), max(a, floor)) for e, a in zip(expected, actual, strict=True)]
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def _shares(counts: Sequence[float]) -> tuple[float, ...]:
    total = sum(counts)
    return tuple(round(count / total, 6) if total else 0.0 for count in counts)

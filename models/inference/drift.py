"""Does what arrives still look like what the classifier was trained on?

A profile is how many texts look to the model: their length in tokens, how much of them it cannot
spell, which labels it gives and how sure it is.  Drift is the population stability index between
the training reference and what arrived lately: below 0.1 nothing to see, above 0.25 look.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import msgspec

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 256, 512)
SHARES = (0.001, 0.05, 0.1, 0.2)
CONFIDENCES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of texts: by bucket of token count and of unknown tokens, by label, by confidence."""

    texts: float
    tokens: tuple[float, ...]
    unknown: tuple[float, ...]
    labels: dict[str, dict[str, float]]
    confidence: dict[str, tuple[float, ...]]


class Profiler:
    """Builds a profile; with `memory`, of about the last so many texts, the older the fainter."""

    def __init__(self, labels: Mapping[str, Sequence[str]], memory: int | None = None) -> None:
        self.memory = memory
        self.texts = 0.0
        self._tokens = [0.0] * (len(LENGTHS) + 1)
        self._unknown = [0.0] * (len(SHARES) + 1)
        self._labels = {task: dict.fromkeys(names, 0.0) for task, names in labels.items()}
        self._confidence = {task: [0.0] * (len(CONFIDENCES) + 1) for task in labels}

    def add(
        self, sizes: Iterable[tuple[int, int]], answers: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        """`sizes` are (tokens, unknown tokens) a text, `answers` (label, confidence) a task and text."""
        sizes = list(sizes)
        self._fade(len(sizes))
        for tokens, unknown in sizes:
            self._tokens[bisect_right(LENGTHS, tokens)] += 1
            self._unknown[bisect_right(SHARES, unknown / max(tokens, 1))] += 1
        for task, pairs in answers.items():
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


def drift(reference: Profile, lately: Profile) -> dict[str, float]:
    """Population stability index of each feature: tokens, unknown, and by task label and confidence."""
    found = {
        "tokens": stability_index(reference.tokens, lately.tokens),
        "unknown": stability_index(reference.unknown, lately.unknown),
    }
    for task, shares in reference.labels.items():
        names = list(shares)
        then, now = [shares[name] for name in names], [lately.labels[task][name] for name in names]
        found[f"{task}_label"] = stability_index(then, now)
        confidence = reference.confidence[task], lately.confidence[task]
        found[f"{task}_confidence"] = stability_index(*confidence)
    return found


def stability_index(expected: Sequence[float], actual: Sequence[float], floor: float = 0.005) -> float:
    """Sum of (a - e) ln(a / e) over the buckets, shares no smaller than `floor` (so none is infinite)."""
    pairs = [(max(e, floor), max(a, floor)) for e, a in zip(expected, actual, strict=True)]
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def _shares(counts: Sequence[float]) -> tuple[float, ...]:
    total = sum(counts)
    return tuple(round(count / total, 6) if total else 0.0 for count in counts)

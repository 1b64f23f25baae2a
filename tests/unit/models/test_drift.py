"""Drift of the texts against the training texts."""

import random

from models.inference.drift import Profiler, drift, stability_index
from stream.domain.documents import SENTIMENTS


def profiler_after(negative_share: float, memory: int | None = None, n: int = 2000) -> Profiler:
    profiler = Profiler({"sentiment": SENTIMENTS}, memory)
    rng = random.Random(1)
    for _ in range(n // 10):
        labels = [("negative" if rng.random() < negative_share else "neutral", 0.9) for _ in range(10)]
        profiler.add([(20, 0)] * 10, {"sentiment": labels})
    return profiler


def test_drift_is_small_for_a_similar_mix_of_labels_and_large_for_another() -> None:
    reference = profiler_after(0.2).profile()
    same = drift(reference, profiler_after(0.22).profile())
    other = drift(reference, profiler_after(0.7).profile())
    assert all(value < 0.05 for value in same.values())
    assert other["sentiment_label"] > 0.25
    assert other["tokens"] == 0
    assert stability_index([1, 0], [0, 1]) < 20


def test_old_texts_lose_weight() -> None:
    profiler = profiler_after(1.0, memory=100, n=1000)
    profiler.add([(20, 0)] * 1000, {"sentiment": [("neutral", 0.9)] * 1000})
    assert profiler.profile().labels["sentiment"]["neutral"] > 0.99
    assert 900 < profiler.texts < 1100

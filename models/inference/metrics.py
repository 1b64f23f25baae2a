"""Prometheus metrics of the classifier."""

import copy
import math
from collections.abc import Mapping
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from models.network.info import ModelInfo
from stream.domain.documents import TASKS


class ModelMetrics:
    """Updated once for each forward pass, not for each text.

    Of two models, the one that reads every text `is_main`: it alone reports drift and repeated texts.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.is_main = True
        self._described: dict[str, str] = {}
        registry = registry or CollectorRegistry()
        self.info = Info("sentiment_model", "The classifier that is running", registry=registry)
        self.tokens = Counter(
            "sentiment_inference_tokens",
            "Tokens through the network, without padding",
            registry=registry,
        )
        self.windows = Counter(
            "sentiment_inference_windows",
            "Windows through the network. A long text has several",
            registry=registry,
        )
        self.texts_classified = Counter(
            "sentiment_inference_texts",
            "Labelled texts, by the network or from memory (repeated texts)",
            ("by",),
            registry=registry,
        )
        for by in ("network", "memory"):
            self.texts_classified.labels(by)
        self.opinions = Counter(
            "sentiment_inference_opinions",
            "Labelled texts, if there is a second opinion, by whose labels they have: of the model of "
            "models.weights (first), or of the second opinion (second)",
            ("by",),
            registry=registry,
        )
        for by in ("first", "second"):
            self.opinions.labels(by)
        self.changed = Counter(
            "sentiment_inference_changed_labels",
            "Labels that the second opinion changed in mode auto",
            ("task",),
            registry=registry,
        )
        for task in TASKS:
            self.changed.labels(task)
        self.drift = Gauge(
            "sentiment_input_drift_ratio",
            "Population stability index of recent texts against the training reference; "
            "below 0.1 nothing has changed, above 0.25 investigate",
            ("language", "feature"),
            registry=registry,
        )
        self.texts = Histogram(
            "sentiment_inference_batch_texts",
            "Texts in a forward pass",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
            registry=registry,
        )
        self.seconds = Histogram(
            "sentiment_inference_seconds",
            "Duration of a forward pass",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )

    def of_another(self) -> Self:
        """The same metrics, for the other of two models."""
        return copy.copy(self)

    def describe_second_opinion(self, version: str, mode: str, second: str) -> None:
        self._described |= {"version": version, "second_opinion": mode, "second_version": second}
        self.info.info(self._described)

    def describe(self, info: ModelInfo, device: str, dtype: str) -> None:
        self._described = {
            "name": info.name,
            "version": info.version,
            "device": device,
            "dtype": dtype,
            "second_opinion": "off",
            "second_version": "",
        }
        self.info.info(self._described)
        features = (
            "tokens",
            "unknown",
            *(f"{t}_{of}" for t in info.labels for of in ("label", "confidence")),
        )
        for part in info.parts:
            for feature in features:
                self.drift.labels(part.folder, feature).set(math.nan)

    def observe_drift(self, language: str, features: Mapping[str, float]) -> None:
        for feature, value in features.items() if self.is_main else ():
            self.drift.labels(language, feature).set(value)

    def observe_repeats(self, new: int, repeated: int) -> None:
        if self.is_main:
            self.texts_classified.labels("network").inc(new)
            self.texts_classified.labels("memory").inc(repeated)

    def observe_opinions(self, first: int, second: int) -> None:
        self.opinions.labels("first").inc(first)
        self.opinions.labels("second").inc(second)

    def observe_change(self, task: str) -> None:
        self.changed.labels(task).inc()

    def observe_forward(self, texts: int, windows: int, tokens: int, seconds: float) -> None:
        self.texts.observe(texts)
        self.windows.inc(windows)
        self.tokens.inc(tokens)
        self.seconds.observe(seconds)

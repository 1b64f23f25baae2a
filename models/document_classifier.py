"""Texts as messages carry them in, predictions out: labels, and the entities that each text is about."""

from collections.abc import Sequence
from typing import Self

from models.inference.engine import Engine
from models.inference.metrics import ModelMetrics
from models.settings import ModelSettings
from stream.domain.documents import Prediction, TextInput


class DocumentClassifier:
    """What the stream and the commands classify with.  Any thread may call `classify`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def load(cls, settings: ModelSettings, metrics: ModelMetrics | None = None) -> Self:
        """Load the model that the settings name.  Raises ModelError."""
        return cls(Engine.load(settings, metrics))

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics."""
        return self.engine.topics

    @property
    def version(self) -> str:
        """The version of the model."""
        return self.engine.version

    @property
    def description(self) -> str:
        """The version, and the device it runs on."""
        return self.engine.description

    def classify(self, inputs: Sequence[TextInput]) -> list[Prediction]:
        """A prediction for each text, in order.

        Raises InferenceError if the network's output for a text is not finite: no label is made up.
        """
        return self.engine.classify([item.text for item in inputs], [item.lang for item in inputs])

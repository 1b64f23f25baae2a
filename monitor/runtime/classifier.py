"""The classifier as the daemon needs it, and the one that the settings ask for."""

from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry

from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker
from monitor.runtime.settings import Settings
from stream.domain.documents import Prediction, TextInput


class Classifier(Protocol):
    """Labels texts: `models.document_classifier.DocumentClassifier`, or a stand-in for it."""

    @property
    def topics(self) -> Sequence[str]: ...

    @property
    def version(self) -> str:
        """The version of the model."""

    @property
    def description(self) -> str:
        """Its version and where it runs, for the log."""

    @property
    def gazetteer(self) -> Gazetteer | None:
        """The entities that it finds in texts; None if it looks for none."""

    def use(self, linker: Linker, /) -> None:
        """Find entities with this linker from the next call of `classify` on."""

    def classify(self, inputs: Sequence[TextInput], /) -> Sequence[Prediction]: ...


LoadClassifier = Callable[[Settings, CollectorRegistry], Classifier]


def load_engine(settings: Settings, registry: CollectorRegistry) -> Classifier:
    """The classifier of the settings.  Raises ModelError."""
    from models.entities.loading import load_in_background
    from models.inference import language

    language.load_in_background()
    linker = load_in_background(settings.models)
    from models.backend_selection import select_backend
    from models.document_classifier import DocumentClassifier
    from models.inference.metrics import ModelMetrics

    return DocumentClassifier.load(settings.models, ModelMetrics(registry), linker, select_backend)

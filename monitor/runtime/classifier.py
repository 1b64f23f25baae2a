"""The classifier as the daemon needs it, and the one that the settings ask for."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry

from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker
from monitor.runtime.settings import Settings
from stream.domain.documents import Prediction, TextInput
from stream.domain.errors import SchemaError, StoreUnavailable
from stream.domain.stories import StoryWeights

if TYPE_CHECKING:
    from models.inference.explain import Explanation

log = logging.getLogger(__name__)


class Classifier(Protocol):
    """Labels texts: `models.document_classifier.DocumentClassifier`, or a stand-in for it."""

    @property
    def topics(self) -> Sequence[str]: ...

    @property
    def event_types(self) -> Sequence[str]:
        """The types of events that it looks for."""

    @property
    def story_weights(self) -> Mapping[str, StoryWeights]:
        """How its embeddings decide whether texts tell the same event, by their space."""

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

    def words_for(self, text: str, sentiment: str, /) -> tuple[str, ...]:
        """The words of a text that its sentiment would miss most; none if it has another sentiment."""

    def explain(self, item: TextInput, task: str, /) -> "Explanation":
        """A signed weight for each word of a text, by its attention, and the label without each of them.

        Raises InferenceError.
        """


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
    from models.loading import as_labelled

    models = as_labelled(settings.models, latest_model(settings))
    return DocumentClassifier.load(models, ModelMetrics(registry), linker, select_backend)


def latest_model(settings: Settings) -> str | None:
    """The model that labelled the document received last; None if there is none, or no database yet."""
    from stream.storage import database
    from stream.storage.batches import Store

    try:
        if database.missing_file(settings.database):
            return None
        engine = database.connect(settings.database)
        try:
            database.check_schema(engine)
            return Store(engine, settings.stream.window_seconds).reads.latest_model()
        finally:
            engine.dispose()
    except (StoreUnavailable, SchemaError) as error:
        log.info("whose labels the database has is not known yet: %s", error)
        return None

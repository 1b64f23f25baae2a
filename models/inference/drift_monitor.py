"""Reports to Prometheus how far incoming texts have drifted from the training data."""

from collections.abc import Sequence
from threading import Lock

from models.inference.drift import Profiler, drift
from models.inference.metrics import ModelMetrics
from models.inference.tokenize import TokenizedText
from models.network.artifact import LoadedModel
from stream.domain.documents import Prediction

# Texts that the profile of incoming texts remembers; drift is reported from a tenth of them on.
MEMORY = 5000


class DriftMonitor:
    """Profiles incoming texts for each part that has a training reference.  Any thread may use it."""

    def __init__(self, model: LoadedModel, metrics: ModelMetrics) -> None:
        self._metrics = metrics
        self._tasks = tuple(model.info.labels)
        self._profilers = {
            part.info.folder: Profiler(model.info.labels, MEMORY)
            for part in model.parts
            if part.info.reference is not None
        }
        self._lock = Lock()

    def observe(self, texts: Sequence[TokenizedText], predictions: Sequence[Prediction]) -> None:
        """Add texts to the profiles and report the drift; a text's index is that of its prediction."""
        by_part: dict[str, list[TokenizedText]] = {}
        for text in texts:
            by_part.setdefault(text.part.info.folder, []).append(text)
        with self._lock:
            for folder in self._profilers.keys() & by_part.keys():
                own = by_part[folder]
                self._observe_part(own, [predictions[text.index] for text in own])

    def _observe_part(self, texts: Sequence[TokenizedText], predictions: Sequence[Prediction]) -> None:
        info = texts[0].part.info
        profiler = self._profilers[info.folder]
        labels = {
            task: [(getattr(p, task), max(p.probabilities[task].values())) for p in predictions]
            for task in self._tasks
        }
        profiler.add([(text.tokens, text.unknown) for text in texts], labels)
        if info.reference is not None and profiler.texts >= MEMORY / 10:
            self._metrics.observe_drift(info.folder, drift(info.reference, profiler.profile()))

"""From the network's output to a prediction: label names, certainty and the words of evidence."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.inference import evidence
from models.inference.forward import DECIMALS
from models.inference.tokenize import TokenizedText
from models.network.info import ModelInfo
from models.settings import ModelSettings
from stream.domain.documents import Prediction


class PredictionBuilder:
    """Builds the predictions of one model."""

    def __init__(self, info: ModelInfo, settings: ModelSettings) -> None:
        self._info = info
        self._certain_from = settings.certain_from
        self._evidence_words = settings.evidence_words

    def unsupported(self, lang: str | None) -> Prediction:
        """The prediction for a text that the model cannot read: no labels."""
        return Prediction(model=self._info.version, lang=lang)

    def build(
        self,
        text: TokenizedText,
        probabilities: Mapping[str, np.ndarray],
        contributions: Mapping[str, Sequence[np.ndarray]],
        target: str | None = None,
    ) -> Prediction:
        """From probabilities [labels] a task, and contributions [tokens] a task and window.

        `target` is the span that the sentiment is about, None for the text as a whole.
        """
        by_label = {
            task: dict(zip(self._info.labels[task], values.tolist(), strict=True))
            for task, values in probabilities.items()
        }
        best = {task: max(values, key=values.__getitem__) for task, values in by_label.items()}
        pieces = evidence.pieces(text.text, text.windows)
        return Prediction(
            model=self._info.version,
            lang=text.lang,
            topic=best.get("topic"),
            sentiment=best["sentiment"],
            score=round(by_label["sentiment"]["positive"] - by_label["sentiment"]["negative"], DECIMALS),
            probabilities=by_label,
            evidence=tuple(
                span
                for task, values in contributions.items()
                for span in evidence.spans(task, text.text, pieces, values, self._evidence_words)
            ),
            truncated=text.truncated,
            windows=len(text.windows),
            certain=all(
                max(values.values()) >= self._threshold(text, task) for task, values in by_label.items()
            ),
            target=target,
        )

    def _threshold(self, text: TokenizedText, task: str) -> float:
        """The confidence from which a label of the task is certain."""
        if self._certain_from is not None:
            return self._certain_from
        return text.part.info.certain_from.get(task, 0.0)

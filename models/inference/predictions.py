"""From the network's output to a prediction: label names, certainty and the words of evidence."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from models.inference import evidence
from models.inference.outputs import DECIMALS, TargetOutput
from models.inference.tokenize import TokenizedText
from models.network.info import ModelInfo, PartInfo
from models.settings import ModelSettings
from stream.domain.budgets import cut
from stream.domain.documents import LONGEST_WORD, Embedding, EventLabel, Prediction, Span
from stream.domain.entities import TargetSentiment
from stream.domain.text.cleaning import CleanText

# An embedding of length 1 in signed bytes.
LARGEST_BYTE = 127


class PredictionBuilder:
    """Builds the predictions of one model."""

    def __init__(self, info: ModelInfo, settings: ModelSettings) -> None:
        self._info = info
        self._certain_from = settings.certain_from
        self._evidence_words = settings.evidence_words

    def unsupported(self, lang: str | None) -> Prediction:
        """The prediction for a text that the model cannot read: no labels."""
        return Prediction(model=self._info.version, lang=lang, certain=False)

    def build(
        self,
        text: TokenizedText,
        probabilities: Mapping[str, np.ndarray],
        contributions: Mapping[str, Sequence[np.ndarray]],
        target: str | None = None,
        targets: Sequence[TargetOutput | None] = (),
        events: np.ndarray | Sequence[float] = (),
    ) -> Prediction:
        """From probabilities [labels] a task, and contributions [tokens] a task and window.

        `target` is the span that the sentiment is about, None for the text as a whole.  `targets` are outputs
        for parts of the text, `events` the probability of each type of event that the part looks for.
        """
        by_label = {
            task: dict(zip(self._info.labels[task], values.tolist(), strict=True))
            for task, values in probabilities.items()
        }
        best = {task: max(values, key=values.__getitem__) for task, values in by_label.items()}
        words = evidence.Words(text.text, text.windows, text.names)
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
                for span in words.spans(task, values, self._evidence_words)
            ),
            truncated=text.truncated,
            windows=len(text.windows),
            certain=all(
                max(values.values()) >= self._threshold(text, text.part.info.target_task if target else task)
                for task, values in by_label.items()
            ),
            target=target,
            targets=tuple(self._towards(text, output) for output in targets),
            events=_reported(text, events),
        )

    def embedding(self, text: TokenizedText, values: np.ndarray | None) -> Embedding | None:
        """The embedding float32 [size] of a text, of length 1, in signed bytes."""
        if values is None:
            return None
        space = self._info.space(text.part.info)
        return Embedding(space, np.rint(values * LARGEST_BYTE).astype(np.int8).tobytes())

    def _towards(self, text: TokenizedText, output: TargetOutput | None) -> TargetSentiment:
        """The sentiment towards one target of a text; without an output there is no answer."""
        if output is None:
            return TargetSentiment(of_target=True)
        labels = self._info.labels["sentiment"]
        by_label = dict(zip(labels, output.probabilities.tolist(), strict=True))
        best = max(by_label, key=by_label.__getitem__)
        return TargetSentiment(
            best,
            by_label[best],
            round(by_label["positive"] - by_label["negative"], DECIMALS),
            certain=by_label[best] >= self._threshold(text, text.part.info.target_task),
            of_target=True,
        )

    def _threshold(self, text: TokenizedText, task: str) -> float:
        """The confidence from which a label of the task is certain."""
        return self._threshold_of(text.part.info, task)

    def _threshold_of(self, part: PartInfo | None, task: str) -> float:
        if self._certain_from is not None:
            return self._certain_from
        return part.certain_from.get(task, 0.0) if part else 0.0

    def tempered(self, prediction: Prediction, temperature: Mapping[str, float]) -> Prediction:
        """A prediction whose probabilities are calibrated once more, by a temperature for each task.

        The labels stay.  1 changes nothing, more makes them less sure.
        """
        if all(temperature.get(task, 1.0) == 1.0 for task in prediction.probabilities):
            return prediction
        probabilities = {
            task: _tempered(values, temperature.get(task, 1.0))
            for task, values in prediction.probabilities.items()
        }
        part, sentiment = self._info.part_of(prediction.lang), probabilities["sentiment"]
        return msgspec.structs.replace(
            prediction,
            probabilities=probabilities,
            score=round(sentiment["positive"] - sentiment["negative"], DECIMALS),
            certain=all(
                max(values.values()) >= self._threshold_of(part, task)
                for task, values in probabilities.items()
            ),
        )


def _tempered(values: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Probabilities by label, as a softmax of their logarithms over the temperature."""
    if temperature == 1.0:
        return dict(values)
    powers = {label: value ** (1 / temperature) for label, value in values.items()}
    total = sum(powers.values())
    return {label: round(power / total, DECIMALS) for label, power in powers.items()}


def _reported(text: TokenizedText, probabilities: np.ndarray | Sequence[float]) -> tuple[EventLabel, ...]:
    """The events with at least the probability that their type needs, most probable first."""
    thresholds = text.part.info.event_thresholds.items()
    events = [
        EventLabel(name, float(probability))
        for (name, threshold), probability in zip(thresholds, probabilities, strict=False)
        if probability >= threshold
    ]
    return tuple(sorted(events, key=lambda event: -event.probability))


def sent_as(prediction: Prediction, text: CleanText) -> Prediction:
    """The prediction for the news of a clean text as one for the text as it was sent.

    Evidence gets its place there.  `truncated` is also true if the text was cut before it was cleaned.  A
    text that is nothing but boilerplate has no sentiment to find: it is neutral and not certain.
    """
    if text.sent is text.text and not text.boilerplate:
        return prediction
    news = text.news
    evidence = tuple(sent_word(span, news) for span in prediction.evidence)
    prediction = msgspec.structs.replace(
        prediction, evidence=evidence, truncated=prediction.truncated or text.truncated
    )
    return without_news(prediction) if text.only_boilerplate else prediction


def without_news(prediction: Prediction) -> Prediction:
    """The prediction for a text that is nothing but boilerplate: neutral, and not certain."""
    if prediction.sentiment is None:
        return prediction
    labels = prediction.probabilities["sentiment"]
    unknown = dict.fromkeys(labels, round(1 / len(labels), DECIMALS))
    return msgspec.structs.replace(
        prediction,
        sentiment="neutral",
        score=0.0,
        probabilities={**prediction.probabilities, "sentiment": unknown},
        evidence=tuple(span for span in prediction.evidence if span.task != "sentiment"),
        certain=False,
        targets=(),
        events=(),
    )


def sent_word(span: Span, news: CleanText) -> Span:
    """A word of a clean text at its place in the text as it was sent.

    It shows what was sent there, or the clean word if something stood between its letters.
    """
    start, end = news.sent_span(span.start, span.end)
    is_whole = end - start == span.end - span.start
    sent = news.sent[start : min(end, start + LONGEST_WORD + 1)]
    return Span(span.task, cut(sent, LONGEST_WORD) if is_whole else span.text, start, end, span.weight)

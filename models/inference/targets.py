"""The sentiment towards spans of a text, such as the names of companies in it."""

from collections.abc import Sequence

import numpy as np
import torch

from models.backends.runtime import Runtime
from models.inference.forward import batch_inputs, calibrated, split_windows
from models.inference.predictions import PredictionBuilder, sent_as
from models.inference.tokenize import TextTokenizer, TokenizedText
from models.network.classifier import span_mask
from stream.domain.cleaning import clean
from stream.domain.documents import Prediction


class TargetClassifier:
    """Classifies the sentiment of a text towards targets in it, all from one encoder pass."""

    def __init__(
        self, tokenizer: TextTokenizer, runtime: Runtime, builder: PredictionBuilder, version: str
    ) -> None:
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._builder = builder
        self._version = version

    def classify(
        self, text: str, targets: Sequence[tuple[int, int]], declared: str | None = None
    ) -> list[Prediction]:
        """A prediction for each target (start, end) in characters of the text as it was sent.

        A target outside what the model reads (in boilerplate, say), or without a word in it, is unsupported
        and has no label.
        So are all targets in a language for which ModelInfo.target_sentiment_error gives a reason.
        Raises ModelError if the backend can only classify whole texts.
        """
        news = clean(text).news
        tokenized = self._tokenizer.tokenize([news.text], [declared])
        if not tokenized.texts:
            return [self._builder.unsupported(None)] * len(targets)
        item = tokenized.texts[0]
        predictions = [self._builder.unsupported(item.lang)] * len(targets)
        masks = [_target_mask(item, news.clean_span(*target)) for target in targets]
        readable = [index for index, mask in enumerate(masks) if any(mask)]
        if not readable or not item.part.info.target_sentiment:
            return predictions
        probabilities, attention = self._forward(item, [masks[index] for index in readable])
        width = max(len(window) for window in item.windows)
        for row, index in enumerate(readable):
            start, end = targets[index]
            weights = {"sentiment": split_windows(attention[row], item, width)}
            prediction = self._builder.build(
                item, {"sentiment": probabilities[row]}, weights, target=text[start:end]
            )
            predictions[index] = sent_as(prediction, news)
        return predictions

    @torch.inference_mode()
    def _forward(self, item: TokenizedText, masks: list[list[bool]]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [targets, sentiments] and attention [targets, tokens]."""
        device = self._runtime.device
        classifier = self._runtime.torch_classifier(item.part)
        hidden = classifier.encode(batch_inputs([item]).to(device))
        rows = torch.zeros(len(masks), dtype=torch.long, device=device)
        logits, attention = classifier.target(hidden, rows, torch.tensor(masks, device=device))
        return calibrated(logits, item, "sentiment", self._version), attention.float().cpu().numpy()


def _target_mask(item: TokenizedText, target: tuple[int, int]) -> list[bool]:
    """Which tokens of the padded windows, laid end to end, overlap the target."""
    width = max(len(window) for window in item.windows)
    masks = [span_mask(window, *target) for window in item.windows]
    return [inside for mask in masks for inside in (*mask, *[False] * (width - len(mask)))]

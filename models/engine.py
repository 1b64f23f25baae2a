"""Texts in, predictions out: prepare (tokenise), forward (the network), finish (labels, evidence)."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Encoding

from models import language, weights
from models.batching import token_batches
from models.classifier import pad
from models.device import compute_device, compute_dtype
from models.errors import InferenceError
from models.metrics import ModelMetrics
from models.settings import ModelSettings
from stream.nouns import Prediction, Span

log = logging.getLogger(__name__)

HAS_WORD = re.compile(r"\w")
# More of a text than this for each token the model reads is not even looked at.
CHARACTERS_PER_TOKEN = 40
LINK = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class Prepared:
    """One tokenised text: its place in the call, its language, and whether some of it was cut off."""

    at: int
    text: str
    lang: str | None
    encoding: Encoding
    truncated: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """What the network said of one text: per task probabilities [labels] and attention [tokens]."""

    probabilities: dict[str, np.ndarray]
    attention: dict[str, np.ndarray]


class Engine:
    """A loaded classifier on its device.  Not thread-safe: one thread at a time calls `classify`."""

    def __init__(
        self,
        model: weights.LoadedModel,
        settings: ModelSettings,
        metrics: ModelMetrics | None = None,
    ) -> None:
        self.info = model.info
        self.settings = settings
        self.device = compute_device(settings.device)
        self.dtype = compute_dtype(settings.dtype, self.device)
        self._classifier = model.classifier.to(self.device, self.dtype).eval()
        self._tokenizer = model.tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(model.info.max_tokens)
        self._pad_id = model.pad_id
        self._metrics = metrics or ModelMetrics()
        self._metrics.describe(self.info, self.device.type, str(self.dtype).removeprefix("torch."))
        if settings.threads:
            torch.set_num_threads(settings.threads)

    @classmethod
    def load(cls, settings: ModelSettings, metrics: ModelMetrics | None = None) -> "Engine":
        """Raises WeightsError where the folder of `settings.weights` cannot be used."""
        weights.quiet_libraries()
        return cls(weights.load(settings.weights), settings, metrics)

    def classify(
        self, texts: Sequence[str], languages: Sequence[str | None] | None = None
    ) -> list[Prediction]:
        """A prediction for each text, in order.

        `languages` are the feeds' own claims (ISO 639-1, None where unknown).  Raises InferenceError
        where the network's answer for some text is not finite: no label is invented.
        """
        predictions: list[Prediction | None] = [None] * len(texts)
        prepared = self.prepare(texts, languages or [None] * len(texts), predictions)
        lengths = [len(item.encoding.ids) for item in prepared]
        for positions in token_batches(lengths, self.settings.max_batch_tokens):
            batch = [prepared[i] for i in positions]
            for item, judged in zip(batch, self.forward(batch), strict=True):
                predictions[item.at] = self.finish(item, judged)
        return [prediction for prediction in predictions if prediction is not None]

    def prepare(
        self,
        texts: Sequence[str],
        languages: Sequence[str | None],
        predictions: list[Prediction | None],
    ) -> list[Prepared]:
        """Tokenise what the model can read; what it cannot gets its prediction here."""
        known = []
        longest = CHARACTERS_PER_TOKEN * self.info.max_tokens
        for at, (whole, claimed) in enumerate(zip(texts, languages, strict=True)):
            text = whole[:longest]
            lang = language.detect(text, claimed)
            if lang in self.info.languages:
                known.append((at, text, lang, len(whole) > longest))
            else:
                predictions[at] = Prediction(model=self.info.version, lang=lang)
        encodings = self._tokenizer.encode_batch([text for _, text, _, _ in known])
        return [
            Prepared(at, text, lang, encoding, cut or bool(encoding.overflowing))
            for (at, text, lang, cut), encoding in zip(known, encodings, strict=True)
        ]

    @torch.inference_mode()
    def forward(self, batch: Sequence[Prepared]) -> list[Judged]:
        """One pass of the network over texts that share a batch."""
        started = time.perf_counter()
        ids = pad([item.encoding.ids for item in batch], self._pad_id)
        attend = pad([item.encoding.attention_mask for item in batch], 0)
        special = pad([item.encoding.special_tokens_mask for item in batch], 1)
        try:
            output = self._classifier(
                ids.to(self.device), attend.to(self.device), (special == 0).to(self.device)
            )
        except RuntimeError as error:  # out of memory among them
            raise InferenceError(f"{self.info.version}: {error}") from error
        probabilities, attention = {}, {}
        for task, (logits, pooling) in output.items():
            probabilities[task] = torch.softmax(logits.double(), dim=-1).cpu().numpy()
            attention[task] = pooling.float().cpu().numpy()
            if not np.isfinite(probabilities[task]).all():
                raise InferenceError(f"{self.info.version}: {task} logits are not finite")
        self._metrics.observe_forward(len(batch), ids.numel(), time.perf_counter() - started)
        return [
            Judged(
                {task: values[row] for task, values in probabilities.items()},
                {task: values[row, : len(item.encoding.ids)] for task, values in attention.items()},
            )
            for row, item in enumerate(batch)
        ]

    def finish(self, item: Prepared, judged: Judged) -> Prediction:
        """Name the labels and the words that the attention fell on."""
        named = {
            task: dict(zip(self.info.labels[task], values.tolist(), strict=True))
            for task, values in judged.probabilities.items()
        }
        sentiment = named["sentiment"]
        return Prediction(
            model=self.info.version,
            lang=item.lang,
            topic=max(named["topic"], key=named["topic"].__getitem__),
            sentiment=max(sentiment, key=sentiment.__getitem__),
            score=sentiment["positive"] - sentiment["negative"],
            probabilities=named,
            evidence=tuple(
                span
                for task, values in judged.attention.items()
                for span in evidence(task, item, values, self.settings.evidence_words)
            ),
            truncated=item.truncated,
        )


def evidence(task: str, item: Prepared, attention: np.ndarray, count: int) -> list[Span]:
    """The `count` words with the largest share of `attention` [tokens], largest first.

    A word's share is the sum over its tokens; spans are offsets into the judged text.  Links and
    punctuation take attention too, but are no evidence.
    """
    shares: dict[int, float] = {}
    places: dict[int, tuple[int, int]] = {}
    offsets = item.encoding.offsets
    for word, (start, end), weight in zip(item.encoding.word_ids, offsets, attention, strict=True):
        if word is not None:
            shares[word] = shares.get(word, 0.0) + float(weight)
            places[word] = (places.get(word, (start, end))[0], end)
    links = [match.span() for match in LINK.finditer(item.text)]
    spans: list[Span] = []
    for word in sorted(shares, key=lambda word: (-shares[word], places[word])):
        start, end = places[word]
        if len(spans) == count:
            break
        if HAS_WORD.search(item.text, start, end) and not any(a <= start < b for a, b in links):
            spans.append(Span(task, item.text[start:end], start, end, round(shares[word], 4)))
    return spans

"""The classifier as the rest of the product uses it: texts in, predictions out.

texts, the languages that their feeds declare, and targets in them
  │
clean               without markup, wrong characters and boilerplate (stream.domain.text.cleaning)
  │ clean texts
PredictionCache ───────────── texts classified before ──────────────┐
  │ new texts                                                       │
WorkerPool          chunks of texts, one worker thread each         │
  │                                                                 │
TextTokenizer ─────────────── texts in other languages ──┐          │
  │ windows of tokens                                    │          │
ForwardPass         batches through the encoder (Runtime)│          │
  │                 and the heads, that for targets too; │          │
  │                 close calls run again                │          │
  │ probabilities, contributions of tokens               │          │
PredictionBuilder   label names, certainty, evidence ◄───┘          │
  │                                                                 │
DriftMonitor        metrics of how incoming texts have changed      │
  │                                                                 │
sent_as ◄───────────────────────────────────────────────────────────┘
  │                 evidence at its place in the text as it was sent
predictions
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from msgspec.structs import replace

from models.backends.runtime import load_runtime
from models.errors import WeightsError
from models.inference import heap, language
from models.inference.cache import PredictionCache
from models.inference.drift_monitor import DriftMonitor
from models.inference.evidence import Name
from models.inference.forward import ForwardPass
from models.inference.long_texts import LEAST_NEWS
from models.inference.metrics import ModelMetrics
from models.inference.predictions import PredictionBuilder, sent_as, without_news
from models.inference.tokenize import CleanInput, Target, TextTokenizer, TokenizedText
from models.inference.workers import WorkerPool
from models.network import artifact
from models.network.info import Canary
from models.network.registry import resolve
from models.settings import ModelSettings
from stream.domain.documents import Prediction
from stream.domain.stories import StoryWeights
from stream.domain.text.cleaning import CleanText, clean


@dataclass(frozen=True, slots=True)
class Chunk:
    """A classified chunk of texts: those that were tokenised, and a prediction for every text."""

    tokenized: list[TokenizedText]
    predictions: list[Prediction]


class Engine:
    """A loaded classifier on its device.  Any thread may call `classify`, which has threads of its own."""

    def __init__(
        self, model: artifact.LoadedModel, settings: ModelSettings, metrics: ModelMetrics | None = None
    ) -> None:
        """Wire the parts.  Raises ModelError if this machine does not support the backend."""
        self.info = model.info
        self.settings = settings
        self.runtime = load_runtime(model, settings)
        self.tokenizer = TextTokenizer(model.parts, settings.max_windows)
        self._metrics = metrics or ModelMetrics()
        self._metrics.describe(self.info, self.runtime.device.type, self.runtime.number_type)
        version = self.info.version
        self.forward = ForwardPass(self.runtime, version, self._metrics, settings.max_batch_tokens)
        self.builder = PredictionBuilder(self.info, settings)
        self._drift = DriftMonitor(model, self._metrics)
        self._cache = PredictionCache(settings.remembered_texts)
        self._workers = WorkerPool(settings, self.runtime.device)

    @classmethod
    def load(cls, settings: ModelSettings, metrics: ModelMetrics | None = None) -> Self:
        """Load the model that `settings.weights` names and check its canaries.

        Raises WeightsError if the folder cannot be used or a canary fails, ModelError if this machine does
        not support the backend.
        """
        heap.tune()
        language.load_in_background()
        engine = cls(artifact.load(resolve(settings.weights)), settings, metrics)
        language.load()
        engine.check_canaries()
        # Return the memory that only loading needed to the system.
        gc.collect()
        heap.give_back()
        return engine

    @classmethod
    def verify(cls, folder: Path) -> None:
        """Check the checksums and the canaries of the model in a folder.  Raises WeightsError."""
        cls.load(ModelSettings(weights=folder))

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.runtime.device

    @property
    def number_type(self) -> str:
        """The type of the numbers in the encoder's matrix products, such as bfloat16 or int8."""
        return self.runtime.number_type

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics."""
        return self.info.labels["topic"]

    @property
    def version(self) -> str:
        """The version of the model."""
        return self.info.version

    @property
    def story_weights(self) -> dict[str, StoryWeights]:
        """How its embeddings decide whether texts tell the same event, by their space."""
        return self.info.story_weights

    @property
    def description(self) -> str:
        """The version, and the device it runs on."""
        return f"{self.info.version} on {self.runtime.device.type}"

    def reader(self, text: str, declared: str | None = None) -> Self:
        """The engine whose labels a text gets: this one."""
        return self

    def check_canaries(self) -> None:
        """Classify the canaries of the model.  Raises WeightsError if one gets a wrong label."""
        for part in self.info.parts:
            texts = [CleanInput(canary.text, part.languages[0]) for canary in part.canaries]
            predictions = [prediction for chunk in self.run(texts) for prediction in chunk.predictions]
            for canary, prediction in zip(part.canaries, predictions, strict=True):
                self._check_canary(canary, prediction)

    def _check_canary(self, canary: Canary, prediction: Prediction) -> None:
        for task, expected in canary.labels.items():
            if getattr(prediction, task) != expected:
                raise WeightsError(
                    f"{self.settings.weights}: {self.info.version} calls the {task} of its canary "
                    f"{canary.text!r} {getattr(prediction, task)}, not {expected}: weights and labels do "
                    "not belong together; restore the folder or promote another version"
                )

    def classify(
        self,
        texts: Sequence[str],
        languages: Sequence[str | None] | None = None,
        targets: Sequence[Sequence[Target]] | None = None,
    ) -> list[Prediction]:
        """A prediction for each text, in order.

        `languages` are what the feeds declare: codes, tags or names (`language_tags.language_code`), None if
        unknown; `lang` of a prediction is ISO 639-1.  The network reads a text without its markup and
        boilerplate (`stream.domain.text.cleaning`).  What it reads goes through it once if it is in the
        cache or twice in `texts`.

        `targets` are for each text the parts to find the sentiment towards, in characters of the text as it
        was sent; a target may be in several places.  `targets` of a prediction are the answers in the same
        order, from the same pass of the encoder.  There are none if the model does not answer for targets in
        the text's language, or the text is nothing but boilerplate.  An answer is empty if the target is
        outside of what the model reads (in boilerplate, say), or has no word.

        Raises InferenceError if the network's output for a text is not finite: no label is made up.
        """
        return self.classify_clean(list(map(clean, texts)), languages, targets)

    def classify_clean(
        self,
        texts: Sequence[CleanText],
        languages: Sequence[str | None] | None = None,
        targets: Sequence[Sequence[Target]] | None = None,
        names: Sequence[Sequence[Name]] | None = None,
    ) -> list[Prediction]:
        """`classify` for texts that the caller has cleaned.

        `names` are for each text the entities that it names, in characters of the text as it was sent: they
        are no evidence.
        """
        declared, none = languages or [None] * len(texts), [()] * len(texts)
        inputs = list(map(clean_input, texts, declared, targets or none, names or none))
        keys = list(map(PredictionCache.key, inputs))
        predictions = self._cache.get(keys)
        # The first index of each text that is not in the cache.
        new = {key: index for index, key in reversed(list(enumerate(keys))) if key not in predictions}
        indexes = sorted(new.values())
        chunks = self.run([inputs[index] for index in indexes])
        for chunk in chunks:
            self._drift.observe(chunk.tokenized, chunk.predictions)
        classified = [prediction for chunk in chunks for prediction in chunk.predictions]
        added = {keys[index]: prediction for index, prediction in zip(indexes, classified, strict=True)}
        self._cache.add(added)
        self._metrics.observe_repeats(len(added), len(texts) - len(added))
        predictions |= added
        return [sent_as(predictions[key], text) for key, text in zip(keys, texts, strict=True)]

    def run(self, inputs: Sequence[CleanInput]) -> list[Chunk]:
        """Take texts through the network, in chunks in the order of the texts, whatever is in the cache."""
        return self._workers.map(self._classify_chunk, inputs)

    def classify_alone(self, inputs: Sequence[CleanInput]) -> list[Prediction]:
        """A prediction for each text from a pass of its own: to the last digit the same in any company.

        The other texts of a pass change the last digits of its sums, since the order of addition differs.
        """

        def each(chunk: Sequence[CleanInput]) -> list[Prediction]:
            return [self._classify_chunk([item]).predictions[0] for item in chunk]

        return [prediction for chunk in self._workers.map(each, inputs) for prediction in chunk]

    def _classify_chunk(self, inputs: Sequence[CleanInput]) -> Chunk:
        """Take texts through all steps, on the thread of the caller."""
        tokenized = self.tokenizer.tokenize(inputs)
        predictions = {index: self.builder.unsupported(lang) for index, lang in tokenized.unsupported.items()}
        for text, output in self.forward.outputs(tokenized.texts):
            prediction = self.builder.build(
                text,
                output.probabilities,
                output.contributions,
                targets=output.targets,
                events=output.events,
            )
            prediction = replace(prediction, embedding=self.builder.embedding(text, output.embedding))
            has_news = output.news >= LEAST_NEWS
            predictions[text.index] = prediction if has_news else without_news(prediction)
        return Chunk(tokenized.texts, [predictions[index] for index in range(len(inputs))])

    def classify_targets(
        self, text: str, targets: Sequence[tuple[int, int]], declared: str | None = None
    ) -> list[Prediction]:
        """A prediction, with evidence, for the sentiment towards each target (start, end) of one text.

        The targets are those of `classify`.  One without an answer is unsupported and has no label.
        """
        news = clean(text).news
        item = CleanInput(news.text, declared, tuple((news.clean_span(*target),) for target in targets))
        tokenized = self.tokenizer.tokenize([item])
        if not tokenized.texts:
            return [self.builder.unsupported(tokenized.unsupported[0])] * len(targets)
        ((read, output),) = self.forward.outputs(tokenized.texts)
        predictions = [self.builder.unsupported(read.lang)] * len(targets)
        for index, answer in enumerate(output.targets):
            if answer is not None:
                start, end = targets[index]
                prediction = self.builder.build(
                    read,
                    {"sentiment": answer.probabilities},
                    {"sentiment": answer.attention},
                    target=text[start:end],
                )
                predictions[index] = sent_as(prediction, news)
        return predictions


def clean_input(
    text: CleanText, declared: str | None, targets: Sequence[Target] = (), names: Sequence[Name] = ()
) -> CleanInput:
    """What the network reads of a text; targets and names are in characters of the text as it was sent."""
    news = text.news
    places = tuple(tuple(news.clean_span(*span) for span in target) for target in targets)
    found = (Name(*news.clean_span(name.start, name.end), name.theme) for name in names)
    return CleanInput(news.text, declared, places, tuple(name for name in found if name.start < name.end))

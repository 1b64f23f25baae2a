"""Two models as one classifier: a small one, and a larger one that gives the second opinion.

all     the larger model labels every text; the other one only what the larger one does not answer: texts in
        languages, and the sentiment towards names, that it was not trained for
auto    the small model reads every text, and the larger one labels those that need it
        (models/inference/routing.py)

Whose labels a text has is in `judged_by` of its prediction.  `model` is the version of the whole: another
model on either side, or another mode, gives other labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from models.inference import routing
from models.inference.cache import PredictionCache, RecentCache
from models.inference.engine import Engine
from models.inference.evidence import Name
from models.inference.metrics import ModelMetrics
from models.inference.tokenize import CleanInput, Target
from models.inference.whole import Mode, answers_targets, event_thresholds
from models.network.info import ModelInfo, Routing
from models.settings import ModelSettings
from stream.domain.documents import TASKS, Prediction
from stream.domain.stories import StoryWeights
from stream.domain.text.cleaning import CleanText, clean


class Input(NamedTuple):
    """A text with what `Engine.classify_clean` wants to know of it."""

    text: CleanText
    declared: str | None
    targets: Sequence[Target]
    names: Sequence[Name]


class TextClassifier(Protocol):
    """What labels texts: an `Engine`, or two of them (`SecondOpinion`)."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def settings(self) -> ModelSettings: ...

    @property
    def topics(self) -> tuple[str, ...]: ...

    @property
    def version(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def story_weights(self) -> dict[str, StoryWeights]: ...

    def reader(self, text: str, declared: str | None = None, /) -> Engine:
        """The engine whose labels a text gets, to look into it."""

    def classify(
        self,
        texts: Sequence[str],
        languages: Sequence[str | None] | None = None,
        targets: Sequence[Sequence[Target]] | None = None,
    ) -> list[Prediction]: ...

    def classify_clean(
        self,
        texts: Sequence[CleanText],
        languages: Sequence[str | None] | None = None,
        targets: Sequence[Sequence[Target]] | None = None,
        names: Sequence[Sequence[Name]] | None = None,
    ) -> list[Prediction]: ...

    def classify_targets(
        self, text: str, targets: Sequence[tuple[int, int]], declared: str | None = None
    ) -> list[Prediction]: ...


class SecondOpinion:
    """Two engines as one classifier.  Any thread may call `classify`."""

    def __init__(
        self,
        first: Engine | None,
        second: Engine,
        info: ModelInfo,
        mode: Mode,
        metrics: ModelMetrics | None = None,
    ) -> None:
        """`first` may be None in mode all, where nothing is left for it; `info` is `whole_info`."""
        self.info = info
        self.mode = mode
        self.settings = (first or second).settings
        self._first, self._second = first, second
        self._metrics = metrics or ModelMetrics()
        self._metrics.describe_second_opinion(info.version, mode.value, second.version)
        self._close_calls = RecentCache[tuple[bytes, str | None], bool](self.settings.remembered_texts)

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics."""
        return self.info.labels["topic"]

    @property
    def version(self) -> str:
        """The version of the whole."""
        return self.info.version

    @property
    def story_weights(self) -> dict[str, StoryWeights]:
        """How embeddings decide whether texts tell the same event, by their space."""
        engines = (engine for engine in (self._first, self._second) if engine)
        return {space: own for engine in engines for space, own in engine.story_weights.items()}

    @property
    def description(self) -> str:
        """The version, and the device it runs on."""
        return f"{self.version} on {self._second.device.type}"

    def reader(self, text: str, declared: str | None = None) -> Engine:
        """The engine whose labels a text gets."""
        (prediction,) = self.classify([text], [declared])
        is_first = self._first is not None and prediction.judged_by == self._first.version
        return self._first if is_first and self._first else self._second

    def classify(
        self,
        texts: Sequence[str],
        languages: Sequence[str | None] | None = None,
        targets: Sequence[Sequence[Target]] | None = None,
    ) -> list[Prediction]:
        """`Engine.classify`: a prediction for each text, in order."""
        return self.classify_clean(list(map(clean, texts)), languages, targets)

    def classify_clean(
        self,
        texts: Sequence[CleanText],
        languages: Sequence[str | None] | None = None,
        targets: Sequence[Sequence[Target]] | None = None,
        names: Sequence[Sequence[Name]] | None = None,
    ) -> list[Prediction]:
        """`Engine.classify_clean`: `classify` for texts that the caller has cleaned."""
        none: list[Any] = [()] * len(texts)
        inputs = list(map(Input, texts, languages or [None] * len(texts), targets or none, names or none))
        predictions = self._all(inputs) if self.mode is Mode.ALL else self._auto(inputs)
        judged = [prediction.judged_by for prediction in predictions if prediction.sentiment is not None]
        of_second = judged.count(self._second.version)
        self._metrics.observe_opinions(len(judged) - of_second, of_second)
        return predictions

    def classify_targets(
        self, text: str, targets: Sequence[tuple[int, int]], declared: str | None = None
    ) -> list[Prediction]:
        """`Engine.classify_targets`, by a model that answers for targets in the language of the text."""
        engine = self.reader(text, declared)
        answers = engine.classify_targets(text, targets, declared)
        if self._first and answers and not answers_targets(engine.info, answers[0].lang):
            engine = self._first
            answers = engine.classify_targets(text, targets, declared)
        return [self._as_whole(answer, engine) for answer in answers]

    def _all(self, inputs: Sequence[Input]) -> list[Prediction]:
        answers = _ask(self._second, inputs)
        predictions = [self._as_whole(answer, self._second) for answer in answers]
        if self._first is None:
            return predictions
        info = self._first.info
        unanswered = [
            index
            for index, answer in enumerate(answers)
            if (answer.sentiment is None and info.part_of(answer.lang))
            or (inputs[index].targets and not answer.targets and answers_targets(info, answer.lang))
            or (not self._second_finds_events(answer.lang) and event_thresholds(info, answer.lang))
        ]
        asked = _ask(self._first, [inputs[index] for index in unanswered])
        for index, own in zip(unanswered, asked, strict=True):
            is_read = answers[index].sentiment is not None
            predictions[index] = (
                self._completed(predictions[index], own) if is_read else self._as_whole(own, self._first)
            )
        return predictions

    def _auto(self, inputs: Sequence[Input]) -> list[Prediction]:
        first = self._first
        if first is None:
            raise ValueError("in mode auto the first model reads every text")
        own = _ask(first, inputs)
        routed = self._routed(first, inputs, own)
        answers = dict(zip(routed, _ask(self._second, [inputs[index] for index in routed]), strict=True))
        predictions = []
        for index, prediction in enumerate(own):
            answer = answers.get(index)
            route = self._routing(prediction.lang)
            if answer is None or answer.sentiment is None:
                kept = first.builder.tempered(prediction, route.temperature)
                predictions.append(self._as_whole(kept, first))
                continue
            for task in TASKS:
                if getattr(answer, task) != getattr(prediction, task):
                    self._metrics.observe_change(task)
            if route.second == self._second.version:
                answer = self._second.builder.tempered(answer, route.second_temperature)
            predictions.append(self._as_whole(self._completed(answer, prediction), self._second))
        return predictions

    def _second_finds_events(self, language: str | None) -> bool:
        return bool(event_thresholds(self._second.info, language))

    def _completed(self, answer: Prediction, own: Prediction) -> Prediction:
        """The second model's answer, with the first model's where the second has nothing to say."""
        events = answer.events if self._second_finds_events(answer.lang) else own.events
        # All texts of a language have their embeddings from one model: only those can be compared.
        is_of_second = self.mode is Mode.ALL or own.sentiment is None
        embedding = answer.embedding if is_of_second else own.embedding
        return replace(answer, targets=answer.targets or own.targets, events=events, embedding=embedding)

    def _routed(self, first: Engine, inputs: Sequence[Input], predictions: Sequence[Prediction]) -> list[int]:
        """The indexes of the texts that the second model labels.

        A text that is nothing but boilerplate has nothing to read.
        """
        wanted: dict[int, bool] = {}
        close: dict[int, CleanInput] = {}
        for index, (item, prediction) in enumerate(zip(inputs, predictions, strict=True)):
            text = item.text
            if prediction.sentiment is None:
                wanted[index] = self._second.info.part_of(prediction.lang) is not None
            elif not text.only_boilerplate and self._second.info.part_of(prediction.lang):
                route = self._routing(prediction.lang)
                distance = routing.doubt(route, text.news.text, prediction) - route.threshold
                wanted[index] = distance >= 0
                if abs(distance) < routing.CLOSE:
                    close[index] = CleanInput(text.news.text, item.declared)
        wanted |= self._decide_alone(first, close)
        return sorted(index for index, is_wanted in wanted.items() if is_wanted)

    def _decide_alone(self, first: Engine, texts: Mapping[int, CleanInput]) -> dict[int, bool]:
        """Decide close calls by a pass of the text alone: the texts around it must not decide."""
        keys = {index: PredictionCache.key(text) for index, text in texts.items()}
        decided = self._close_calls.get(keys.values())
        new = {key: texts[index] for index, key in keys.items() if key not in decided}
        for (key, text), prediction in zip(
            new.items(), first.classify_alone(list(new.values())), strict=True
        ):
            route = self._routing(prediction.lang)
            decided[key] = routing.doubt(route, text.text, prediction) >= route.threshold
        self._close_calls.add(decided)
        return {index: decided[key] for index, key in keys.items()}

    def _routing(self, language: str | None) -> Routing:
        part = self._first.info.part_of(language) if self._first else None
        return part.routing if part and part.routing else routing.DEFAULT

    def _as_whole(self, prediction: Prediction, by: Engine) -> Prediction:
        """The prediction of one of the two models as one of the whole."""
        judged_by = None if prediction.sentiment is None else by.version
        return replace(prediction, model=self.version, judged_by=judged_by)


def _ask(engine: Engine, inputs: Sequence[Input]) -> list[Prediction]:
    """The predictions of one model, in order."""
    if not inputs:
        return []
    texts, declared, targets, names = zip(*inputs, strict=True)
    return engine.classify_clean(texts, declared, targets, names)

"""Texts as messages carry them in, predictions out: labels, and the entities that each text is about.

text, title length, language, symbols
  │
clean               as a reader sees it (stream.domain.text.cleaning)
  │
linker              which entities it names, and where (models/entities)
  │
relevance           how much it is about each of them: the most relevant ones are kept
  │
Engine              topic and sentiment, and the sentiment towards each entity, in one pass of the encoder
  │
prediction with its entities
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol, Self

from msgspec.structs import replace

from models import loading
from models.entities.entity import EntityKind
from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker as EntityLinker
from models.entities.loading import load_in_background
from models.entities.relevance import relevances
from models.inference.cache import RecentCache
from models.inference.evidence import Name
from models.inference.explain import Explanation, Method, explain
from models.inference.metrics import ModelMetrics
from models.inference.removal import words_for
from models.inference.second_opinion import TextClassifier
from models.inference.tokenize import Target
from models.settings import ModelSettings
from stream.domain.documents import Prediction, TextInput
from stream.domain.entities import EntityMention, TargetSentiment
from stream.domain.errors import InferenceError, error_text
from stream.domain.stories import StoryWeights
from stream.domain.text.cleaning import CleanText, clean

# Places of one entity in one text that are read and stored, the first ones: who is named a hundred times in
# an article is what it is about.
MOST_PLACES = 100
# A text with more places than that is linked again if it is repeated: ten thousand of them would fill memory.
REMEMBERED_PLACES = 30


class Linker(Protocol):
    """Finds entities in texts: `models.entities.linker.Linker`, or a stand-in for it."""

    @property
    def gazetteer(self) -> Gazetteer: ...

    def link(self, item: TextInput, cleaned: CleanText | None = None, /) -> Sequence[tuple[str, Target]]:
        """The id of each entity of a text, and its places in the text as it was sent.

        There are none if only the symbols of the message name it.
        """


class Found(NamedTuple):
    """An entity that was found in a text, before its sentiment is known."""

    entity: str
    places: Target
    relevance: int


class EntityFinder:
    """Finds the entities of texts with one linker, and remembers those of recent texts."""

    def __init__(self, linker: Linker, settings: ModelSettings) -> None:
        self.gazetteer = linker.gazetteer
        self._linker = linker
        self._most = settings.max_entities
        self._recent = RecentCache[bytes, tuple[Found, ...]](settings.remembered_texts)

    def find(self, items: Sequence[TextInput], cleaned: Sequence[CleanText]) -> list[tuple[Found, ...]]:
        """The most relevant entities of each text, by falling relevance.

        Raises InferenceError if a text cannot be linked.
        """
        keys = list(map(_key, items))
        found = self._recent.get(keys)
        new = {
            key: self._find(item, text)
            for key, item, text in zip(keys, items, cleaned, strict=True)
            if key not in found
        }
        self._recent.add({key: value for key, value in new.items() if _is_small(value)})
        found |= new
        return [found[key] for key in keys]

    def _find(self, item: TextInput, cleaned: CleanText) -> tuple[Found, ...]:
        try:
            links = [(entity, places[:MOST_PLACES]) for entity, places in self._linker.link(item, cleaned)]
            if not links:
                return ()
            values = relevances([places for _, places in links], item.text, item.title_length)
        except Exception as error:
            raise InferenceError(f"a text cannot be linked to entities: {error_text(error)}") from error
        found = [Found(*link, value) for link, value in zip(links, values, strict=True)]
        found.sort(key=lambda one: -one.relevance)
        return tuple(found[: self._most])


def _is_small(found: Sequence[Found]) -> bool:
    return sum(1 + len(one.places) for one in found) <= REMEMBERED_PLACES


def _key(item: TextInput) -> bytes:
    """A hash of what the entities of a text depend on."""
    rest = repr((item.title_length, item.symbols))
    digest = hashlib.blake2b(item.text.encode("utf-8", "surrogatepass"), digest_size=16)
    # The first byte is in no text.
    digest.update(b"\xff" + rest.encode("utf-8", "surrogatepass"))
    return digest.digest()


class DocumentClassifier:
    """What the stream and the commands classify with.  Any thread may call `classify`.

    Without a linker no entity is looked for.
    """

    def __init__(self, engine: TextClassifier, linker: Linker | None = None) -> None:
        self.engine = engine
        self._finder = EntityFinder(linker, engine.settings) if linker else None

    @classmethod
    def load(
        cls,
        settings: ModelSettings,
        metrics: ModelMetrics | None = None,
        linker: Future[EntityLinker] | None = None,
        choose: loading.Choose = lambda settings: settings,
    ) -> Self:
        """Load the models and the entities that the settings name.  Raises ModelError.

        `linker` is the one that is being loaded, if that has begun.  `choose` selects the backends, see
        `models.loading.load`.
        """
        loading_linker = linker or load_in_background(settings)
        engine = loading.load(settings, choose, metrics)
        return cls(engine, loading_linker.result())

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics."""
        return self.engine.topics

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types of events that are looked for, in any language."""
        return self.engine.info.event_types

    @property
    def story_weights(self) -> dict[str, StoryWeights]:
        """How embeddings decide whether texts tell the same event, by their space."""
        return self.engine.story_weights

    @property
    def version(self) -> str:
        """The version of the model."""
        return self.engine.version

    @property
    def description(self) -> str:
        """The version, and the device it runs on."""
        return self.engine.description

    @property
    def gazetteer(self) -> Gazetteer | None:
        """The entities that texts are linked to now; None without a linker."""
        finder = self._finder
        return None if finder is None else finder.gazetteer

    def use(self, linker: Linker) -> None:
        """Link with this linker from the next call of `classify` on."""
        self._finder = EntityFinder(linker, self.engine.settings)

    def classify(self, inputs: Sequence[TextInput]) -> list[Prediction]:
        """A prediction for each text, in order, with its entities and the sentiment towards its `targets`.

        If a text names two entities or more, the sentiment towards each is from the head for targets.  Else
        it is the text's, as it is for entities that only the message's symbols name, and in languages for
        which the model has no such head.  All entities of a call are of one version of the gazetteer.

        Raises InferenceError if the network's output for a text is not finite, or a text cannot be linked: no
        label is made up.
        """
        finder = self._finder
        cleaned = [clean(item.text) for item in inputs]
        found = finder.find(inputs, cleaned) if finder else [()] * len(inputs)
        targets = list(map(_targets, inputs, found))
        gazetteer = None if finder is None else finder.gazetteer
        names = [_names(own, gazetteer) for own in found] if gazetteer else None
        predictions = self.engine.classify_clean(cleaned, [item.lang for item in inputs], targets, names)
        return [
            _complete(prediction, item, own, gazetteer)
            for prediction, item, own in zip(predictions, inputs, found, strict=True)
        ]

    def words_for(self, text: str, sentiment: str) -> tuple[str, ...]:
        """The words of a text that its sentiment would miss most (`models.inference.removal.words_for`).

        Raises InferenceError as `classify` does.
        """
        count = self.engine.settings.evidence_words
        return words_for(self.engine.reader(text), text, sentiment, count, self.names(TextInput(text)))

    def explain(self, item: TextInput, task: str, method: Method = "attention") -> Explanation:
        """Why a text gets its label for a task (`models.inference.explain`); its prediction has the entities.

        Raises InferenceError as `classify` does, and ModelError if the backend lacks what the method needs.
        """
        engine = self.engine.reader(item.text, item.lang)
        explanation = explain(engine, item.text, task, method, item.lang, self.names(item))
        (prediction,) = self.classify([item])
        return dataclasses.replace(explanation, prediction=prediction)

    def names(self, item: TextInput) -> list[Name]:
        """Where a text names entities.  Raises InferenceError if it cannot be linked."""
        finder = self._finder
        if finder is None:
            return []
        (found,) = finder.find([item], [clean(item.text)])
        return _names(found, finder.gazetteer)

    def with_entities(
        self, inputs: Sequence[TextInput], predictions: Sequence[Prediction]
    ) -> list[Prediction]:
        """These predictions of the texts, in order, with the entities that the linker finds in the texts.

        Labels, scores and evidence of the texts stay: only texts that name two entities or more are read by
        the network again, for the sentiment towards each.  Of an uncertain prediction the labels may be
        missing.

        Raises InferenceError as `classify` does.
        """
        finder = self._finder
        if finder is None:
            return list(predictions)
        cleaned = [clean(item.text) for item in inputs]
        found = finder.find(inputs, cleaned)
        plain = [replace(item, targets=()) for item in inputs]
        targets = list(map(_targets, plain, found))
        again = [index for index, one in enumerate(predictions) if targets[index] and one.score is not None]
        answers = self.engine.classify_clean(
            [cleaned[index] for index in again],
            [inputs[index].lang for index in again],
            [targets[index] for index in again],
        )
        answered = dict(zip(again, (answer.targets for answer in answers), strict=True))
        return [
            _complete(replace(prediction, targets=answered.get(index, ())), item, own, finder.gazetteer)
            for index, (prediction, item, own) in enumerate(zip(predictions, plain, found, strict=True))
        ]


def _names(found: Sequence[Found], gazetteer: Gazetteer) -> list[Name]:
    """Where a text names its entities, which carry no mood; a company makes no topic either."""
    return [
        Name(start, end, gazetteer.entities[one.entity].kind is not EntityKind.COMPANY)
        for one in found
        for start, end in one.places
    ]


def _targets(item: TextInput, found: Sequence[Found]) -> list[Target]:
    """The targets of a text: its entities, if it names several, then those that were asked for."""
    named = [one.places for one in found if one.places]
    return [*(named if len(named) > 1 else ()), *((target,) for target in item.targets)]


def _complete(
    prediction: Prediction, item: TextInput, found: Sequence[Found], gazetteer: Gazetteer | None
) -> Prediction:
    """The engine's prediction with the entities of the text, and the answers for what was asked for.

    Its `targets` are those of `_targets`, or there are none.
    """
    if gazetteer is None and not item.targets:
        return prediction
    whole, answers = _of_text(prediction), iter(prediction.targets)
    several = sum(1 for one in found if one.places) > 1
    towards = [next(answers, whole) if several and one.places else whole for one in found]
    asked = tuple(next(answers, whole) for _ in item.targets)
    if gazetteer is None:
        return replace(prediction, targets=asked)
    mentions = (_mention(*pair, gazetteer, prediction.lang) for pair in zip(found, towards, strict=True))
    return replace(prediction, entities=tuple(mentions), targets=asked, gazetteer=gazetteer.version)


def _of_text(prediction: Prediction) -> TargetSentiment:
    """The sentiment of the text, in place of one towards a part of it."""
    label = prediction.sentiment
    if prediction.score is None:
        return TargetSentiment()
    if label is None:
        return TargetSentiment(score=prediction.score, certain=prediction.certain)
    probability = prediction.probabilities["sentiment"][label]
    return TargetSentiment(label, probability, prediction.score, certain=prediction.certain)


def _mention(found: Found, answer: TargetSentiment, gazetteer: Gazetteer, lang: str | None) -> EntityMention:
    entity = gazetteer.entities[found.entity]
    label, probability = answer.sentiment, answer.probability
    uncertain = None if answer.certain or label is None or probability is None else (label, probability)
    return EntityMention(
        entity.id,
        entity.chinese_name if lang == "zh" and entity.chinese_name else entity.name,
        found.places,
        found.relevance,
        None if uncertain else label,
        None if uncertain else probability,
        answer.score,
        answer.of_target,
        uncertain,
    )

"""A stand-in for the classifier: labels from the text's hash at no cost, to measure everything around it."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from models.entities.gazetteer import Gazetteer
from models.entities.linker import Linker
from stream.domain.documents import SENTIMENTS, Embedding, EventLabel, Prediction, Span, TextInput
from stream.domain.entities import EntityMention
from stream.domain.stories import StoryWeights

if TYPE_CHECKING:
    from models.inference.explain import Explanation

TOPICS = ("Alpha", "Beta", "Gamma", "Delta")
EVENT_TYPES = ("default", "fine", "recall", "strike")
VERSION = "stand-in"
WORD = re.compile(r"\$?\w+")
# About one word in so many is the name of an entity.
NAMES = 4
MOST_ENTITIES, LONGEST_NAME = 8, 16


class StandIn:
    """The same text always gets the same labels and entities.

    About one text in sixteen is uncertain; a text without letters gets no label.  One in four reports an
    event, one in sixteen two.  Entities are the text's
    cashtags (`$AB` is `XNAS:AB`), the symbols of its message, and about one word in NAMES: which words these
    are depends on the version of the `gazetteer`.
    """

    topics, event_types = TOPICS, EVENT_TYPES
    story_weights: Mapping[str, StoryWeights] = {}
    version = VERSION
    description = f"{VERSION}, not a real classifier"

    def __init__(self, gazetteer: str = VERSION) -> None:
        # It names no entity: they follow from the texts.
        self.gazetteer = Gazetteer(gazetteer, MappingProxyType({}), MappingProxyType({}))

    def use(self, linker: Linker) -> None:
        """Find entities as by another version of the list."""
        self.gazetteer = Gazetteer(linker.gazetteer.version, MappingProxyType({}), MappingProxyType({}))

    def classify(self, inputs: Sequence[TextInput]) -> list[Prediction]:
        return [_predict(item.text, item.symbols, self.gazetteer.version) for item in inputs]

    def words_for(self, text: str, sentiment: str) -> tuple[str, ...]:
        return ()

    def explain(self, item: TextInput, task: str) -> "Explanation":
        """No word says anything."""
        from models.inference.explain import Explanation

        (prediction,) = self.classify([item])
        return Explanation(item.text, task, "attention", prediction, ())


@lru_cache(4096)
def _predict(text: str, symbols: tuple[str, ...], gazetteer: str) -> Prediction:
    digest = _digest(text)
    entities = _entities(text, digest, symbols, gazetteer)
    if not any(map(str.isalpha, text)):
        unknown = tuple(EntityMention(m.entity, m.name, m.spans, m.relevance) for m in entities)
        return Prediction(VERSION, None, entities=unknown, gazetteer=gazetteer)
    topic, mood = TOPICS[digest[0] % len(TOPICS)], SENTIMENTS[digest[1] % len(SENTIMENTS)]
    probabilities = {
        "topic": {name: float(name == topic) for name in TOPICS},
        "sentiment": {name: float(name == mood) for name in SENTIMENTS},
    }
    return Prediction(
        VERSION,
        "en",
        topic,
        mood,
        _score(digest[2:4]),
        probabilities,
        (Span("sentiment", text[:8], 0, min(8, len(text)), 1.0),),
        certain=digest[4] >= 16,
        entities=entities,
        gazetteer=gazetteer,
        events=_events(digest),
        # Any bytes are an embedding of some direction.
        embedding=Embedding(f"{VERSION}/en", digest),
    )


def _events(digest: bytes) -> tuple[EventLabel, ...]:
    count = 2 if digest[5] < 16 else int(digest[5] < 64)
    first = digest[6] % len(EVENT_TYPES)
    names = (EVENT_TYPES[first], EVENT_TYPES[first - 1])[:count]
    return tuple(EventLabel(name, 1 - (digest[7] / 512) - i / 8) for i, name in enumerate(names))


def _entities(
    text: str, digest: bytes, symbols: tuple[str, ...], gazetteer: str
) -> tuple[EntityMention, ...]:
    """At most MOST_ENTITIES, by falling relevance."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for entity, span in _named(text, gazetteer):
        if entity in spans or len(spans) < MOST_ENTITIES:
            spans.setdefault(entity, []).append(span)
    for symbol in symbols[: MOST_ENTITIES - len(spans)]:
        spans.setdefault(f"XNAS:{symbol[:LONGEST_NAME].upper()}", [])
    mentions = [_mention(digest, entity, tuple(found[:MOST_ENTITIES])) for entity, found in spans.items()]
    return tuple(sorted(mentions, key=lambda mention: (-mention.relevance, mention.entity)))


def _named(text: str, gazetteer: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for match in WORD.finditer(text[:10_000]):
        word = match[0][:LONGEST_NAME].upper()
        if word.startswith("$"):
            yield f"XNAS:{word[1:]}", match.span()
        elif _is_name(word, gazetteer):
            yield f"XNYS:{word}", match.span()


@lru_cache(4096)
def _is_name(word: str, gazetteer: str) -> bool:
    return word.isalpha() and _digest(gazetteer + word)[0] % NAMES == 0


def _mention(digest: bytes, entity: str, spans: tuple[tuple[int, int], ...]) -> EntityMention:
    """About one in sixteen is uncertain: it has a score and no sentiment."""
    own = _digest_of_name(entity)
    certain = digest[8] ^ own[8] >= 16
    return EntityMention(
        entity,
        entity.partition(":")[2],
        spans,
        (digest[9] ^ own[9]) % 101,
        SENTIMENTS[(digest[10] ^ own[10]) % len(SENTIMENTS)] if certain else None,
        1.0 if certain else None,
        _score(bytes((digest[11] ^ own[11], digest[12] ^ own[12]))),
        bool(spans) and digest[13] < own[13],
    )


@lru_cache(4096)
def _digest_of_name(entity: str) -> bytes:
    return _digest(entity)


def _score(two_bytes: bytes) -> float:
    return round(int.from_bytes(two_bytes, "big") / 0xFFFF * 2 - 1, 4)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

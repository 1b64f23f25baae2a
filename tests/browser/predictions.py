"""Labels for the texts of the browser tests, without the time that a network takes.

The entities are found by the real linker.  The mood of a text is what its writer meant, with a strength that
depends on the text alone, so that two runs give the same labels.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace

from models.entities.gazetteer import Gazetteer
from models.entities.linker import Link, Linker
from models.entities.relevance import relevances
from monitor.demo.world import ENTITIES
from stream.domain.documents import SENTIMENTS, Document, Prediction, Span
from stream.domain.entities import EntityMention

MODEL = "invented-1"
TOPICS = ("Company | Product News", "Earnings", "Financials", "M&A | Investments", "Macro", "Stock Movement")
# The exchange of the companies of the demo.
INVENTED = "XXXX:"
# One text in so many is uncertain.
UNCERTAIN = 16
WORD = re.compile(r"[A-Za-z']{4,}|[\u4e00-\u9fff]{2}")
# Words that carry a mood: they are the evidence of a text that has some.
TELLING = re.compile(
    r"(?i)\b(?:panic|plung|tumbl|crash|collaps|sink|slump|dump|flee|fear|rout|terribl|disast|toast|bleed|wipe|loss|junk"
    r"|insolven|halt|jump|soar|surg|beat|rais|record|gain|profit|win)\w*|暴跌|挤兑|重挫|恐慌|抛售|崩|完了|大跌|停牌|下滑|上涨|增长|提高"
)
# The share of evidence of the first words of a text.
WEIGHTS = (0.42, 0.23, 0.11)


class InventedLabels:
    """Labels texts about the companies of the demo."""

    def __init__(self) -> None:
        known = Gazetteer.load(ENTITIES)
        own = {id_: entity for id_, entity in known.entities.items() if id_.startswith(INVENTED)}
        self.gazetteer = replace(known, entities=own)
        self._linker = Linker(self.gazetteer)

    def predict(self, document: Document, mood: str | None, topic: str | None = None) -> Prediction:
        """`mood` is a sentiment, None for one by the text's hash; so is the topic."""
        digest = hashlib.sha256(document.content.encode("utf-8", "surrogatepass")).digest()
        sentiment = mood or _usual_mood(digest[0])
        topic = topic or TOPICS[digest[1] % len(TOPICS)]
        probability = 0.62 + digest[2] / 256 * 0.35
        moods = _probabilities(SENTIMENTS, sentiment, probability)
        return Prediction(
            MODEL,
            document.lang,
            topic,
            sentiment,
            round(moods["positive"] - moods["negative"], 4),
            {"topic": _probabilities(TOPICS, topic, probability), "sentiment": moods},
            _evidence(document.content),
            certain=mood is not None or digest[3] % UNCERTAIN > 0,
            entities=self._mentions(document, sentiment, moods),
            gazetteer=self.gazetteer.version,
        )

    def _mentions(
        self, document: Document, sentiment: str, moods: Mapping[str, float]
    ) -> tuple[EntityMention, ...]:
        item = document.text_input
        links = self._linker.link(item)
        values = relevances([link.spans for link in links], item.text, item.title_length)
        found = [
            self._mention(link, value, sentiment, moods) for link, value in zip(links, values, strict=True)
        ]
        return tuple(sorted(found, key=lambda mention: -mention.relevance))

    def _mention(
        self, link: Link, relevance: int, sentiment: str, moods: Mapping[str, float]
    ) -> EntityMention:
        entity = self.gazetteer.entities[link.entity]
        score = round(moods["positive"] - moods["negative"], 4)
        return EntityMention(
            entity.id,
            entity.name,
            link.spans,
            relevance,
            sentiment,
            moods[sentiment],
            score,
            bool(link.spans),
        )


def _usual_mood(byte: int) -> str:
    """Of an ordinary day: a third of the texts is positive, a fifth negative."""
    return "positive" if byte < 85 else "negative" if byte >= 205 else "neutral"


def _probabilities(names: tuple[str, ...], chosen: str, probability: float) -> dict[str, float]:
    rest = (1 - probability) / (len(names) - 1)
    return {name: probability if name == chosen else rest for name in names}


def _evidence(text: str) -> tuple[Span, ...]:
    words = (list(TELLING.finditer(text)) or list(WORD.finditer(text)))[: len(WEIGHTS)]
    return tuple(
        Span(task, word[0], word.start(), word.end(), weight)
        for task in ("sentiment", "topic")
        for word, weight in zip(words, WEIGHTS, strict=False)
    )

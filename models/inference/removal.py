"""What a label owes to single words: how probable it still is without each of them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from models.inference.engine import Engine, clean_input
from models.inference.evidence import HAN, UNIT, Name, Word, Words
from models.inference.predictions import sent_word
from models.inference.tokenize import CleanInput, TokenizedText
from stream.domain.text.cleaning import clean

# Words that are tried: each costs a pass over the text.
MOST_WORDS = 12
# The log-odds of a label change by less than this when a word is removed that says nothing.
LEAST_CHANGE = 0.02
# Keeps the log-odds finite.
ALMOST_CERTAIN = 1e-6


@dataclass(frozen=True)
class Removal:
    """A word, and the probability of the label with and without it."""

    word: Word
    before: float
    after: float

    @property
    def change(self) -> float:
        """By how much the word raises the log-odds of the label; negative if it speaks against it."""
        return _log_odds(self.before) - _log_odds(self.after)

    @property
    def speaks_for(self) -> bool:
        return self.change >= LEAST_CHANGE

    @property
    def speaks_against(self) -> bool:
        return self.change <= -LEAST_CHANGE


def remove_each(
    engine: Engine, text: TokenizedText, *, task: str, label: int, probability: float, words: Sequence[Word]
) -> list[Removal]:
    """The label's probability without each of the words, in their order.

    A word that the text repeats is removed everywhere: as long as one is left, the others are not missed.
    """
    inputs = [CleanInput(_without(text.text, word), text.lang) for word in words]
    tokenized = engine.tokenizer.tokenize(inputs)
    after = {
        item.index: float(output.probabilities[task][label])
        for item, output in engine.forward.outputs(tokenized.texts)
    }
    # Of a text that was this word alone nothing is left to read.
    nothing = 1 / len(engine.info.labels[task])
    return [Removal(word, probability, after.get(index, nothing)) for index, word in enumerate(words)]


def words_for(
    engine: Engine, text: str, sentiment: str, count: int, names: Sequence[Name] = ()
) -> tuple[str, ...]:
    """The words of a text that its sentiment would miss most, largest loss first, as the text writes them.

    There are none if the text, which may be a part of a longer one, has another sentiment by itself.
    """
    news = clean(text).news
    tokenized = engine.tokenizer.tokenize([clean_input(news, None, names=names)])
    if not tokenized.texts:
        return ()
    ((item, output),) = engine.forward.outputs(tokenized.texts)
    probabilities = output.probabilities["sentiment"]
    label = engine.info.labels["sentiment"].index(sentiment)
    if probabilities.argmax() != label:
        return ()
    words = Words(item.text, item.windows, item.names)
    spans = words.spans("sentiment", output.contributions["sentiment"], MOST_WORDS)
    removals = remove_each(
        engine,
        item,
        task="sentiment",
        label=label,
        probability=float(probabilities[label]),
        words=[(span.start, span.end) for span in spans],
    )
    by_change = sorted(zip(removals, spans, strict=True), key=lambda pair: (-pair[0].change, pair[1].start))
    found = [sent_word(span, news).text for removal, span in by_change if removal.speaks_for]
    return tuple(dict.fromkeys(found))[:count]


def _without(text: str, word: Word) -> str:
    removed = text[slice(*word)].casefold()
    if HAN.search(removed):
        # One character is in many words.
        same = (match.span() for match in re.finditer(re.escape(removed), text) if len(removed) > 1)
    else:
        same = (match.span() for match in UNIT.finditer(text) if match[0].casefold() == removed)
    kept, end = [], 0
    for start, stop in sorted({*chain(same, [word])}):
        kept.append(text[end:start])
        # One of the two blanks around it goes too.
        end = stop + (text[start - 1 : start] in ("", " ") and text[stop : stop + 1] == " ")
    return "".join((*kept, text[end:]))


def _log_odds(probability: float) -> float:
    inside = min(max(probability, ALMOST_CERTAIN), 1 - ALMOST_CERTAIN)
    return math.log(inside / (1 - inside))

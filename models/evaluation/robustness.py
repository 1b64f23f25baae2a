"""Robustness checks: label flips, opposite pairs, hard kinds of text, and whether the evidence matters.

The texts in `checks/` were written for this purpose and are never trained on: `same_*.csv` are two texts with
the same meaning, `directions_*.csv` two texts that differ in the words that decide the sentiment,
`kinds_*.csv` pairs and triples of eight kinds of text that classifiers often get wrong, and `plain_*.csv`
ordinary news.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from models.inference.evidence import plain_words
from models.inference.second_opinion import TextClassifier
from stream.domain.documents import Prediction

CHECKS = Path(__file__).parent / "checks"
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Check:
    """The number of pairs (or texts) of one kind, how many failed, and the first that did."""

    name: str
    n: int
    failed: int
    examples: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        return self.failed / self.n if self.n else 0.0


@dataclass(frozen=True)
class Faithfulness:
    """The mean fall of the winning probability when words are deleted.

    `shown`: the evidence words are deleted; `chance`: as many random words are.
    """

    n: int
    shown: float
    chance: float

    @property
    def ratio(self) -> float | None:
        """`shown` divided by `chance`; None if random words make no difference."""
        return self.shown / self.chance if self.chance > 0 else None


@dataclass(frozen=True)
class RobustnessReport:
    """Label flips under meaning-preserving edits, opposite pairs (`directions`) and texts of eight `kinds`
    with a wrong sentiment."""

    flips: tuple[Check, ...]
    directions: tuple[Check, ...]
    kinds: tuple[Check, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def robustness(engine: TextClassifier, language: str) -> RobustnessReport:
    """Run the checks of one language; without a file for the language there are no pairs."""
    return RobustnessReport(flips(engine, language), directions(engine, language), kinds(engine, language))


def flips(engine: TextClassifier, language: str) -> tuple[Check, ...]:
    """Label flips under meaning-preserving edits, by edit, by task and overall."""
    pairs = read_pairs(f"same_{language}.csv")
    sides = list(zip(*_classify_pairs(engine, pairs, language), strict=True))
    sentiment = [a.sentiment != b.sentiment for a, b in sides]
    topic = [a.topic != b.topic for a, b in sides]
    either = [s or t for s, t in zip(sentiment, topic, strict=True)]
    return (
        *_checks_by("edit", pairs, either),
        _check("sentiment", pairs, sentiment),
        _check("topic", pairs, topic),
        _check("all", pairs, either),
    )


def directions(engine: TextClassifier, language: str) -> tuple[Check, ...]:
    """Opposite pairs with a wrong sentiment on at least one side, by kind and overall."""
    pairs = read_pairs(f"directions_{language}.csv")
    first, second = _classify_pairs(engine, pairs, language)
    wrong = [
        a.sentiment != pair["a_sentiment"] or b.sentiment != pair["b_sentiment"]
        for pair, a, b in zip(pairs, first, second, strict=True)
    ]
    return (*_checks_by("what", pairs, wrong), _check("all", pairs, wrong))


def kinds(engine: TextClassifier, language: str) -> tuple[Check, ...]:
    """Texts of each kind that classifiers often get wrong, such as denials, with a wrong sentiment."""
    rows = read_pairs(f"kinds_{language}.csv")
    texts = [row["text"] for row in rows]
    predictions = engine.classify(texts, [language] * len(texts))
    wrong = [
        prediction.sentiment != row["sentiment"] for row, prediction in zip(rows, predictions, strict=True)
    ]
    return (*_checks_by("kind", rows, wrong), _check("all", rows, wrong))


class _Deletion(NamedTuple):
    """A text without its evidence words and without random words, and the label it had before."""

    without_evidence: str
    without_random: str
    lang: str | None
    label: str
    probability: float


def faithfulness(
    engine: TextClassifier, texts: Sequence[str], task: str = "sentiment", words: int = 3
) -> Faithfulness:
    """Deletion test (DeYoung et al. 2020): how far the winning probability falls without the evidence words,
    and without as many random ones.  Texts with fewer than twice `words` words are left out."""
    rng = random.Random(0)
    deletions = [
        deletion
        for text, prediction in zip(texts, engine.classify(texts), strict=True)
        if (deletion := _delete_words(text, prediction, task, words, rng))
    ]
    shortened = [text for d in deletions for text in (d.without_evidence, d.without_random)]
    predictions = engine.classify(shortened, [d.lang for d in deletions for _ in range(2)])
    n = max(len(deletions), 1)
    shown = sum(_fall(d, after, task) for d, after in zip(deletions, predictions[::2], strict=True)) / n
    chance = sum(_fall(d, after, task) for d, after in zip(deletions, predictions[1::2], strict=True)) / n
    return Faithfulness(len(deletions), shown, chance)


def _delete_words(
    text: str, prediction: Prediction, task: str, words: int, rng: random.Random
) -> _Deletion | None:
    label = getattr(prediction, task)
    evidence = [span for span in prediction.evidence if span.task == task][:words]
    all_words = plain_words(text)
    if label is None or len(evidence) < words or len(all_words) < 2 * words:
        return None
    drawn = rng.sample(all_words, words)
    return _Deletion(
        delete_spans(text, [(span.start, span.end) for span in evidence]),
        delete_spans(text, drawn),
        prediction.lang,
        label,
        prediction.probabilities[task][label],
    )


def _fall(deletion: _Deletion, after: Prediction, task: str) -> float:
    """By how much the probability of the label is lower after the deletion."""
    return deletion.probability - after.probabilities.get(task, {}).get(deletion.label, 0.0)


def delete_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text without these spans (start, end)."""
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return text


def read_pairs(name: str) -> list[dict[str, str]]:
    """The rows of one file in `checks/`; none if it does not exist."""
    path = CHECKS / name
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _classify_pairs(
    engine: TextClassifier, pairs: Sequence[dict[str, str]], language: str
) -> tuple[list[Prediction], list[Prediction]]:
    """Predictions for both sides of every pair, with the language set as a feed would set it."""
    texts = [pair[side] for side in "ab" for pair in pairs]
    predictions = engine.classify(texts, [language] * len(texts))
    return predictions[: len(pairs)], predictions[len(pairs) :]


def _checks_by(column: str, pairs: Sequence[dict[str, str]], failed: Sequence[bool]) -> list[Check]:
    """One check for each value of the column."""
    checks = []
    for name in dict.fromkeys(pair[column] for pair in pairs):
        rows = [i for i, pair in enumerate(pairs) if pair[column] == name]
        checks.append(_check(name, [pairs[i] for i in rows], [failed[i] for i in rows]))
    return checks


def _check(name: str, pairs: Sequence[dict[str, str]], failed: Sequence[bool]) -> Check:
    examples = [_shown(pair) for pair, is_failed in zip(pairs, failed, strict=True) if is_failed]
    return Check(name, len(pairs), len(examples), tuple(examples[:MAX_EXAMPLES]))


def _shown(row: dict[str, str]) -> str:
    """Both texts of a pair, or the text."""
    return f"{row['a']} | {row['b']}" if "a" in row else row["text"]

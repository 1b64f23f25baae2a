"""Does a label stay when the meaning stays, turn when it turns, and hang on the words shown for it?

The pairs in `checks/` were written for this and are trained on by nothing here: `same_*.csv` are two
texts that mean the same, `directions_*.csv` two that differ in the words that set the mood.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.inference.engine import Engine
from models.inference.evidence import plain_words
from stream.domain.documents import Prediction

CHECKS = Path(__file__).parent / "checks"


@dataclass(frozen=True)
class Check:
    """How many cases of one sort there were, how many failed, and the first that did."""

    name: str
    n: int
    failed: int
    examples: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        return self.failed / self.n if self.n else 0.0


@dataclass(frozen=True)
class Faithfulness:
    """How much the winning probability falls, on average, when words go.

    `shown`: the words given as evidence; `chance`: as many of the text's words at random.
    """

    n: int
    shown: float
    chance: float

    @property
    def ratio(self) -> float | None:
        """How many times more; None where random words take nothing away."""
        return self.shown / self.chance if self.chance > 0 else None


@dataclass(frozen=True)
class RobustnessReport:
    """Flips are turned labels under edits that keep the meaning; directions are pairs got wrong."""

    flips: tuple[Check, ...]
    directions: tuple[Check, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def robustness(engine: Engine, language: str) -> RobustnessReport:
    """Run the project's pairs of one language.  A missing file means there are none in it."""
    return RobustnessReport(flips(engine, language), directions(engine, language))


def flips(engine: Engine, language: str) -> tuple[Check, ...]:
    """By edit: pairs whose sentiment or topic turned though the meaning did not."""
    pairs = _read(f"same_{language}.csv")
    one, two = _judge(engine, pairs, language)
    turned = [a.sentiment != b.sentiment or a.topic != b.topic for a, b in zip(one, two, strict=True)]
    mood = [a.sentiment != b.sentiment for a, b in zip(one, two, strict=True)]
    topic = [a.topic != b.topic for a, b in zip(one, two, strict=True)]
    return (
        *_by("edit", pairs, turned),
        _check("sentiment", pairs, mood),
        _check("topic", pairs, topic),
        _check("all", pairs, turned),
    )


def directions(engine: Engine, language: str) -> tuple[Check, ...]:
    """By sort: pairs of which not both sides got their sentiment."""
    pairs = _read(f"directions_{language}.csv")
    one, two = _judge(engine, pairs, language)
    wrong = [
        a.sentiment != pair["a_sentiment"] or b.sentiment != pair["b_sentiment"]
        for pair, a, b in zip(pairs, one, two, strict=True)
    ]
    return (*_by("what", pairs, wrong), _check("all", pairs, wrong))


def faithfulness(
    engine: Engine, texts: Sequence[str], task: str = "sentiment", words: int = 3
) -> Faithfulness:
    """Deletion test (DeYoung et al. 2020): take the evidence out, or words at random, and look how far
    the probability of the label that had won falls.  Texts of fewer than twice `words` are left out."""
    dice = random.Random(0)
    before = engine.classify(texts)
    cut, labels, first = [], [], []
    for text, given in zip(texts, before, strict=True):
        label = getattr(given, task)
        shown = [span for span in given.evidence if span.task == task][:words]
        every = plain_words(text)
        if label is None or len(shown) < words or len(every) < 2 * words:
            continue
        drawn = dice.sample(every, words)
        cut += [without(text, [(s.start, s.end) for s in shown]), without(text, drawn)]
        labels.append(label)
        first.append((given.probabilities[task][label], given.lang))
    claimed = [lang for _, lang in first for _ in range(2)]
    after = [p.probabilities.get(task, {}) for p in engine.classify(cut, claimed)]
    falls = [
        (first[i][0] - after[2 * i].get(label, 0.0), first[i][0] - after[2 * i + 1].get(label, 0.0))
        for i, label in enumerate(labels)
    ]
    n = len(falls)
    return Faithfulness(n, sum(s for s, _ in falls) / max(n, 1), sum(c for _, c in falls) / max(n, 1))


def without(text: str, places: Sequence[tuple[int, int]]) -> str:
    """The text with these stretches taken out."""
    for start, end in sorted(places, reverse=True):
        text = text[:start] + text[end:]
    return text


def _read(name: str) -> list[dict[str, str]]:
    path = CHECKS / name
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _judge(
    engine: Engine, pairs: Sequence[dict[str, str]], language: str
) -> tuple[list[Prediction], list[Prediction]]:
    """Both sides of every pair, as if the feed had said the language."""
    given = engine.classify([pair[side] for side in "ab" for pair in pairs], [language] * (2 * len(pairs)))
    return given[: len(pairs)], given[len(pairs) :]


def _by(column: str, pairs: Sequence[dict[str, str]], failed: Sequence[bool]) -> list[Check]:
    return [
        _check(
            name,
            *zip(*[(p, f) for p, f in zip(pairs, failed, strict=True) if p[column] == name], strict=True),
        )
        for name in dict.fromkeys(pair[column] for pair in pairs)
    ]


def _check(name: str, pairs: Sequence[dict[str, str]], failed: Sequence[bool]) -> Check:
    shown = [f"{p['a']} | {p['b']}" for p, bad in zip(pairs, failed, strict=True) if bad]
    return Check(name, len(pairs), len(shown), tuple(shown[:5]))

"""Augmentation sets: the project's own training sentences, which teach by contrast.

Written sentences (`augmentation/written/<language>_*.csv`) were written one by one, in pairs that differ in
the words that change the label; what they say about any company is invented.  Generated sentences come from
a grammar, `augmentation/generated_<language>.yaml`: `slots` (a name and its fillers) and `patterns` (a topic,
a sentiment and the templates for both).  A template names its slots in braces: `{company}` draws a filler;
the same slot used twice draws two different fillers; a numbered slot (`{company1}`) keeps its filler wherever
the number is repeated; a capital first letter (`{Metal}`) capitalises the filler.

`comparisons` are patterns whose label depends on two numbers: `{actual}` is compared with `{other}`, which
was expected or stood a year ago.  `better` says which is good news, `higher` or `lower`; `range` and
`decimals` say which numbers are drawn.
"""

import csv
import math
import random
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stream.domain.documents import SENTIMENTS

TOPICS = (
    "Analyst Update",
    "Fed | Central Banks",
    "Company | Product News",
    "Treasuries | Corporate Debt",
    "Dividend",
    "Earnings",
    "Energy | Oil",
    "Financials",
    "Currencies",
    "General News | Opinion",
    "Gold | Metals | Materials",
    "IPO",
    "Legal | Regulation",
    "M&A | Investments",
    "Macro",
    "Markets",
    "Politics",
    "Personnel Change",
    "Stock Commentary",
    "Stock Movement",
    "Crypto",
)

# The types of events that written sentences report.
EVENT_TYPES = (
    "accident",
    "acquisition",
    "approval",
    "bankruptcy",
    "bid_for",
    "bid_withdrawn",
    "buyback",
    "closure",
    "contract_lost",
    "contract_won",
    "credit_rating_cut",
    "credit_rating_raise",
    "cyberattack",
    "debt_restructuring",
    "default",
    "delisting",
    "divestiture",
    "dividend_cut",
    "dividend_raise",
    "earnings_beat",
    "earnings_miss",
    "economic_data",
    "executive_joins",
    "executive_leaves",
    "fine",
    "fraud_inquiry",
    "guidance_cut",
    "guidance_raise",
    "insider_purchase",
    "insider_sale",
    "ipo",
    "lawsuit",
    "layoffs",
    "product_launch",
    "rate_decision",
    "rating_cut",
    "rating_raise",
    "recall",
    "rejection",
    "restatement",
    "share_sale",
    "short_report",
    "stake_change",
    "strike",
    "trade_barrier",
    "trading_halt",
    "withdrawals_halted",
)

# The source of rows made from them.
WRITTEN, GENERATED = "written sentences", "generated sentences"
AUGMENTATION_SOURCES = (WRITTEN, GENERATED)

# The slots of the numbers that a comparison draws.
COMPARED = ("actual", "other")

FOLDER = Path(__file__).parent / "augmentation"

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)(\d*)\}")
# A template is used up after this many draws that only repeat earlier sentences.
_MAX_DRAWS = 40


class Sentence(NamedTuple):
    """A text, its label for each task, and the events that it reports; None if nobody looked for any."""

    text: str
    labels: dict[str, str]
    events: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Numbers:
    """Which two numbers a comparison draws: from `low` to `high`, with so many decimals."""

    low: float
    high: float
    decimals: int
    higher_is_better: bool

    def draw(self, sentiment: str, rng: random.Random) -> dict[str, str]:
        """The text of `actual` and of `other`: equal if neutral, else clearly apart."""
        one = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        if sentiment == "neutral":
            return dict.fromkeys(COMPARED, self._text(one))
        step = 10.0**-self.decimals
        smaller, larger = one, max(min(one * rng.uniform(1.04, 2.2), self.high), one + step)
        actual_is_larger = (sentiment == "positive") == self.higher_is_better
        actual, other = (larger, smaller) if actual_is_larger else (smaller, larger)
        return dict(zip(COMPARED, map(self._text, (actual, other)), strict=True))

    def _text(self, number: float) -> str:
        return f"{number:,.{self.decimals}f}"


@dataclass(frozen=True)
class Template:
    """A sentence with slots, and the labels of every sentence made from it."""

    topic: str
    sentiment: str
    text: str
    numbers: Numbers | None = None


@dataclass(frozen=True)
class Grammar:
    """The slots and templates of one language."""

    slots: dict[str, list[str]]
    templates: list[Template]

    def fill(self, template: Template, rng: random.Random) -> str:
        """The template's text with a random filler in every slot."""
        unused: dict[str, list[str]] = {}
        numbered: dict[tuple[str, str], str] = {}
        compared = template.numbers.draw(template.sentiment, rng) if template.numbers else {}

        def filler(match: re.Match[str]) -> str:
            name, number = match[1].lower(), match[2]
            if name in compared:
                return compared[name]
            if number and (name, number) in numbered:
                word = numbered[name, number]
            else:
                if name not in unused:
                    unused[name] = list(self.slots[name])
                word = unused[name].pop(rng.randrange(len(unused[name])))
                numbered[name, number] = word
            return word[:1].upper() + word[1:] if match[1][0].isupper() else word

        return _PLACEHOLDER.sub(filler, template.text)


def _slots(raw: object, file: str) -> dict[str, list[str]]:
    if not isinstance(raw, dict) or not raw:
        raise ValueError(f"{file}: no mapping `slots`")
    for name, fillers in raw.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z_]+", name):
            raise ValueError(f"{file}: slot {name!r}: a name consists of lower-case letters and underscores")
        if not isinstance(fillers, list) or not fillers:
            raise ValueError(f"{file}: slot {name!r}: no list of fillers")
        for word in fillers:
            if not isinstance(word, str) or not word:
                raise ValueError(f"{file}: slot {name!r}: filler {word!r} is not a text")
        if len(set(fillers)) != len(fillers):
            raise ValueError(f"{file}: slot {name!r}: a filler is listed twice")
    return raw


def _check_text(text: object, slots: dict[str, list[str]], where: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: template {text!r} is not a text")
    draws_of_slot: dict[str, set[object]] = {}
    for position, match in enumerate(_PLACEHOLDER.finditer(text)):
        name = match[1].lower()
        if name not in slots:
            raise ValueError(f"{where}: unknown slot {match[0]} in {text!r}")
        draws_of_slot.setdefault(name, set()).add(match[2] or position)  # without a number: one draw each
    for name, draws in draws_of_slot.items():
        if len(draws) > len(slots[name]):
            raise ValueError(f"{where}: slot {name!r} has too few fillers for {text!r}")
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise ValueError(f"{where}: stray brace in {text!r}")
    return text


def _templates(
    patterns: object, comparisons: object, slots: dict[str, list[str]], file: str
) -> list[Template]:
    if not isinstance(patterns, list) or not patterns:
        raise ValueError(f"{file}: no list `patterns`")
    if not isinstance(comparisons, list):
        raise ValueError(f"{file}: `comparisons` is not a list")
    templates: list[Template] = []
    for number, pattern in enumerate(patterns, start=1):
        templates += _pattern_templates(pattern, slots, f"{file}: pattern {number}")
    for number, pattern in enumerate(comparisons, start=1):
        templates += _comparison_templates(pattern, slots, f"{file}: comparison {number}")
    texts = set()
    for template in templates:
        if template.numbers is None and template.text in texts:
            raise ValueError(
                f"{file} ({template.topic}, {template.sentiment}): template {template.text!r} is listed twice"
            )
        texts.add(template.text)
    return templates


def _pattern_templates(pattern: object, slots: dict[str, list[str]], where: str) -> list[Template]:
    if not isinstance(pattern, dict):
        raise ValueError(f"{where}: not a mapping")
    topic, sentiment, texts = pattern.get("topic"), pattern.get("sentiment"), pattern.get("text")
    where += f" ({topic}, {sentiment})"
    if topic not in TOPICS:
        raise ValueError(f"{where}: unknown topic {topic!r}")
    if sentiment not in SENTIMENTS:
        raise ValueError(f"{where}: unknown sentiment {sentiment!r}; one of {', '.join(SENTIMENTS)}")
    if not isinstance(texts, list) or not texts:
        raise ValueError(f"{where}: no list `text`")
    return [Template(topic, sentiment, _check_text(text, slots, where)) for text in texts]


def _comparison_templates(pattern: object, slots: dict[str, list[str]], where: str) -> list[Template]:
    if not isinstance(pattern, dict):
        raise ValueError(f"{where}: not a mapping")
    better, span, decimals = pattern.get("better"), pattern.get("range"), pattern.get("decimals", 0)
    if better not in ("higher", "lower"):
        raise ValueError(f"{where}: better is {better!r}; one of higher, lower")
    if not (isinstance(span, list) and len(span) == 2 and 0 < span[0] < span[1]):
        raise ValueError(f"{where}: range {span!r} is not two numbers above 0, the smaller one first")
    low, high = span
    numbers = Numbers(low, high, decimals, better == "higher")
    known = slots | {name: [name] for name in COMPARED}
    return [
        replace(template, numbers=numbers)
        for sentiment in SENTIMENTS
        for template in _pattern_templates({**pattern, "sentiment": sentiment}, known, where)
    ]


@cache
def grammar(language: str) -> Grammar:
    """The grammar of a language.  Raises ValueError naming the file and the pattern with the mistake."""
    path = FOLDER / f"generated_{language}.yaml"
    if not path.is_file():
        raise ValueError(f"no generated sentences for language {language!r}: {path} does not exist")
    raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise ValueError(f"{path.name}: not a mapping with `slots` and `patterns`")
    slots = _slots(raw.get("slots"), path.name)
    return Grammar(slots, _templates(raw.get("patterns"), raw.get("comparisons", []), slots, path.name))


class _Generator:
    """Draws distinct sentences; within a sentiment every template is used once before any is repeated."""

    def __init__(self, source: Grammar, rng: random.Random) -> None:
        self.source, self.rng = source, rng
        self.pools = {name: [t for t in source.templates if t.sentiment == name] for name in SENTIMENTS}
        self.decks: dict[str, list[Template]] = {name: [] for name in SENTIMENTS}
        self.template_of: dict[str, Template] = {}

    def add_one(self, sentiment: str) -> bool:
        """Add one new sentence; False if the templates of this sentiment are used up."""
        pool, deck = self.pools[sentiment], self.decks[sentiment]
        while pool:
            if not deck:
                deck.extend(pool)
                self.rng.shuffle(deck)
            template = deck.pop()
            for _ in range(_MAX_DRAWS):
                text = self.source.fill(template, self.rng)
                if text not in self.template_of:
                    self.template_of[text] = template
                    return True
            pool.remove(template)
        return False


def generated_sentences(language: str, count: int, seed: int) -> list[Sentence]:
    """`count` distinct sentences with their labels, evenly over the sentiments; equal for equal seeds.

    Raises ValueError if the language has no grammar, or one that cannot make that many distinct sentences.
    """
    rng = random.Random(f"{language}:{seed}")
    generator = _Generator(grammar(language), rng)
    for index in range(count):
        sentiment = SENTIMENTS[index % len(SENTIMENTS)]
        if not generator.add_one(sentiment):
            raise ValueError(
                f"generated_{language}.yaml cannot make {count} distinct sentences: its {sentiment} patterns"
                f" are used up after {len(generator.template_of)} in all"
            )
    sentences = [
        Sentence(text, {"topic": template.topic, "sentiment": template.sentiment})
        for text, template in generator.template_of.items()
    ]
    rng.shuffle(sentences)
    return sentences


def written_sentences(language: str) -> list[Sentence]:
    """The written sentences of a language with their labels; none if there are no files.

    Files with a column `event` say which events a sentence reports, with semicolons between them.

    Raises ValueError naming the file and line of an unknown label.
    """
    sentences = []
    for path in sorted((FOLDER / "written").glob(f"{language}_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                if row["topic"] not in TOPICS or row["sentiment"] not in SENTIMENTS:
                    raise ValueError(f"{path}:{reader.line_num}: {row['topic']!r}, {row['sentiment']!r}")
                events = tuple(filter(None, row["event"].split(";"))) if "event" in row else None
                if unknown := set(events or ()) - set(EVENT_TYPES):
                    raise ValueError(f"{path}:{reader.line_num}: unknown event {min(unknown)!r}")
                labels = {"topic": row["topic"], "sentiment": row["sentiment"]}
                sentences.append(Sentence(row["text"], labels, events))
    return sentences

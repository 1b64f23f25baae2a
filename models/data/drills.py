"""Sentences of the project's own that teach by contrast which word turns the mood.

Lessons (`lessons/<language>_*.csv`) were written one by one, in pairs that differ in the words that
matter; what they say is invented, whatever names occur.  Drills come from a small grammar, as many as are
wanted: `drills_<language>.yaml` has `slots` (a name and its fillers) and `patterns` (a topic, a sentiment
and the templates that carry both).  A template names its slots in braces: `{company}` draws a filler; the
same slot written twice draws two different ones; a numbered slot (`{company1}`) keeps its filler wherever
that number returns; a capital first letter (`{Metal}`) capitalises the filler.
"""

import csv
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
)

# How rows made of them name their source.
WRITTEN = ("lessons", "drills")

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)(\d*)\}")
_TRIES = 40  # draws of one template that may repeat known sentences before it counts as used up


@dataclass(frozen=True)
class Template:
    """One sentence with open slots, and the labels every filling of it carries."""

    topic: str
    sentiment: str
    text: str


@dataclass(frozen=True)
class Grammar:
    """The slots and templates of one language."""

    slots: dict[str, list[str]]
    templates: list[Template]

    def fill(self, template: Template, rng: random.Random) -> str:
        """The template's text with every slot filled at random."""
        unused: dict[str, list[str]] = {}
        kept: dict[tuple[str, str], str] = {}

        def filler(match: re.Match[str]) -> str:
            name, number = match[1].lower(), match[2]
            if number and (name, number) in kept:
                word = kept[name, number]
            else:
                if name not in unused:
                    unused[name] = list(self.slots[name])
                word = unused[name].pop(rng.randrange(len(unused[name])))
                kept[name, number] = word
            return word[:1].upper() + word[1:] if match[1][0].isupper() else word

        return _PLACEHOLDER.sub(filler, template.text)


def _slots(raw: object, file: str) -> dict[str, list[str]]:
    if not isinstance(raw, dict) or not raw:
        raise ValueError(f"{file}: no mapping `slots`")
    for name, fillers in raw.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z_]+", name):
            raise ValueError(f"{file}: slot {name!r}: a name is made of small letters and underscores")
        if not isinstance(fillers, list) or not fillers:
            raise ValueError(f"{file}: slot {name!r}: no list of fillers")
        for word in fillers:
            if not isinstance(word, str) or not word:
                raise ValueError(f"{file}: slot {name!r}: filler {word!r} is no text")
        if len(set(fillers)) != len(fillers):
            raise ValueError(f"{file}: slot {name!r}: a filler stands twice")
    return raw


def _check_text(text: object, slots: dict[str, list[str]], where: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: template {text!r} is no text")
    needed: dict[str, set[object]] = {}
    for place, match in enumerate(_PLACEHOLDER.finditer(text)):
        name = match[1].lower()
        if name not in slots:
            raise ValueError(f"{where}: unknown slot {match[0]} in {text!r}")
        needed.setdefault(name, set()).add(match[2] or place)  # unnumbered: a draw for each place
    for name, draws in needed.items():
        if len(draws) > len(slots[name]):
            raise ValueError(f"{where}: slot {name!r} has too few fillers for {text!r}")
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise ValueError(f"{where}: stray brace in {text!r}")
    return text


def _templates(raw: object, slots: dict[str, list[str]], file: str) -> list[Template]:
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"{file}: no list `patterns`")
    templates: list[Template] = []
    seen: set[str] = set()
    for number, pattern in enumerate(raw, start=1):
        where = f"{file}: pattern {number}"
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
        for text in texts:
            checked = _check_text(text, slots, where)
            if checked in seen:
                raise ValueError(f"{where}: template {checked!r} stands twice")
            seen.add(checked)
            templates.append(Template(topic, sentiment, checked))
    return templates


@cache
def grammar(language: str) -> Grammar:
    """The checked grammar of a language; ValueError names the file and the pattern at fault."""
    path = Path(__file__).with_name(f"drills_{language}.yaml")
    if not path.is_file():
        raise ValueError(f"no drills for language {language!r}: {path} does not exist")
    raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise ValueError(f"{path.name}: not a mapping with `slots` and `patterns`")
    slots = _slots(raw.get("slots"), path.name)
    return Grammar(slots, _templates(raw.get("patterns"), slots, path.name))


def drills(language: str, count: int, seed: int) -> list[tuple[str, dict[str, str]]]:
    """`count` distinct (sentence, labels) pairs, the same for the same seed, evenly over the sentiments.

    Within a sentiment every template takes its turn before one returns. ValueError when the language has
    no file, or when its grammar cannot make that many distinct sentences.
    """
    source = grammar(language)
    rng = random.Random(f"{language}:{seed}")
    pools = {name: [t for t in source.templates if t.sentiment == name] for name in SENTIMENTS}
    decks: dict[str, list[Template]] = {name: [] for name in SENTIMENTS}
    made: dict[str, Template] = {}

    def add_one(sentiment: str) -> None:
        pool, deck = pools[sentiment], decks[sentiment]
        while pool:
            if not deck:
                deck.extend(pool)
                rng.shuffle(deck)
            template = deck.pop()
            for _ in range(_TRIES):
                text = source.fill(template, rng)
                if text not in made:
                    made[text] = template
                    return
            pool.remove(template)
        raise ValueError(
            f"drills_{language}.yaml: {count} distinct sentences asked for, but its {sentiment} patterns"
            f" are used up after {len(made)} in all"
        )

    for index in range(count):
        add_one(SENTIMENTS[index % len(SENTIMENTS)])
    pairs = [(text, {"topic": t.topic, "sentiment": t.sentiment}) for text, t in made.items()]
    rng.shuffle(pairs)
    return pairs


def lessons(language: str) -> list[tuple[str, dict[str, str]]]:
    """The written sentences of a language with their labels; none where there are no files.

    Raises ValueError naming file and line where a label is unknown.
    """
    found = []
    for path in sorted((Path(__file__).parent / "lessons").glob(f"{language}_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                if row["topic"] not in TOPICS or row["sentiment"] not in SENTIMENTS:
                    raise ValueError(f"{path}:{reader.line_num}: {row['topic']!r}, {row['sentiment']!r}")
                found.append((row["text"], {"topic": row["topic"], "sentiment": row["sentiment"]}))
    return found

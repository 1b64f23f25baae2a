"""Labelled texts: who a text is about, as a person reads it, and how well links agree with that.

`tests/data/entity_links.md` is the guide that the labels follow.  The texts are no part of the repository: a
label names file, row and hash.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tests" / "data"
LABELS = FOLDER / "entity_links.jsonl"
# Labelled at the same time, and scored only when the linker was done.
HELD_BACK = FOLDER / "entity_links_held_back.jsonl"

Span = tuple[int, int]
Links = Mapping[str, Sequence[Span]]
"""What was found in a text: where, by the entity's id."""


@dataclass(frozen=True)
class LabelledMention:
    """Where a text names an entity.  `id` is None if no gazetteer could know it.

    What is `optional` counts neither as found nor as missed; without an id, any link there is ignored.
    """

    start: int
    end: int
    id: str | None
    optional: bool = False

    def overlaps(self, span: Span) -> bool:
        return self.start < span[1] and span[0] < self.end


@dataclass(frozen=True)
class LabelledText:
    """A row of a data file with all its mentions.  Of a longer text only the first `length` characters."""

    file: str
    row: int
    sha256: str
    lang: str
    hard: bool
    mentions: tuple[LabelledMention, ...]
    field: str = "text"
    length: int | None = None

    def read(self, data: Path) -> str:
        """The text.

        Raises:
            SystemExit: the row is not the text that was labelled.
        """
        rows = _rows(data / self.file)
        text = str(rows[self.row][self.field])[: self.length] if self.row < len(rows) else ""
        if hashlib.sha256(text.encode()).hexdigest() != self.sha256:
            raise SystemExit(f"{data / self.file}, row {self.row}: not the text that was labelled")
        return text


@cache
def _rows(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        raise SystemExit(f"{path} is missing: name the folder that holds the data files")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_labels(path: Path = LABELS) -> list[LabelledText]:
    """All labelled texts of a file."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        LabelledText(**row | {"mentions": tuple(LabelledMention(**mention) for mention in row["mentions"])})
        for row in rows
    ]


@dataclass(frozen=True)
class Counts:
    """How many were found rightly, wrongly, and not at all."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """The share of what was found that is right; NaN if nothing was found."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else math.nan

    @property
    def recall(self) -> float:
        """The share of what there is that was found; NaN if there is nothing."""
        return self.right / (self.right + self.missed) if self.right + self.missed else math.nan


@dataclass(frozen=True)
class LinkError:
    """A span of a text that is linked to the wrong entity, or that no link to its entity overlaps."""

    kind: str
    entity: str
    span: Span


@dataclass(frozen=True)
class Score:
    """The counts of texts, and their errors.

    By `entities`, an entity counts once for a text, wherever it is named.  By `spans`, each place counts.
    """

    n: int = 0
    entities: Counts = Counts()
    spans: Counts = Counts()
    errors: tuple[LinkError, ...] = field(default=(), repr=False)

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.n + other.n,
            self.entities + other.entities,
            self.spans + other.spans,
            self.errors + other.errors,
        )


def score_links(mentions: Sequence[LabelledMention], links: Links) -> Score:
    """The score of one text: what was found in it, compared with its labels."""
    required = [mention for mention in mentions if mention.id and not mention.optional]
    judged = {entity: _judged(mentions, entity, spans) for entity, spans in links.items()}
    wrong = [
        LinkError("wrong", entity, span)
        for entity, spans in judged.items()
        for span in spans
        if not any(mention.id == entity and mention.overlaps(span) for mention in required)
    ]
    missed = [
        LinkError("missed", mention.id or "", (mention.start, mention.end))
        for mention in required
        if not any(mention.overlaps(span) for span in links.get(mention.id or "", ()))
    ]
    return Score(
        1,
        _by_entity(required, links, judged),
        Counts(sum(map(len, judged.values())) - len(wrong), len(wrong), len(missed)),
        (*wrong, *missed),
    )


def _judged(mentions: Iterable[LabelledMention], entity: str, spans: Iterable[Span]) -> list[Span]:
    """The spans of an entity that count: those that no optional mention allows."""
    allowed = [mention for mention in mentions if mention.optional and mention.id in (entity, None)]
    return [span for span in spans if not any(mention.overlaps(span) for mention in allowed)]


def _by_entity(required: Iterable[LabelledMention], links: Links, judged: Links) -> Counts:
    truth = {mention.id for mention in required}
    found = [entity for entity in links if entity in truth]
    wrong = [entity for entity, spans in judged.items() if spans and entity not in truth]
    return Counts(len(found), len(wrong), len(truth) - len(found))

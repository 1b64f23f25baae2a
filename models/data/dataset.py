"""Labelled texts from JSON lines or CSV, with errors that name the file and the line.

A label can be weaker than one class: "one of these" (a tag that maps to several topics; bad news or not), or
"this one among those" (posts that can only be marked bullish or bearish).
"""

import hashlib
import logging
import random
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import DataError
from stream.domain.documents import SENTIMENTS, TASKS, join_content
from stream.domain.errors import InputFileError
from stream.domain.fields import is_missing
from stream.domain.files import input_rows

log = logging.getLogger(__name__)

FIELDS = ("title", "text", "entities", "targets", "events", *TASKS)
# What separates events in a column of text.
EVENT_SEPARATOR = ";"
# How many values a line of the log, or an error, names.
SHOWN_VALUES = 10
# Jaccard similarity of shingles from which two texts count as nearly the same.
NEAR = 0.7


@dataclass(frozen=True, slots=True)
class Label:
    """One of `names`; if `among` is set, only these labels were available to the annotator.

    `also` are those of the names that a rule added: without them one of the others would be right.
    """

    names: tuple[str, ...]
    among: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def only(self) -> str | None:
        return self.names[0] if len(self.names) == 1 else None


@dataclass(frozen=True, slots=True)
class Target:
    """A name in the text, the places (start, end) where it is, and the sentiment towards it."""

    places: tuple[tuple[int, int], ...]
    label: Label


@dataclass(frozen=True, slots=True)
class Row:
    """One text and its labels: for all tasks, some of them, or none.  `where` is its file and line.

    `events` are the types of the events that it reports; empty if it reports none, None if nobody looked.
    """

    text: str
    labels: Mapping[str, Label] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    source: str = ""
    kind: str = "news"
    where: str = ""
    events: tuple[str, ...] | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether there is anything to learn from it without a teacher."""
        return bool(self.labels or self.targets or self.events is not None)

    @classmethod
    def of(cls, text: str, **labels: str) -> "Row":
        """A row with plain labels: Row.of("Profit rises", sentiment="positive")."""
        return cls(text, {task: Label((name,)) for task, name in labels.items()})

    @property
    def has_several_moods(self) -> bool:
        """Whether the sentiment towards one target differs from that towards another."""
        return len({target.label for target in self.targets}) > 1


class LabelRule(BaseModel):
    """Labels for the texts in which a regular expression is found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: re.Pattern[str]
    labels: list[str] = Field(description="one label or several possible ones", min_length=1)
    also: bool = Field(
        False, description="what the column says stays possible too, instead of being replaced"
    )


class LabelColumn(BaseModel):
    """The column with the labels of a task, and the meaning of its values.

    The `rules` come after the column, and the first that fits decides; a source needs no such column.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    values: dict[str, list[str]] | None = Field(
        None, description="value to one label or several possible ones; unlisted values are no label"
    )
    among: list[str] = Field(
        [], description="the only labels that annotators could choose from; empty for all"
    )
    rules: list[LabelRule] = []

    def by_rule(self, text: str, label: Label | None) -> Label | None:
        """The label after the rules."""
        rule = next((rule for rule in self.rules if rule.pattern.search(text)), None)
        if rule is None:
            return label
        before = label.names if label and rule.also else ()
        names = tuple(dict.fromkeys((*before, *rule.labels)))
        added = tuple(name for name in rule.labels if before and name not in before)
        return Label(names, label.among if label else (), added)


class Source(BaseModel):
    """A file of rows, how to read it, and its origin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    name: str = ""
    licence: str = ""
    kind: Literal["news", "comment"] = "news"
    title: str = "title"
    text: str = "text"
    entities: str = "entities"
    negative_entities: str = "negative_entities"
    events: str = "events"
    targets: str = "targets"
    topic: LabelColumn = LabelColumn(column="topic")
    sentiment: LabelColumn = LabelColumn(column="sentiment")
    limit: int | None = Field(None, ge=1, description="maximum number of rows, drawn at random")
    encoding: str | None = Field(
        None, description="encoding of a file that is not UTF-8 and has no byte-order mark, such as gb18030"
    )
    keep_back: float = Field(0, ge=0, lt=1, description="share of its texts kept back from training")
    unlabelled: bool = Field(
        False, description="keep texts without a label, for a teacher; labels come from rules alone"
    )

    @property
    def title_or_file(self) -> str:
        return self.name or self.file.stem

    @classmethod
    def plain(
        cls, file: Path, columns: Mapping[str, str] | None = None, encoding: str | None = None
    ) -> "Source":
        """A file with our column names, or with those in `columns` (field to column).  Raises DataError."""
        columns = dict(columns or {})
        unknown = sorted(set(columns) - set(FIELDS))
        if unknown:
            raise DataError(f"{unknown[0]!r} is no field of a labelled row: {', '.join(FIELDS)}")
        tasks = {task: LabelColumn(column=columns.pop(task)) for task in TASKS if task in columns}
        return cls(file=file, encoding=encoding, **tasks, **columns)


class Recipe(BaseModel):
    """What a training run reads: its sources, and the project's augmentation sets.

    `generated` (in the file: `drills`) maps a language to its number of generated sentences; the written
    sentences of that language are added too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: list[Source]
    generated: dict[str, int] = Field({}, alias="drills")


def read_recipe(path: Path, root: Path | None = None) -> Recipe:
    """Read a YAML recipe; its files are relative to `root`, else to the recipe.  Raises DataError."""
    try:
        recipe = Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise DataError(f"{path}: {place}: {problem['msg']}") from error
    sources = [
        source.model_copy(update={"file": (root or path.parent) / source.file.expanduser()})
        for source in recipe.sources
    ]
    return recipe.model_copy(update={"sources": sources})


def read_rows(
    paths: Iterable[Path], columns: Mapping[str, str] | None = None, encoding: str | None = None
) -> list[Row]:
    """Labelled rows of files; see read_source."""
    return [row for path in paths for row in read_source(Source.plain(path, columns, encoding))]


def read_source(source: Source, kept_back: bool = False) -> list[Row]:
    """Read one source: the rows for training, or those it keeps back.  Raises DataError.

    A row has `text` (or `title`, or both) and `topic`, `sentiment` or both; a label is a string or a
    list of possible strings.  `entities` (name to sentiment) become targets; where they all agree and the
    row has no sentiment of its own, they are the sentiment of the text.  `entities` as a list goes with
    `negative_entities`, the ones there is bad news about.  `targets` do what `entities` do, and say where
    they are: objects with `start`, `end`, `sentiment`, and maybe `term`, what stands there.  `events` is a
    list of the types of events that the text reports, or one text with semicolons between them; if it is
    empty, the text reports none.

    A row without any label is left out, unless the source is `unlabelled`.
    """
    rows, values = [], _Values(source)
    for where, record in records(source.file, (source.title, source.text), source.encoding):
        row = _row(record, source, where, values)
        usable = row.text.strip() if source.unlabelled else row.is_labelled
        if usable and _is_kept_back(row.text, source.keep_back) == kept_back:
            rows.append(row)
    values.report()
    if not rows:
        raise DataError(f"{source.file}: no labelled rows; each needs text and topic or sentiment")
    if source.limit is not None and source.limit < len(rows):
        rows = random.Random(0).sample(rows, source.limit)
    return rows


def _is_kept_back(text: str, share: float) -> bool:
    """Depends only on the text, so it is the same in every run and for any order of the rows."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) < share * 16**8


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def records(
    path: Path, text_columns: Collection[str] = (), encoding: str | None = None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(file and line, record) for each record of a file of JSON lines, a JSON array or CSV.

    CSV must have one of the `text_columns`, if there are any.  Raises DataError.
    """
    try:
        for row in input_rows.read_rows(path, text_columns=text_columns, encoding=encoding):
            if row.fields is None:
                raise DataError(f"{path}:{row.line}: {row.error}")
            yield f"{path}:{row.line}", row.fields
    except InputFileError as error:
        raise DataError(str(error)) from error


class _Values:
    """The values of a file that are no label, so that one error names all of them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._wrong: dict[tuple[str, str], str] = {}
        self._unlisted: dict[str, Counter[str]] = {}

    def label(self, task: str, value: Any, where: str) -> Label | None:
        """The label that a value of the task's column stands for; None if there is none."""
        values = [each for each in (value if isinstance(value, list) else [value]) if not _is_blank(each)]
        column = getattr(self._source, task)
        if column.values is None:
            names = [name for each in values if (name := self.name(task, each, where)) is not None]
        else:
            names = [name for each in values for name in self._meaning(column, each)]
        return Label(tuple(dict.fromkeys(names)), tuple(column.among)) if names else None

    def name(self, task: str, value: Any, where: str) -> str | None:
        """The name of a label that is written in any case; None for a wrong one, which is noted."""
        if isinstance(value, str):
            name = value.strip()
            if task != "sentiment":
                return name
            if name.casefold() in SENTIMENTS:
                return name.casefold()
        self._wrong.setdefault((task, repr(value)), where)
        return None

    def _meaning(self, column: LabelColumn, value: Any) -> Sequence[str]:
        key = _key(value)
        meanings = column.values or {}
        if key not in meanings:
            key = next((name for name in meanings if name.casefold() == key.casefold()), key)
        if key not in meanings:
            self._unlisted.setdefault(column.column, Counter())[key] += 1
        return meanings.get(key, ())

    def report(self) -> None:
        """Log the values that a recipe leaves out.  Raises DataError for values that are no labels."""
        for column, counts in self._unlisted.items():
            shown = ", ".join(f"{value!r} ({n} rows)" for value, n in counts.most_common(SHOWN_VALUES))
            more = f" and {len(counts) - SHOWN_VALUES} more" if len(counts) > SHOWN_VALUES else ""
            log.info("%s: no label in %s, by the recipe: %s%s", self._source.file, column, shown, more)
        if not self._wrong:
            return
        (task, first), where = next(iter(self._wrong.items()))
        labels = f"none of {', '.join(SENTIMENTS)}" if task == "sentiment" else "no label, which is a text"
        others = [f"{task} {value} ({where})" for (task, value), where in self._wrong.items()][1:]
        also = f"; nor is {', '.join(others[:SHOWN_VALUES])}" if others else ""
        column = getattr(self._source, task).column
        recipe = f"{task}: {{column: {column}, values: {{{_yaml_key(first)}: [LABEL]}}}}"
        raise DataError(
            f"{where}: {task} {first} is {labels}{also}; say what such values mean in a recipe: {recipe}"
        )


def _is_blank(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def _key(value: Any) -> str:
    """A value as recipes name it: true, and 1 also for the 1.0 that tables make of it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _yaml_key(shown: str) -> str:
    """The value as a key in YAML, which must be a text."""
    return shown if shown.startswith("'") else f"'{shown}'"


def _row(record: Mapping[str, Any], source: Source, where: str, values: _Values) -> Row:
    texts = []
    for name in (source.title, source.text):
        value = record.get(name)
        if not is_missing(value) and not isinstance(value, str):
            raise DataError(f"{where}: {name} must be a string, not {value!r}")
        texts.append("" if is_missing(value) else value)
    text = join_content(texts[0] or "", texts[1] or "")
    if not text.strip() and not source.unlabelled:
        raise DataError(f"{where}: no text; name its column with --map text=COLUMN")
    labels = {}
    for task, label_column in (("topic", source.topic), ("sentiment", source.sentiment)):
        value = None if source.unlabelled else record.get(label_column.column)
        label = label_column.by_rule(text, values.label(task, value, where))
        if label is not None:
            labels[task] = label
    _check_sentiments(labels.get("sentiment"), where)
    if source.unlabelled:
        return Row(text, labels, source=source.title_or_file, kind=source.kind, where=where)
    targets, entity_labels = _targets(text, record, source, where, values)
    if "sentiment" not in labels and len(set(entity_labels)) == 1:
        labels["sentiment"] = entity_labels[0]
    events = _events(record.get(source.events), where)
    return Row(text, labels, targets, source.title_or_file, source.kind, where, events)


def _events(value: Any, where: str) -> tuple[str, ...] | None:
    """The types of events in a value of their column; None if it says nothing.  Raises DataError."""
    if is_missing(value):
        return None
    names = value.split(EVENT_SEPARATOR) if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: events must be a list of names, not {value!r}")
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _check_sentiments(label: Label | None, where: str) -> None:
    """Raise DataError if a recipe names a sentiment that there is not."""
    for name in label.names if label else ():
        if name not in SENTIMENTS:
            raise DataError(f"{where}: sentiment {name!r} is none of {', '.join(SENTIMENTS)}")


def _targets(
    text: str, record: Mapping[str, Any], source: Source, where: str, values: _Values
) -> tuple[tuple[Target, ...], list[Label]]:
    """The targets of a row, and the sentiment labels of all that it names."""
    marked = record.get(source.targets)
    if not is_missing(marked):
        targets = _marked_targets(text, marked, where, values)
        return targets, [target.label for target in targets]
    entities = record.get(source.entities)
    if isinstance(entities, dict):
        named = {str(name): values.name("sentiment", value, where) for name, value in entities.items()}
        labels = {name: Label((sentiment,)) for name, sentiment in named.items() if sentiment is not None}
    elif isinstance(entities, list):
        negative = record.get(source.negative_entities) or ()
        not_negative = tuple(name for name in SENTIMENTS if name != "negative")
        labels = {str(name): Label(("negative",) if name in negative else not_negative) for name in entities}
    else:
        return (), []
    places = _places(text, labels)
    targets = tuple(Target(places[name], label) for name, label in labels.items() if places[name])
    return targets, list(labels.values()) if isinstance(entities, dict) else []


def _marked_targets(text: str, marked: Any, where: str, values: _Values) -> tuple[Target, ...]:
    """The targets of a row that says where they are.  Raises DataError."""
    if not isinstance(marked, list) or not all(isinstance(one, dict) for one in marked):
        raise DataError(f"{where}: targets must be a list of objects with start, end and sentiment")
    targets = []
    for one in marked:
        start, end, term = one.get("start"), one.get("end"), one.get("term")
        if not (type(start) is type(end) is int and 0 <= start < end <= len(text)):
            raise DataError(
                f"{where}: a target from {start!r} to {end!r} is outside of the text, which has {len(text)} "
                "characters: start and end count characters of the text, with the title if there is one"
            )
        if term is not None and text[start:end] != term:
            raise DataError(
                f"{where}: the target {term!r} is not at {start} to {end}, where the text is "
                f"{text[start:end]!r}: start and end count characters, with the title if there is one"
            )
        sentiment = values.name("sentiment", one.get("sentiment"), where)
        if sentiment is not None:
            targets.append(Target(((start, end),), Label((sentiment,))))
    return tuple(targets)


def _places(text: str, names: Iterable[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """For each name its places in the text, in any case of its letters.

    A place inside a longer word, or inside a longer one of the names, counts only if the name has no other.
    """
    taken = [False] * len(text)
    places: dict[str, tuple[tuple[int, int], ...]] = {}
    for name in sorted(filter(None, names), key=len, reverse=True):
        found = [match.span() for match in re.finditer(re.escape(name), text, re.IGNORECASE)]
        own = [span for span in found if _is_whole(text, *span) and not any(taken[slice(*span)])]
        places[name] = tuple(own or found[:1])
        for start, end in own:
            taken[start:end] = [True] * (end - start)
    return {name: places.get(name, ()) for name in names}


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether no letter or digit of the Latin script goes on before or after a name, where one is in it."""
    before, after = text[start - 1 : start], text[end : end + 1]
    goes_on = (_is_latin(before) and _is_latin(text[start])) or (
        _is_latin(after) and _is_latin(text[end - 1])
    )
    return not goes_on


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def near_duplicates(train: Sequence[Row], valid: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Pairs (validation row, training row) whose texts are nearly the same.

    Texts are compared by their sets of shingles: three words in a row, or three characters of Chinese.
    Case, links, punctuation and numbers are ignored.  A pair is near if the Jaccard similarity of the two
    sets is at least NEAR (Broder 1997).
    """
    index: dict[str, list[int]] = {}
    shingled = [shingles(row.text) for row in train]
    for i, parts in enumerate(shingled):
        for part in parts:
            index.setdefault(part, []).append(i)
    pairs = []
    for row in valid:
        parts = shingles(row.text)
        shared: dict[int, int] = {}
        for part in parts:
            for i in index.get(part, ())[:200]:
                shared[i] = shared.get(i, 0) + 1
        best = max(shared, key=lambda i: shared[i] / len(parts | shingled[i]), default=None)
        if best is not None and shared[best] / len(parts | shingled[best]) >= NEAR:
            pairs.append((row, train[best]))
    return pairs


def shingles(text: str) -> set[str]:
    """Every three words in a row; a Chinese character counts as a word.  A shorter text is one shingle."""
    words = list(_words(text))
    if len(words) < 3:
        return {" ".join(words)}
    return {" ".join(words[i : i + 3]) for i in range(len(words) - 2)}


def _words(text: str) -> Iterator[str]:
    word = ""
    for token in text.lower().split():
        if "://" in token:
            continue
        for char in token:
            if "\u3400" <= char <= "\u9fff":
                if word:
                    yield word
                    word = ""
                yield char
            elif char.isalpha():
                word += char
        if word:
            yield word
            word = ""

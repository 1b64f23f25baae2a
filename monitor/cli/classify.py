"""`monitor classify`: print one JSON object or one line per text, in the order of the input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from monitor.cli.options import (
    EXISTING,
    TextCommand,
    config_option,
    encoding_option,
    examples,
    json_option,
    load_settings,
    map_option,
    plain_errors,
    progress,
)
from stream.domain import fields
from stream.domain.documents import TextInput, join_content, printable
from stream.domain.wire import prediction_fields, target_fields

if TYPE_CHECKING:
    from models.document_classifier import DocumentClassifier
    from stream.domain.files.input_rows import InputRow

FIELDS = ("id", "title", "text", "lang", "symbols", "targets")
LINES_PER_CALL = 256
# Targets of one text: each is a row of numbers for the network.
MOST_TARGETS = 1000
NOTHING = TextInput("")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of input: what to classify, or the error in the row.

    `asks` is whether it has targets, even if there are none in the list.
    """

    number: int
    id: str | None = None
    item: TextInput = NOTHING
    asks: bool = False
    error: str | None = None


def parse_row(row: InputRow, columns: Mapping[str, str]) -> Line:
    """A plain text, or fields with `text`, `title` or both, and optionally the others of FIELDS."""
    if row.fields is None:
        return Line(row.line, item=TextInput(row.text), error=row.error)
    values = {name: row.fields.get(columns.get(name, name)) for name in FIELDS}
    sent = {name: value for name, value in values.items() if not fields.is_missing_in_table(value)}
    line_id = None
    try:
        line_id = fields.read_id(sent["id"]) if "id" in sent else None
        texts = {name: fields.read_text(sent.get(name, ""), name) for name in ("title", "text")}
        if not any(texts.values()):
            raise ValueError("text or title is required; name its column with --map text=COLUMN")
        content = join_content(texts["title"], texts["text"])
        targets = read_targets(sent["targets"], len(content)) if "targets" in sent else ()
    except ValueError as error:
        return Line(row.line, line_id, error=str(error))
    lang = sent.get("lang")
    item = TextInput(
        content,
        lang if isinstance(lang, str) else None,
        len(texts["title"]),
        _symbols(sent.get("symbols")),
        targets,
    )
    return Line(row.line, line_id, item, asks="targets" in sent)


def read_targets(value: object, length: int) -> tuple[tuple[int, int], ...]:
    """The parts (start, end) of a text of `length` characters that a row asks for.

    In a table they are JSON.  Raises ValueError for what is not a list of objects with `start` and `end`
    within the text.
    """
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, list):
        raise ValueError(f"targets must be a list of objects with start and end, not {fields.shown(value)}")
    if len(value) > MOST_TARGETS:
        raise ValueError(f"{len(value)} targets; at most {MOST_TARGETS} are read of a text")
    return tuple(_target(each, length) for each in value)


def _target(value: object, length: int) -> tuple[int, int]:
    bounds = [value.get(name) for name in ("start", "end")] if isinstance(value, dict) else []
    start, end = (bound if type(bound) is int else None for bound in bounds or (None, None))
    if start is None or end is None:
        raise ValueError(f"target {fields.shown(value)}: start and end must be whole numbers")
    if not 0 <= start <= end <= length:
        raise ValueError(
            f"target {fields.shown(value)}: it must be within the text, which has {length} characters "
            "(of title and text, joined by a newline, if there are both)"
        )
    return start, end


def _symbols(value: object) -> tuple[str, ...]:
    """As the stream reads them: those that are none are left out."""
    try:
        return fields.read_symbols(value)
    except fields.UnreadSymbols as error:
        return error.symbols


def classify_lines(
    classifier: DocumentClassifier, lines: Iterable[Line]
) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Each line and its JSON fields, in order; a line with an error is `unsupported` and has `error`."""
    source = iter(lines)
    while chunk := list(islice(source, LINES_PER_CALL)):
        predictions = classifier.classify([line.item for line in chunk])
        for line, prediction in zip(chunk, predictions, strict=True):
            answer = {"id": line.id, **msgspec.to_builtins(prediction_fields(prediction))}
            if line.asks:
                answer["targets"] = list(map(target_fields, line.item.targets, prediction.targets))
            if line.error is not None:
                answer["error"] = line.error
            yield line, answer


def _as_text(answer: Mapping[str, Any]) -> str:
    """One line for the terminal: labels, probabilities, the words behind the sentiment, events, entities."""
    if answer["status"] == "unsupported":
        return f"unsupported ({answer.get('error') or answer['lang'] or 'no words'})"
    sentiment, topic = answer["sentiment"], answer["topic"]
    words = ", ".join(span["text"] for span in answer["evidence"] if span["task"] == "sentiment")
    line = (
        f"{sentiment['label']} {sentiment['probability']:.2f}  {topic['label']} "
        f"{topic['probability']:.2f}  [{words}]"
    )
    events = ", ".join(f"{event['type']} {event['probability']:.2f}" for event in answer["events"])
    entities = "; ".join(map(entity_text, answer["entities"]))
    return "  ".join(filter(None, [line, "" if answer["certain"] else "uncertain", events, entities]))


def entity_text(entity: Mapping[str, Any]) -> str:
    """An entity for the terminal: name, id, relevance and the sentiment towards it."""
    sentiment = entity["sentiment"]
    label = f"{sentiment['label']} {sentiment['probability']:.2f}" if sentiment else "no label"
    uncertain = " uncertain" if sentiment and not entity["certain"] else ""
    return f"{entity['name']} ({entity['id']}): {label}{uncertain}, relevance {entity['relevance']}"


@click.command(
    cls=TextCommand,
    epilog=examples(
        "monitor classify --json headlines.txt",
        "monitor classify --json news.csv.gz --map title=headline --encoding gb18030",
        'echo \'{"id": "1", "title": "Profit doubles"}\' | monitor classify --json -',
    ),
)
@click.argument("file", type=EXISTING)
@config_option
@map_option(", ".join(FIELDS))
@encoding_option
@json_option
@plain_errors
def classify(
    file: Path, config: Path | None, columns: Mapping[str, str], encoding: str | None, as_json: bool
) -> None:
    """Classify FILE (- for standard input): a text or a JSON object per line, a JSON array or CSV."""
    if unknown := sorted(set(columns) - set(FIELDS)):
        raise click.BadParameter(f"--map: no field {unknown[0]!r}; allowed: {', '.join(FIELDS)}")
    settings = load_settings(config)
    from models import backend_selection
    from models.document_classifier import DocumentClassifier
    from stream.domain.files.input_rows import read_rows

    text_columns = [columns.get(name, name) for name in ("title", "text")]
    errors = 0
    with progress(file, "classifying") as advance:
        rows = read_rows(
            file, text_columns=text_columns, encoding=encoding, plain_text=True, progress=advance
        )
        lines = _checked_first(parse_row(row, columns) for row in rows)
        classifier = DocumentClassifier.load(settings.models, choose=backend_selection.cached_backend)
        for line, answer in classify_lines(classifier, lines):
            if line.error is not None:
                errors += 1
                click.echo(f"{file}:{line.number}: {line.error}", err=True)
            click.echo(json.dumps(answer, ensure_ascii=False) if as_json else printable(_as_text(answer)))
    sys.exit(1 if errors else 0)


def _checked_first(lines: Iterator[Line]) -> Iterator[Line]:
    """The same lines; the first is read now, so that a file of the wrong kind is refused before the work."""
    return chain(list(islice(lines, 1)), lines)

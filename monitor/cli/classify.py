"""`monitor classify`: print one JSON object or one line per text, in the order of the input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
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
from stream.domain.documents import join_content, printable
from stream.domain.wire import prediction_fields

if TYPE_CHECKING:
    from models.inference.engine import Engine
    from stream.domain.input_rows import InputRow

FIELDS = ("id", "title", "text", "lang")
LINES_PER_CALL = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One row of input: the text to classify, or the error in the row."""

    number: int
    id: str | None = None
    text: str = ""
    lang: str | None = None
    error: str | None = None


def parse_row(row: InputRow, columns: Mapping[str, str]) -> Line:
    """A plain text, or fields with `text`, `title` or both, and optionally `id` and `lang`."""
    if row.fields is None:
        return Line(row.line, text=row.text, error=row.error)
    values = {name: row.fields.get(columns.get(name, name)) for name in FIELDS}
    sent = {name: value for name, value in values.items() if not fields.is_missing_in_table(value)}
    line_id = None
    try:
        line_id = fields.read_id(sent["id"]) if "id" in sent else None
        texts = {name: fields.read_text(sent.get(name, ""), name) for name in ("title", "text")}
        lang = sent.get("lang")
        if not any(texts.values()):
            raise ValueError("text or title is required; name its column with --map text=COLUMN")
    except ValueError as error:
        return Line(row.line, line_id, error=str(error))
    content = join_content(texts["title"], texts["text"])
    return Line(row.line, line_id, content, lang if isinstance(lang, str) else None)


def classify_lines(engine: Engine, lines: Iterable[Line]) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Each line and its JSON fields, in order; a line with an error is `unsupported` and has `error`."""
    source = iter(lines)
    while chunk := list(islice(source, LINES_PER_CALL)):
        predictions = engine.classify([line.text for line in chunk], [line.lang for line in chunk])
        for line, prediction in zip(chunk, predictions, strict=True):
            answer = {"id": line.id, **msgspec.to_builtins(prediction_fields(prediction))}
            if line.error is not None:
                answer["error"] = line.error
            yield line, answer


def _as_text(answer: Mapping[str, Any]) -> str:
    """One line for the terminal: labels, probabilities and the words behind the sentiment."""
    if answer["status"] == "unsupported":
        return f"unsupported ({answer.get('error') or answer['lang'] or 'no words'})"
    sentiment, topic = answer["sentiment"], answer["topic"]
    words = ", ".join(span["text"] for span in answer["evidence"] if span["task"] == "sentiment")
    line = (
        f"{sentiment['label']} {sentiment['probability']:.2f}  {topic['label']} "
        f"{topic['probability']:.2f}  [{words}]"
    )
    return line if answer["certain"] else f"{line}  uncertain"


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
@map_option("id, title, text, lang")
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
    from models.inference.engine import Engine
    from stream.domain.input_rows import read_rows

    text_columns = [columns.get(name, name) for name in ("title", "text")]
    errors = 0
    with progress(file, "classifying") as advance:
        rows = read_rows(
            file, text_columns=text_columns, encoding=encoding, plain_text=True, progress=advance
        )
        lines = _checked_first(parse_row(row, columns) for row in rows)
        engine = Engine.load(backend_selection.cached_backend(settings.models))
        for line, answer in classify_lines(engine, lines):
            if line.error is not None:
                errors += 1
                click.echo(f"{file}:{line.number}: {line.error}", err=True)
            click.echo(json.dumps(answer, ensure_ascii=False) if as_json else printable(_as_text(answer)))
    sys.exit(1 if errors else 0)


def _checked_first(lines: Iterator[Line]) -> Iterator[Line]:
    """The same lines; the first is read now, so that a file of the wrong kind is refused before the work."""
    return chain(list(islice(lines, 1)), lines)

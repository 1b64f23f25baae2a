"""`monitor classify`: print one JSON object or one line per text, in the order of the input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from monitor.cli.options import (
    EXISTING,
    TextCommand,
    config_option,
    examples,
    json_option,
    load_settings,
    plain_errors,
    progress,
)
from stream.domain.documents import join_content, printable
from stream.domain.wire import prediction_fields

if TYPE_CHECKING:
    from models.inference.engine import Engine

LINES_PER_CALL = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One line of input: the text to classify, or the error in the line."""

    id: str | None
    text: str
    lang: str | None = None
    error: str | None = None


def parse_line(line: str) -> Line:
    """Parse a plain text, or a JSON object with `text`, `title` or both, and optionally `id` and `lang`."""
    line = line.rstrip("\r\n")
    if not line.lstrip().startswith("{"):
        return Line(None, line)
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return Line(None, "", error=f"not JSON: {error}")
    fields = {name: row.get(name) for name in ("title", "text", "lang")}
    line_id = None if row.get("id") is None else str(row["id"])
    for name, value in fields.items():
        if value is not None and not isinstance(value, str):
            return Line(line_id, "", error=f"{name} must be a string, not {value!r}")
    if fields["title"] is None and fields["text"] is None:
        return Line(line_id, "", error="text or title is required")
    return Line(line_id, join_content(fields["title"] or "", fields["text"] or ""), fields["lang"])


def classify_lines(engine: Engine, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON fields for each line, in order; a line with an error is `unsupported` and has `error`."""
    source = iter(lines)
    while chunk := [parse_line(line) for line in islice(source, LINES_PER_CALL)]:
        predictions = engine.classify([line.text for line in chunk], [line.lang for line in chunk])
        for line, prediction in zip(chunk, predictions, strict=True):
            fields = {"id": line.id, **msgspec.to_builtins(prediction_fields(prediction))}
            if line.error is not None:
                fields["error"] = line.error
            yield fields


def _as_text(fields: Mapping[str, Any]) -> str:
    """One line for the terminal: labels, probabilities and the words behind the sentiment."""
    if fields["status"] == "unsupported":
        return f"unsupported ({fields.get('error') or fields['lang'] or 'no words'})"
    sentiment, topic = fields["sentiment"], fields["topic"]
    words = ", ".join(span["text"] for span in fields["evidence"] if span["task"] == "sentiment")
    line = (
        f"{sentiment['label']} {sentiment['probability']:.2f}  {topic['label']} "
        f"{topic['probability']:.2f}  [{words}]"
    )
    return line if fields["certain"] else f"{line}  uncertain"


def _decode_lines(stream: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[str]:
    for line in stream:
        advance(len(line))
        yield line.decode("utf-8", "replace")


@click.command(
    cls=TextCommand,
    epilog=examples(
        "monitor classify --json headlines.txt",
        'echo \'{"id": "1", "title": "Profit doubles"}\' | monitor classify --json -',
    ),
)
@click.argument("file", type=EXISTING)
@config_option
@json_option
@plain_errors
def classify(file: Path, config: Path | None, as_json: bool) -> None:
    """Classify FILE (- for standard input): one text or one JSON object per line."""
    settings = load_settings(config)
    from models import backend_selection
    from models.inference.engine import Engine

    engine = Engine.load(backend_selection.cached_backend(settings.models))
    errors = 0
    with click.open_file(str(file), "rb") as stream, progress(file, "classifying") as advance:
        for number, fields in enumerate(classify_lines(engine, _decode_lines(stream, advance)), 1):
            if "error" in fields:
                errors += 1
                click.echo(f"{file}:{number}: {fields['error']}", err=True)
            click.echo(json.dumps(fields, ensure_ascii=False) if as_json else printable(_as_text(fields)))
    sys.exit(1 if errors else 0)

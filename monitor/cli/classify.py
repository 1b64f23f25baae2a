"""`monitor classify`: texts in, one JSON object a line out, in the same order."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from models.inference.engine import Engine
from stream.domain.documents import join_content
from stream.domain.wire import prediction_fields

CHUNK = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One line of input: the text to judge, or why there is none."""

    id: str | None
    text: str
    lang: str | None = None
    error: str | None = None


def parse_line(line: str) -> Line:
    """A plain text, or a JSON object with `text`, `title` or both, and perhaps `id` and `lang`."""
    line = line.rstrip("\r\n")
    if not line.lstrip().startswith("{"):
        return Line(None, line)
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return Line(None, "", error=f"not JSON: {error}")
    fields = {name: row.get(name) for name in ("title", "text", "lang")}
    id_ = row.get("id")
    for name, value in fields.items():
        if value is not None and not isinstance(value, str):
            return Line(_as_id(id_), "", error=f"{name} must be a string, not {value!r}")
    text = join_content(fields["title"] or "", fields["text"] or "")
    if fields["title"] is None and fields["text"] is None:
        return Line(_as_id(id_), "", error="text or title is required")
    return Line(_as_id(id_), text, fields["lang"])


def _as_id(value: object) -> str | None:
    return None if value is None else str(value)


def classify_lines(engine: Engine, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """An answer for each line, in order; a line that cannot be read is `unsupported` with `error`."""
    source = iter(lines)
    while chunk := [parse_line(line) for line in islice(source, CHUNK)]:
        predictions = engine.classify([line.text for line in chunk], [line.lang for line in chunk])
        for line, prediction in zip(chunk, predictions, strict=True):
            answer = {"id": line.id, **msgspec.to_builtins(prediction_fields(prediction))}
            if line.error is not None:
                answer["error"] = line.error
            yield answer

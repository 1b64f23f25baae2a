"""Labelled texts from JSON lines or CSV, with errors that name the file and the line."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import DataError
from stream.nouns import SENTIMENTS, TASKS, join_content


@dataclass(frozen=True, slots=True)
class Row:
    """One text and its labels: a label for every task, or for some of them."""

    text: str
    labels: Mapping[str, str]


def read_rows(paths: Iterable[Path], columns: Mapping[str, str] | None = None) -> list[Row]:
    """Read labelled rows of .jsonl or .csv files.

    A row has `text` (or `title`, or both) and `topic`, `sentiment` or both; `columns` maps these
    names to the file's own.  A row with `entities` (name to sentiment) instead of a sentiment counts
    where all its entities agree and is left out where they do not.  Raises DataError.
    """
    rows: list[Row] = []
    for path in paths:
        before = len(rows)
        for where, record in _records(path):
            row = _row(record, columns or {}, where)
            if row is not None:
                rows.append(row)
        if len(rows) == before:
            raise DataError(f"{path}: no labelled rows; each needs text and topic or sentiment")
    return rows


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                reader = csv.DictReader(file)
                for record in reader:
                    yield f"{path}:{reader.line_num}", record
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", _json_object(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _json_object(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: an object was expected, not {type(record).__name__}")
    return record


def _row(record: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Row | None:
    get = {name: record.get(columns.get(name, name)) for name in ("title", "text", "entities", *TASKS)}
    for name in ("title", "text", *TASKS):
        if get[name] is not None and not isinstance(get[name], str):
            raise DataError(f"{where}: {name} must be a string, not {get[name]!r}")
    text = join_content(get["title"] or "", get["text"] or "")
    if not text.strip():
        raise DataError(f"{where}: no text; name its column with --map text=COLUMN")
    labels = {task: str(get[task]) for task in TASKS if get[task]}
    if "sentiment" not in labels and isinstance(get["entities"], dict):
        moods = {str(mood) for mood in get["entities"].values()}
        if len(moods) == 1:
            labels["sentiment"] = str(moods.pop())
    if labels.get("sentiment", SENTIMENTS[0]) not in SENTIMENTS:
        raise DataError(f"{where}: sentiment {labels['sentiment']!r} is none of {', '.join(SENTIMENTS)}")
    return Row(text, labels) if labels else None

"""`monitor stories`: which texts of a file tell the same event, copy each other, and have a voice."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from monitor.cli.options import (
    EXISTING,
    config_option,
    data_options,
    examples,
    json_option,
    load_settings,
    plain_errors,
    show_progress,
)
from stream.domain.documents import EPOCH, Kind, printable

if TYPE_CHECKING:
    from models.document_classifier import DocumentClassifier
    from monitor.runtime.settings import Settings
    from stream.domain.documents import Document
    from stream.domain.stories import StoryAssignment, StoryInput
    from stream.feed import RowOptions

CHUNK = 512
# A command is not fed for days: what its texts are is all in one file.
NOT_SHORTENED = 1 << 30


@dataclass(frozen=True)
class Row:
    """A text of the file, by its number among the texts that can be read."""

    number: int
    document: Document

    @property
    def key(self) -> str:
        """A row that repeats an id is a text of its own here."""
        return f"{self.document.key}#{self.number}"


@click.command(
    epilog=examples(
        "monitor stories --data headlines.jsonl",
        "monitor stories --data news.csv --map published_at=ts,source=publisher --json",
    )
)
@config_option
@click.option(
    "--data",
    type=EXISTING,
    required=True,
    help="Timestamped texts (JSON lines, an array or CSV; - for standard input).",
)
@data_options
@json_option
@plain_errors
def stories(
    config: Path | None,
    data: Path,
    kind: str,
    columns: Mapping[str, str],
    encoding: str | None,
    zone: tzinfo | None,
    excel_days: bool,
    as_json: bool,
) -> None:
    """Assign the texts of a file to stories, in the order of their times, as the daemon does.

    A text without a time has that of the one before it.
    """
    from stream.domain.files.file_times import TimeFormat
    from stream.feed import RowOptions, unknown_field_error

    if complaint := unknown_field_error(columns):
        raise click.BadParameter(complaint)
    settings = load_settings(config)
    options = RowOptions(columns, kind=Kind(kind), times=TimeFormat(zone, excel_days), expects_time=False)
    with show_progress("reading") as progress:
        rows, errors = _rows(data, options, encoding)
        for error in errors:
            click.echo(error, err=True)
        inputs, weights = _inputs(settings, rows, progress)
        assigned = assign(inputs, weights)
    by_key = {row.key: row for row in rows}
    for row, document in zip(rows, inputs, strict=True):
        answer = _answer(row, document, assigned[row.key], by_key)
        click.echo(json.dumps(answer, ensure_ascii=False) if as_json else _line(answer, row.document))
    sys.exit(1 if errors else 0)


def _rows(data: Path, options: RowOptions, encoding: str | None) -> tuple[list[Row], list[str]]:
    """The texts of the file, and an error for each row that is none."""
    from datetime import timedelta

    from stream.codec import Codec
    from stream.domain.errors import FeedError
    from stream.domain.files.input_rows import read_rows
    from stream.feed import to_document

    codec, time = Codec(timedelta(0), NOT_SHORTENED), EPOCH
    rows: list[Row] = []
    errors = []
    for row in read_rows(data, text_columns=options.text_columns(), encoding=encoding):
        try:
            document = to_document(row, codec, options, default_time=time)
        except FeedError as error:
            errors.append(f"{data}:{row.line}: {error}")
            continue
        time = document.published_at
        rows.append(Row(len(rows), document))
    return rows, errors


def _inputs(settings: Settings, rows: list[Row], progress: Any) -> tuple[list[StoryInput], Mapping[str, Any]]:
    """What the stories of the texts depend on, and the weights of the model that classified them."""
    from models import backend_selection
    from models.document_classifier import DocumentClassifier
    from stream.stories.features import story_features, story_input
    from stream.stories.publishers import load_publishers

    publishers = load_publishers(settings.stream.publishers)
    classifier: DocumentClassifier = DocumentClassifier.load(
        settings.models, choose=backend_selection.cached_backend
    )
    inputs = []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        predictions = classifier.classify([row.document.text_input for row in part])
        for row, prediction in zip(part, predictions, strict=True):
            document = row.document
            features = story_features(document, prediction, publishers)
            waiting = story_input(document, features, document.published_at)
            # Rows of a file may share an id.
            inputs.append(structs.replace(waiting, key=row.key, id=f"{document.id}#{row.number}"))
        progress(start + len(part), len(rows), "classifying")
    return inputs, classifier.story_weights


def assign(inputs: list[StoryInput], weights: Mapping[str, Any]) -> dict[str, StoryAssignment]:
    """What is decided on each document, by its key, in the order in which the daemon takes them."""
    from stream.stories.assignment import Assigner

    assigner = Assigner(weights)
    ordered = sorted(inputs, key=lambda document: document.order)
    return {document.key: assigner.assign(document)[0] for document in ordered}


def _answer(
    row: Row, document: StoryInput, assignment: StoryAssignment, by_key: Mapping[str, Row]
) -> dict[str, Any]:
    original = by_key[assignment.copy_of] if assignment.copy_of else None
    return {
        "id": row.document.id,
        "story": assignment.story,
        "novelty": assignment.novelty,
        "origin": document.features.origin,
        "copy_of": original.document.id if original else None,
        "voice": int(assignment.is_voice),
    }


def _line(answer: Mapping[str, Any], document: Document) -> str:
    what = f"copy of {answer['copy_of']}" if answer["copy_of"] else "voice" if answer["voice"] else "no voice"
    text = document.title or document.text
    return printable(
        f"story {answer['story']}  novelty {answer['novelty']:>3}  {what}  [{answer['origin']}]  {text}"
    )

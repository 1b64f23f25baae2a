"""The rows of a file of texts: JSON lines, JSON arrays, CSV or plain text, each with its line number.

A row that cannot be read is a row with an error, so that its neighbours are read all the same.
"""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import msgspec

from stream.domain.errors import InputFileError
from stream.domain.files.text_files import (
    UNPACK_ERRORS,
    OpenText,
    Progress,
    encoding_hint,
    is_valid,
    open_text,
)

# The longest line, JSON value and CSV cell, in characters.  The file may be one line; memory may not be full.
MAX_LINE = 1 << 27
PIECE = 1 << 16
DELIMITERS = ",\t;|"
CSV_SUFFIXES = (".csv", ".tsv", ".tab", ".psv")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")
# What shows where a JSON value ends.  Nothing in it repeats, so a search never goes back.
ESCAPE_QUOTE_OR_BRACKET = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
NOT_AN_OBJECT = "expected a JSON object, not {}"
# Words in the header of a table.  Two of them tell it from a text.
HEADER_WORDS = frozenset(
    {
        "id",
        "title",
        "text",
        "headline",
        "body",
        "content",
        "summary",
        "description",
        "date",
        "time",
        "timestamp",
    }
    | {"datetime", "published_at", "publishedat", "created_at", "source", "url", "link", "author", "symbol"}
    | {
        "symbols",
        "ticker",
        "lang",
        "language",
        "label",
        "sentiment",
        "topic",
        "标题",
        "正文",
        "内容",
        "日期",
        "时间",
    }
)
# What may stand between the objects of an array.
BETWEEN_OBJECTS = " \t\r\n,[]"


class InputRow(msgspec.Struct, frozen=True, gc=False):
    """A row and the line where it begins: its fields, or a plain text, or what is wrong with it."""

    line: int
    fields: Mapping[str, Any] | None = None
    text: str = ""
    error: str | None = None


class _Lines:
    """The lines of a file, and the number of the last one."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in iter(partial(self._stream.readline, MAX_LINE), ""):
            self.number += 1
            if len(line) == MAX_LINE and line[-1] not in "\r\n":
                place = f"{self._name}:{self.number}"
                raise InputFileError(f"{place}: a line of more than {MAX_LINE:,} characters: split it")
            yield line


def read_rows(
    path: Path,
    *,
    text_columns: Collection[str] = ("title", "text"),
    encoding: str | None = None,
    plain_text: bool = False,
    progress: Progress = lambda size: None,
) -> Iterator[InputRow]:
    """Every row of a file, or of standard input for `-`, which is read once.  Raises InputFileError.

    A file is CSV by its suffix, or if its first line has one of the `text_columns`; it needs one, if there
    are any.  With `plain_text`, a line that is no JSON object is a text, and blank lines count.
    """
    with open_text(path, encoding, progress) as file:
        read = _reader(file, path, text_columns, plain_text)
        rows = read(file.lines)
        number = 0
        while True:
            try:
                row = next(rows, None)
            except (*UNPACK_ERRORS, UnicodeDecodeError) as error:
                raise InputFileError(f"{path}: cannot be read beyond line {number}: {error}") from error
            if row is None:
                return
            number = row.line
            yield row


def _reader(
    file: OpenText, path: Path, text_columns: Collection[str], plain_text: bool
) -> Callable[[TextIO], Iterator[InputRow]]:
    """The function for the format of a file."""
    first = next((line for line in file.head.splitlines() if line.strip()), "").strip()
    if first[:1] == "[" and first[1:].lstrip()[:1] in ("", "{", "]"):
        return partial(_json_values, name=file.name, outer=1)
    if first == "{":
        return partial(_json_values, name=file.name, outer=0)
    if first[:1] != "{":
        suffixes = [suffix for suffix in path.suffixes if suffix.lower() not in PACKED_SUFFIXES]
        is_csv = bool(suffixes) and suffixes[-1].lower() in CSV_SUFFIXES
        delimiter = max(DELIMITERS, key=first.count)
        if is_csv or _is_header(next(csv.reader([first], delimiter=delimiter), []), text_columns):
            return partial(
                _csv_rows, name=file.name, delimiter=delimiter, text_columns=frozenset(text_columns)
            )
    return partial(_text_rows if plain_text else _json_lines, name=file.name)


def _is_header(cells: Collection[str], text_columns: Collection[str]) -> bool:
    names = [cell.strip() for cell in cells]
    known = sum(name.casefold() in HEADER_WORDS for name in names)
    return known > 1 or not set(names).isdisjoint(text_columns)


def _json_lines(stream: TextIO, name: str) -> Iterator[InputRow]:
    for number, line in enumerate(_Lines(stream, name), 1):
        if not line.isspace():
            yield _json_row(number, line)


def _text_rows(stream: TextIO, name: str) -> Iterator[InputRow]:
    for number, line in enumerate(_Lines(stream, name), 1):
        if line.lstrip("\ufeff").lstrip().startswith("{"):
            yield _json_row(number, line)
        elif not is_valid(line):
            yield _not_utf8(number, line)
        elif line[:1] == "[" and (row := _json_row(number, line)).error == NOT_AN_OBJECT.format("list"):
            yield row
        else:
            yield InputRow(number, text=line.rstrip("\r\n"))


def _json_row(number: int, line: str) -> InputRow:
    if not is_valid(line):
        return _not_utf8(number, line)
    try:
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            row = _lenient(line)
    except (ValueError, RecursionError) as error:
        return InputRow(number, error=f"not JSON: {error}")
    if not isinstance(row, dict):
        return InputRow(number, error=NOT_AN_OBJECT.format(type(row).__name__))
    return InputRow(number, row)


def _lenient(line: str) -> Any:
    """Also NaN and raw control characters; half of a surrogate pair becomes U+FFFD."""
    row = json.loads(line, strict=False)
    text = json.dumps(row, ensure_ascii=False)
    if is_valid(text):
        return row
    return json.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _not_utf8(number: int, line: str) -> InputRow:
    return InputRow(number, error=f"not UTF-8; {encoding_hint(line)}")


def _json_values(stream: TextIO, name: str, outer: int) -> Iterator[InputRow]:
    """The objects of an array (`outer` depth 1), or those that follow each other and span lines (0)."""
    depth = size = 0
    in_string = False
    number = start = 1
    parts: list[str] = []
    for piece in iter(partial(stream.readline, PIECE), ""):
        # An odd number of backslashes at the end cuts an escape in two.
        is_cut = (len(piece) - len(piece.rstrip("\\"))) % 2 == 1
        text = piece + stream.readline(1) if is_cut else piece
        copied = 0
        for token in ESCAPE_QUOTE_OR_BRACKET.finditer(text):
            mark = token[0]
            if mark == '"':
                in_string = not in_string
            elif in_string or mark[0] == "\\":
                continue
            elif mark in "[{":
                if depth == outer and mark == "{":
                    yield from _between(number, text[copied : token.start()])
                    copied, start = token.start(), number
                depth += 1
            elif (
                mark == "]" or depth != outer
            ):  # a brace too many closes nothing, and is found between objects
                depth = max(0, depth - 1)
                if depth == outer and mark == "}":
                    yield _json_row(start, "".join((*parts, text[copied : token.end()])))
                    parts.clear()
                    copied = token.end()
        if depth > outer:
            parts.append(text[copied:])
            size = size + len(parts[-1]) if len(parts) > 1 else len(parts[-1])
            if size > MAX_LINE:
                place = f"{name}:{start}"
                raise InputFileError(
                    f"{place}: an object of more than {MAX_LINE:,} characters: is it closed?"
                )
        else:
            yield from _between(number, text[copied:])
        number += text.endswith(("\n", "\r"))
    if depth > 0:
        yield InputRow(start, error="not JSON: an array or object that begins here is not closed")


def _between(number: int, text: str) -> Iterator[InputRow]:
    if other := text.strip(BETWEEN_OBJECTS):
        yield InputRow(number, error=f"expected JSON objects, not {other[:40]!r}")


def _csv_rows(stream: TextIO, name: str, delimiter: str, text_columns: Collection[str]) -> Iterator[InputRow]:
    csv.field_size_limit(MAX_LINE)
    lines = _Lines(stream, name)
    rows = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    header = [cell.strip() for cell in next((row for row in rows if row and not _names_delimiter(row)), [])]
    if text_columns and not any(column in text_columns for column in header):
        raise InputFileError(
            f"{name}:1: no column {' or '.join(sorted(text_columns))}: the header has {', '.join(header)}; "
            "name the column with --map text=COLUMN"
        )
    if twice := sorted({cell for cell in header if cell and header.count(cell) > 1}):
        raise InputFileError(f"{name}:1: the column {twice[0]!r} is there twice")
    start = lines.number + 1
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield InputRow(start, error=f"not CSV: {error}; is a quote open?")
            start = lines.number + 1
            continue
        if cells is None:
            return
        if cells:
            yield _csv_row(start, header, cells)
        start = lines.number + 1


def _names_delimiter(cells: list[str]) -> bool:
    """Whether this is the first line of Excel's tables: sep=;"""
    return cells[0].casefold().startswith("sep=") and not any(cells[1:])


def _csv_row(number: int, header: list[str], cells: list[str]) -> InputRow:
    if len(cells) > len(header) and any(cells[len(header) :]):
        return InputRow(
            number,
            error=f"{len(cells)} cells, but the header has {len(header)}: put quotes around commas in a text",
        )
    if not all(map(is_valid, cells)):
        return _not_utf8(number, " ".join(cells))
    return InputRow(number, {name: cell or None for name, cell in zip(header, cells, strict=False) if name})

"""The WHERE conditions on `documents` for a scope and for a selection."""

import json

from sqlalchemy import ColumnElement, String, cast, or_, text

from stream.domain.documents import Precision
from stream.domain.sums import Scope, Selection
from stream.storage import schema
from stream.storage.sql import within

# As it is written in the index, or SQLite would not use that.
INEXACT: ColumnElement[bool] = text("documents.published_precision <> 'exact'")  # type: ignore[assignment]


def scope_filters(scope: Scope) -> list[ColumnElement[bool]]:
    """The conditions on `documents` for a scope."""
    columns = schema.documents.c
    filters: list[ColumnElement[bool]] = [
        within(columns.published_at, scope.start, scope.end),
        columns.kind.in_(scope.kinds),
        *selection_filters(scope.selection),
    ]
    return filters if scope.topic is None else [*filters, columns.topic == scope.topic]


def selection_filters(selection: Selection) -> list[ColumnElement[bool]]:
    """The conditions on `documents` for a selection."""
    columns = schema.documents.c
    filters: list[ColumnElement[bool]] = []
    if selection.sources:
        filters.append(columns.source.in_(selection.sources))
    if selection.languages:
        filters.append(columns.lang.in_(selection.languages))
    if selection.exact_times:
        filters.append(columns.published_precision == Precision.EXACT)
    if selection.symbols:
        symbols = cast(columns.symbols, String)
        # The column is a JSON list, so it contains a symbol in quotation marks, escaped or not.
        quoted = {json.dumps(name, ensure_ascii=flag) for name in selection.symbols for flag in (True, False)}
        filters.append(or_(*[symbols.contains(name, autoescape=True) for name in sorted(quoted)]))
    return filters

"""The WHERE conditions on `documents` for a scope and for a selection."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, String, cast, or_, text

from stream.domain.documents import DocumentStatus, Precision
from stream.domain.sums import Counted, Scope, Selection
from stream.storage import schema
from stream.storage.event_labels import with_events
from stream.storage.sql import within
from stream.storage.stories import begins_story, has_novelty, is_voice

# As it is written in the index, or SQLite would not use that.
INEXACT: ColumnElement[bool] = text("documents.published_precision <> 'exact'")  # type: ignore[assignment]


def scope_filters(scope: Scope) -> list[ColumnElement[bool]]:
    """The conditions on `documents` for a scope."""
    columns = schema.documents.c
    filters: list[ColumnElement[bool]] = [
        within(columns.published_at, scope.start, scope.end),
        columns.kind.in_(scope.kinds),
        *selection_filters(scope.selection, scope.start, scope.end),
    ]
    return filters if scope.topic is None else [*filters, columns.topic == scope.topic]


class ScopeSource(NamedTuple):
    """What a scope reads from, its conditions, and the columns of the sentiment and the score that it is
    about."""

    source: Any
    filters: list[ColumnElement[bool]]
    sentiment: Any
    score: Any
    is_certain: ColumnElement[bool]


def scope_source(scope: Scope) -> ScopeSource:
    """The documents of a scope; with an entity their mentions of it."""
    documents, mentions = schema.documents, schema.mentions
    filters = scope_filters(scope)
    if scope.entity is None:
        columns = documents.c
        is_certain = columns.status == DocumentStatus.OK
        return ScopeSource(documents, filters, columns.sentiment, columns.score, is_certain)
    filters += [
        mentions.c.entity == scope.entity,
        mentions.c.relevance >= scope.min_relevance,
        within(mentions.c.published_at, scope.start, scope.end),
        mentions.c.score.is_not(None),
    ]
    source = mentions.join(documents, documents.c.key == mentions.c.key)
    sentiment = mentions.c.sentiment
    return ScopeSource(source, filters, sentiment, mentions.c.score, sentiment.is_not(None))


def selection_filters(selection: Selection, start: datetime, end: datetime) -> list[ColumnElement[bool]]:
    """The conditions on `documents` for a selection of those published in [start, end)."""
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
    if selection.events:
        filters.append(with_events(selection.events, start, end))
    if selection.counted is Counted.VOICES:
        filters.append(is_voice(start, end))
    elif selection.counted is Counted.STORIES:
        filters.append(begins_story(start, end))
    if selection.min_novelty:
        filters.append(has_novelty(selection.min_novelty, start, end))
    return filters

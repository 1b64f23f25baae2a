"""The tables that a sum over a time range is read from: stored windows, or the documents themselves."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Integer, cast, func, literal, select, union_all

from stream.domain.documents import EPOCH, SENTIMENTS
from stream.domain.sums import SUM_FIELDS, Selection, window_start
from stream.storage import schema
from stream.storage.filters import selection_filters
from stream.storage.sql import within


def documents_as_sums(selection: Selection, start: datetime, end: datetime) -> Any:
    """The counted documents of a selection as a subquery with the columns of `aggregates`, a row for each."""
    columns = schema.documents.c
    sentiments = {name: func.coalesce(cast(columns.sentiment == name, Integer), 0) for name in SENTIMENTS}
    contributions: dict[str, Any] = {
        "n": literal(1),
        **sentiments,
        "uncertain": cast(columns.sentiment.is_(None), Integer),
        "score_sum": columns.score,
        "score_squares": cast(columns.score, BigInteger) * columns.score,
    }
    return (
        select(
            columns.published_at.label("window_start"),
            columns.topic,
            columns.kind,
            *[contributions[name].label(name) for name in SUM_FIELDS],
        )
        .where(within(columns.published_at, start, end))
        .where(columns.score.is_not(None), *selection_filters(selection))
        .subquery()
    )


class StoredWindows(NamedTuple):
    """The stored windows of so many seconds (0: base windows) that start in [start, end)."""

    seconds: int
    start: datetime
    end: datetime


def widest_windows(start: datetime, end: datetime, width: int | None) -> list[StoredWindows]:
    """Cover [start, end) by as few stored windows as possible: days, around them hours, then base windows.

    The sums will be added up to windows of `width` seconds (None: to a single sum), so a stored window is
    used only if `width` is a multiple of it.
    """
    for seconds in sorted(schema.ROLLUP_WIDTHS, reverse=True):
        whole = timedelta(seconds=seconds)
        first, last = -(-(start - EPOCH) // whole) * whole + EPOCH, window_start(end, whole)
        if first < last and (width is None or width % seconds == 0):
            return [
                *(widest_windows(start, first, width) if start < first else []),
                StoredWindows(seconds, first, last),
                *(widest_windows(last, end, width) if last < end else []),
            ]
    return [StoredWindows(0, start, end)]


def stored_windows(start: datetime, end: datetime, width: int | None) -> Any:
    """The rows of `widest_windows` as a subquery with the columns of `aggregates`."""
    names = ("window_start", "topic", "kind", *SUM_FIELDS)
    queries = []
    for seconds, first, last in widest_windows(start, end, width):
        table = schema.rollups if seconds else schema.aggregates
        query = select(*[table.c[name] for name in names]).where(within(table.c.window_start, first, last))
        queries.append(query.where(schema.rollups.c.width == seconds) if seconds else query)
    return union_all(*queries).subquery()

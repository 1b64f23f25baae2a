"""The tables that a sum over a time range is read from: stored windows, or the documents themselves."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Integer, cast, func, literal, select, union_all

from stream.domain.documents import EPOCH, SENTIMENTS
from stream.domain.sums import SUM_FIELDS, Counted, Selection, window_start
from stream.storage import schema
from stream.storage.filters import INEXACT, selection_filters
from stream.storage.sql import within
from stream.storage.stories import is_voice
from stream.storage.sums import OF_TEXTS, OF_VOICES, SumTables


def sums_source(selection: Selection, start: datetime, end: datetime, width: int | None) -> Any:
    """What to add up for a selection, as a subquery with the columns of `aggregates`.

    Stored windows know topic and kind only: for another selection the documents are counted.  Documents
    without an exact time are few, and taken out of the stored windows.
    """
    if selection.names_documents:
        return _documents(selection_filters(selection, start, end), start, end).subquery()
    are_voices = selection.counted is Counted.VOICES
    stored = _stored_windows(OF_VOICES if are_voices else OF_TEXTS, start, end, width)
    if not selection.exact_times:
        return union_all(*stored).subquery()
    inexact = [INEXACT, is_voice(start, end)] if are_voices else [INEXACT]
    return union_all(*stored, _documents(inexact, start, end, sign=-1)).subquery()


def _documents(filters: Sequence[Any], start: datetime, end: datetime, sign: int = 1) -> Any:
    """A row for each counted document; with the sign -1 to take it out of sums."""
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
            *[(contributions[name] * sign).label(name) for name in SUM_FIELDS],
        )
        .where(within(columns.published_at, start, end))
        .where(columns.score.is_not(None), *filters)
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


def _stored_windows(tables: SumTables, start: datetime, end: datetime, width: int | None) -> list[Any]:
    """Queries for the rows of `widest_windows`, with the columns of `aggregates`."""
    names = ("window_start", "topic", "kind", *SUM_FIELDS)
    queries = []
    for seconds, first, last in widest_windows(start, end, width):
        table = tables.rollups if seconds else tables.aggregates
        query = select(*[table.c[name] for name in names]).where(within(table.c.window_start, first, last))
        queries.append(query.where(table.c.width == seconds) if seconds else query)
    return queries

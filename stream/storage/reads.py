"""What rules and pages read: sums, the worst documents, who wrote them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Engine,
    cast,
    func,
    literal,
    select,
)

from stream.domain.alerts import EvidenceItem
from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.sums import Aggregate, Scope, Selection
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.schema import SUMS
from stream.storage.sums import ANY, _among, _selected, _windows, stretch_of


class Reads:
    """Reads over one engine; safe to share between threads.  `width` is that of the stored windows."""

    def __init__(self, engine: Engine, width: timedelta) -> None:
        self.engine, self.width = engine, width

    def sums(self, start: datetime, end: datetime, selection: Selection = ANY) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""
        return self._added(start, end, None, selection)

    def sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection = ANY
    ) -> list[Aggregate]:
        """The same by stretches of `width`, whole seconds counted from the epoch: those with data, in
        order."""
        return self._added(start, end, int(width.total_seconds()), selection)

    def _added(
        self, start: datetime, end: datetime, width: int | None, selection: Selection
    ) -> list[Aggregate]:
        """A selection by anything but topic and kind is counted from the documents themselves."""
        source = _selected(selection, start, end) if selection else _windows(start, end, width)
        stamp = source.c.window_start
        cell: Any = literal(0) if width is None else stretch_of(stamp, width)
        # PostgreSQL's own sum of large integers is a decimal, which takes ten times as long to read.
        sums = [cast(func.sum(source.c[name]), BigInteger) for name in SUMS]
        query = (
            select(cell.label("cell"), source.c.topic, source.c.kind, *sums)
            .group_by("cell", source.c.topic, source.c.kind)
            .order_by("cell", source.c.topic, source.c.kind)
        )
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        starts = {at: start if width is None else EPOCH + timedelta(seconds=at * width) for at, *_ in rows}
        return [Aggregate(starts[at], *rest) for at, *rest in rows]

    def most_negative(self, scope: Scope, limit: int) -> list[EvidenceItem]:
        """The lowest-scored documents."""
        table = schema.documents
        query = select(table).where(*_among(scope), table.c.status == "ok")
        query = query.order_by(table.c.score, table.c.published_at, table.c.source, table.c.id)
        with reading(self.engine) as connection:
            return [
                EvidenceItem(
                    row.source, row.id, row.published_at, row.title or row.text, row.score / SCORE_SCALE,
                    carrying_words(row.evidence), row.url,
                )
                for row in connection.execute(query.limit(limit))
            ]  # fmt: skip

    def scored(self, start: datetime, end: datetime) -> Iterator[Any]:
        """The rows of documents with a score that were published in [start, end), in order of time."""
        table = schema.documents
        query = select(table).where(
            table.c.published_at >= start, table.c.published_at < end, table.c.score.is_not(None)
        )
        with reading(self.engine) as connection:
            rows = connection.execution_options(yield_per=1000).execute(query.order_by(table.c.published_at))
            yield from rows

    def negative_writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        """How many negative documents each source has, most first, and how many authors wrote them."""
        table = schema.documents
        negative = [*_among(scope), table.c.sentiment == "negative"]
        n = func.count().label("n")
        by_source = select(table.c.source, n).where(*negative).group_by(table.c.source)
        with reading(self.engine) as connection:
            authors = connection.scalar(select(func.count(table.c.author.distinct())).where(*negative))
            rows = connection.execute(by_source.order_by(n.desc(), table.c.source))
            return {source: int(count) for source, count in rows}, int(authors or 0)

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        """When each source last published a document of whatever sort, those that did."""
        table = schema.documents
        query = select(table.c.source, func.max(table.c.published_at)).where(*_among(scope))
        with reading(self.engine) as connection:
            return {row.source: row[1] for row in connection.execute(query.group_by(table.c.source))}

    def late_windows(self, since: datetime, before: datetime) -> list[datetime]:
        """The windows that judged documents fall in which were received at `since` or later and published
        before `before`, in order."""
        table = schema.documents
        cell = stretch_of(table.c.published_at, int(self.width.total_seconds()))
        query = (
            select(cell.label("cell"))
            .distinct()
            .where(table.c.received_at >= since, table.c.published_at < before, table.c.score.is_not(None))
        )
        with reading(self.engine) as connection:
            return [EPOCH + at * self.width for at in connection.scalars(query.order_by("cell"))]


def carrying_words(evidence: Sequence[Mapping[str, Any]], most: int = 5) -> tuple[str, ...]:
    """The words of a stored prediction that did most for its sentiment, most first."""
    spans = [span for span in evidence if span["task"] == "sentiment"]
    return tuple(span["text"] for span in sorted(spans, key=lambda span: -span["weight"])[:most])

"""What the rules and the evidence pages read: sums, the most negative documents, and who wrote them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Engine, Integer, cast, func, literal, select

from stream.domain.alerts import EvidenceItem
from stream.domain.budgets import cut
from stream.domain.documents import (
    EPOCH,
    HEARTBEAT_SOURCE,
    LONGEST_WORD,
    SCORE_SCALE,
    DocumentStatus,
    Precision,
)
from stream.domain.sums import EVERYTHING, SUM_FIELDS, Aggregate, LateWindow, Scope, Selection
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.filters import INEXACT, scope_filters, scope_source
from stream.storage.page_reads import PageReader
from stream.storage.sql import bucket_number, within
from stream.storage.story_reads import is_no_copy, with_stories
from stream.storage.windows import sums_source


class StoreReader(PageReader):
    """Queries over one engine; safe to share between threads.  `width` is the width of the base windows.

    Every method raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, engine: Engine, width: timedelta) -> None:
        super().__init__(engine)
        self.width = width

    def sums(self, start: datetime, end: datetime, selection: Selection = EVERYTHING) -> list[Aggregate]:
        """For each topic and kind, the sum of the windows that start in [start, end)."""
        return self._sums(start, end, None, selection)

    def sums_by_window(
        self, start: datetime, end: datetime, width: timedelta, selection: Selection = EVERYTHING
    ) -> list[Aggregate]:
        """The same for each window of `width` that has data, in order.

        `width` is in whole seconds; windows are counted from the epoch.
        """
        return self._sums(start, end, int(width.total_seconds()), selection)

    def _sums(
        self, start: datetime, end: datetime, width: int | None, selection: Selection
    ) -> list[Aggregate]:
        source = sums_source(selection, start, end, width)
        window: Any = literal(0) if width is None else bucket_number(source.c.window_start, width)
        # PostgreSQL's sum of bigints is a decimal, which takes ten times as long to read.
        sums = [cast(func.sum(source.c[name]), BigInteger) for name in SUM_FIELDS]
        query = (
            select(window.label("cell"), source.c.topic, source.c.kind, *sums)
            .group_by("cell", source.c.topic, source.c.kind)
            .order_by("cell", source.c.topic, source.c.kind)
        )
        if selection.exact_times:
            query = query.having(func.sum(source.c.n) > 0)
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        return [
            Aggregate(start if width is None else EPOCH + timedelta(seconds=number * width), *rest)
            for number, *rest in rows
        ]

    def most_negative(self, scope: Scope, limit: int) -> list[EvidenceItem]:
        """The documents with the lowest scores, lowest first, without copies."""
        table, found, stories = schema.documents, scope_source(scope), schema.document_stories.c
        query = select(
            table, found.score.label("score_of_scope"), stories.story, stories.novelty, stories.voice
        ).select_from(with_stories(found.source))
        query = query.where(*found.filters, found.is_certain, is_no_copy())
        query = query.order_by(found.score, table.c.published_at, table.c.key)
        with reading(self.engine) as connection:
            rows = connection.execute(query.limit(limit)).all()
        copies = self.copies_of(scope, [row for row in rows if row.story is not None])
        return [
            EvidenceItem(
                source=row.source,
                id=row.id,
                published_at=row.published_at,
                content=row.title or row.text,
                score=row.score_of_scope / SCORE_SCALE,
                words=evidence_words(row.evidence),
                url=row.url,
                key=row.key,
                precision=Precision(row.published_precision),
                traceparent=row.traceparent,
                judged_by=row.judged_by,
                events=tuple(name for name, _ in row.events or ()),
                story=row.story,
                novelty=row.novelty,
                is_voice=None if row.voice is None else bool(row.voice),
                copies=copies.get(row.key, 0),
            )
            for row in rows
        ]

    def scored_documents(self, start: datetime, end: datetime) -> Iterator[Any]:
        """The rows of the documents published in [start, end) that have a score, in order of publication,
        each with its story if it has one."""
        table, stories = schema.documents, schema.document_stories.c
        columns = (
            *(stories.story, stories.sequence, stories.novelty, stories.copy_of, stories.voice),
            stories.origin,
        )
        query = select(table, *columns).select_from(with_stories(table))
        query = query.where(within(table.c.published_at, start, end), table.c.score.is_not(None))
        with reading(self.engine) as connection:
            rows = connection.execute(
                query.order_by(table.c.published_at), execution_options={"yield_per": 1000}
            )
            yield from rows

    def negative_writers(self, scope: Scope) -> tuple[dict[str, int], int]:
        """The number of negative documents of each source, highest first, and the number of their authors."""
        table, found = schema.documents, scope_source(scope)
        negative = [*found.filters, found.sentiment == "negative"]
        n = func.count().label("n")
        by_source = select(table.c.source, n).select_from(found.source).where(*negative)
        by_source = by_source.group_by(table.c.source)
        author = func.count(table.c.author.distinct())
        with reading(self.engine) as connection:
            authors = connection.scalar(select(author).select_from(found.source).where(*negative))
            rows = connection.execute(by_source.order_by(n.desc(), table.c.source))
            return {source: int(count) for source, count in rows}, int(authors or 0)

    def last_seen_by_source(self, scope: Scope) -> dict[str, datetime]:
        """The latest publication time of each source that published anything in the scope."""
        table = schema.documents
        query = select(table.c.source, func.max(table.c.published_at)).where(*scope_filters(scope))
        with reading(self.engine) as connection:
            return {row.source: row[1] for row in connection.execute(query.group_by(table.c.source))}

    def has_dates(self, start: datetime, end: datetime) -> bool:
        """Whether a document published in [start, end) has a date and no time.  Raises StoreUnavailable."""
        table = schema.documents
        is_date = table.c.published_precision == Precision.DAY
        query = select(1).where(INEXACT, is_date, within(table.c.published_at, start, end)).limit(1)
        with reading(self.engine) as connection:
            return connection.scalar(query) is not None

    def last_received(self) -> datetime | None:
        """When the latest document that is no heartbeat was received; None without any.

        Raises StoreUnavailable.
        """
        table = schema.documents
        query = select(table.c.received_at).where(table.c.source != HEARTBEAT_SOURCE)
        with reading(self.engine) as connection:
            return connection.scalar(query.order_by(table.c.received_at.desc()).limit(1))

    def unsupported_sources(
        self, since: datetime, share: float, fewest: int
    ) -> list[tuple[str, str, int, int]]:
        """Kind, source, texts and unsupported texts of the sources of which more than `share` of at least
        `fewest` texts received at `since` or later are unsupported, most texts first.

        Raises StoreUnavailable.
        """
        table = schema.documents
        n = func.count().label("n")
        unsupported = func.sum(cast(table.c.status == DocumentStatus.UNSUPPORTED, Integer)).label(
            "unsupported"
        )
        query = (
            select(table.c.kind, table.c.source, n, unsupported)
            .where(table.c.received_at >= since, table.c.source != HEARTBEAT_SOURCE)
            .group_by(table.c.kind, table.c.source)
            .having(n >= fewest, unsupported > n * share)
            .order_by(n.desc(), table.c.source)
        )
        with reading(self.engine) as connection:
            return [tuple(row) for row in connection.execute(query)]

    def late_windows(self, since: datetime, before: datetime) -> list[LateWindow]:
        """The base windows that changed late, in order: windows of documents with a score that were published
        before `before` and received at `since` or later.

        Raises StoreUnavailable.
        """
        query = self.late_query(before).where(schema.documents.c.received_at >= since)
        with reading(self.engine) as connection:
            return self.late_rows(connection.execute(query))

    def latest_model(self) -> str | None:
        """The model that labelled the document received last; None without any."""
        table = schema.documents
        query = select(table.c.model).where(table.c.score.is_not(None)).order_by(table.c.received_at.desc())
        with reading(self.engine) as connection:
            return connection.scalar(query.limit(1))

    def count_by_model(
        self, start: datetime, end: datetime, received_since: datetime | None = None
    ) -> dict[tuple[datetime, str], int]:
        """How many documents with a score were published in each hour of [start, end), by the model that
        labelled them; only of those received at `received_since` or later, if it is given."""
        table = schema.documents
        hour = bucket_number(table.c.published_at, schema.HOUR)
        query = (
            select(hour.label("cell"), table.c.model, func.count())
            .where(within(table.c.published_at, start, end), table.c.score.is_not(None))
            .group_by("cell", table.c.model)
        )
        if received_since is not None:
            query = query.where(table.c.received_at >= received_since)
        with reading(self.engine) as connection:
            return {
                (EPOCH + number * timedelta(seconds=schema.HOUR), model): int(count)
                for number, model, count in connection.execute(query)
            }


def evidence_words(evidence: Sequence[Mapping[str, Any]], limit: int = 5) -> tuple[str, ...]:
    """The words that contributed most to the sentiment in a stored prediction, largest weight first.

    Words of any length are stored where an older version wrote them.
    """
    spans = [span for span in evidence if span["task"] == "sentiment"]
    return tuple(
        cut(span["text"], LONGEST_WORD) for span in sorted(spans, key=lambda span: -span["weight"])[:limit]
    )

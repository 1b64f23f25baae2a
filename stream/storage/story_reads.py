"""What the rules read about stories: how far documents have one, and the stories behind an alert."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, cast, func, select

from stream.domain.alerts import StoryCounts
from stream.domain.documents import EPOCH, HEARTBEAT_SOURCE, Precision
from stream.domain.sums import LateWindow, Scope
from stream.storage import schema
from stream.storage.database import reading
from stream.storage.entity_reads import EntityReader
from stream.storage.filters import scope_source
from stream.storage.marks import read_mark
from stream.storage.sql import bucket_number, within
from stream.storage.stories import STORIES_MARK


class StoryReader(EntityReader):
    """Queries over one engine; safe to share between threads.  `width` is the width of the base windows.

    Every method raises StoreUnavailable if the database does not answer.
    """

    width: timedelta
    # The mark of which `voices_since` was read, and what it was: it changes only with the mark.
    _known: tuple[datetime, datetime] | None = None

    def voices_since(self) -> datetime | None:
        """The publication time from which on every document has a story, or waits for it; None if documents
        get none.

        Those that were received before the mark of the story task have none.
        """
        documents = schema.documents
        with reading(self.engine) as connection:
            mark = read_mark(connection, STORIES_MARK)
            if mark is None:
                return None
            if self._known is None or self._known[0] != mark:
                counted = (documents.c.score.is_not(None), documents.c.source != HEARTBEAT_SOURCE)
                # A fresh installation has nothing from before: the index says so at once.
                first = connection.scalar(select(func.min(documents.c.received_at)))
                last = None
                if first is not None and first < mark:
                    query = select(func.max(documents.c.published_at))
                    last = connection.scalar(query.where(documents.c.received_at < mark, *counted))
                self._known = (mark, EPOCH if last is None else last + timedelta.resolution)
        return self._known[1]

    def oldest_waiting(self) -> datetime | None:
        """When the document was received that has waited longest for its story; None if none waits."""
        table = schema.story_inputs
        query = select(func.min(table.c.received_at)).where(table.c.sequence.is_(None))
        with reading(self.engine) as connection:
            oldest: datetime | None = connection.scalar(query)
        return oldest

    def story_counts(self, scope: Scope, *, negative: bool) -> StoryCounts:
        """The texts of a scope, and the stories, voices and copies among them; only of negative ones if asked
        for."""
        found, stories = scope_source(scope), schema.document_stories.c
        filters = [*found.filters, found.sentiment == "negative"] if negative else found.filters
        query = (
            select(
                func.count(),
                func.count(stories.story.distinct()),
                func.coalesce(func.sum(stories.voice), 0),
                func.count(stories.copy_of),
            )
            .select_from(with_stories(found.source))
            .where(*filters)
        )
        with reading(self.engine) as connection:
            return StoryCounts(*map(int, connection.execute(query).one()))

    def late_voices(self, since: datetime, before: datetime) -> list[LateWindow]:
        """The base windows, in order, of documents with a score that were published before `before` and got
        their story at `since` or later."""
        assigned = schema.document_stories.c
        query = self.late_query(before).join(schema.document_stories, assigned.key == schema.documents.c.key)
        with reading(self.engine) as connection:
            return self.late_rows(connection.execute(query.where(assigned.assigned_at >= since)))

    def late_query(self, before: datetime) -> Any:
        """The base windows of documents with a score that were published before `before`, in order."""
        table = schema.documents
        window = bucket_number(table.c.published_at, int(self.width.total_seconds()))
        is_exact = cast(table.c.published_precision == Precision.EXACT, Integer)
        return (
            select(window.label("cell"), func.max(is_exact))
            .select_from(table)
            .where(table.c.published_at < before, table.c.score.is_not(None))
            .group_by("cell")
            .order_by("cell")
        )

    def late_rows(self, rows: Any) -> list[LateWindow]:
        return [LateWindow(EPOCH + number * self.width, bool(exact)) for number, exact in rows]

    def copies_of(self, scope: Scope, rows: Sequence[Any]) -> dict[str, int]:
        """How many copies each of these documents has among those published in the time of a scope; the rows
        have `key` and `story`."""
        columns = schema.document_stories.c
        query = (
            select(columns.copy_of, func.count())
            # By the index of stories.
            .where(columns.story.in_({row.story for row in rows}), columns.copy_of.in_([r.key for r in rows]))
            .where(within(columns.published_at, scope.start, scope.end))
            .group_by(columns.copy_of)
        )
        with reading(self.engine) as connection:
            return {key: int(count) for key, count in connection.execute(query)} if rows else {}


def with_stories(source: Any) -> Any:
    """A source with `documents`, and the story of each document that has one."""
    return source.outerjoin(schema.document_stories, schema.document_stories.c.key == schema.documents.c.key)


def is_no_copy() -> ColumnElement[bool]:
    """The condition for documents that are no copies, as far as that is known."""
    return schema.document_stories.c.copy_of.is_(None)

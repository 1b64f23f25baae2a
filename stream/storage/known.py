"""What a view of the database had at an earlier moment: which documents, with which labels and stories.

A document was there if it comes before the next offset of its partition then: a transaction that was still
open had given it an earlier time of receipt.  Its labels are those that the first later event says it had
(`stream.storage.events`), or those of now if there is none.  Its story was there if it comes before the last
sequence then.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Engine, case, or_, select, type_coerce

from stream.domain.incidents import Moment
from stream.domain.stories import StoryAssignment
from stream.domain.sums import TimeRange
from stream.storage import schema
from stream.storage.database import reading, snapshot
from stream.storage.events import EVENTS_MARK, EventCause
from stream.storage.history import COUNTED_CAUSES
from stream.storage.marks import read_mark
from stream.storage.sql import within
from stream.storage.story_reads import with_stories

# A change of labels is written within so long.
UNSETTLED = timedelta(seconds=10)
# No transaction stays open for so long: what was received before was there, and what later was not.
SETTLED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class KnownMention:
    """A mention as it was: its fields are those of `stream.storage.events.MentionState`."""

    entity: str
    relevance: int
    sentiment: str | None
    score: int | None


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A document as it was known.

    `row` is its row in `documents` as it is now: what is said here in another field may have changed since.
    `version` is the number of its events by then, and `since` the causes of those that came later;
    `is_unsettled` is whether an event came so near to the moment that the transaction may still have been
    open.
    """

    row: Any
    received_at: datetime
    topic: str | None
    sentiment: str | None
    score: int | None
    model: str
    gazetteer: str | None
    events: tuple[str, ...]
    mentions: tuple[KnownMention, ...]
    version: int
    story: StoryAssignment | None = None
    since: tuple[EventCause, ...] = ()
    is_unsettled: bool = False


def changes_kept_since(engine: Engine) -> datetime | None:
    """The time since which every change of a document is kept; None if none is.  Raises StoreUnavailable."""
    with reading(engine) as connection:
        return read_mark(connection, EVENTS_MARK)


def page_keys(engine: Engine, name: str | None = None) -> list[str]:
    """The keys of all pages in order of time; with a name, of the page or the incident of that name.

    Raises StoreUnavailable.
    """
    table = schema.pages
    query = select(table.c.key).order_by(table.c.at, table.c.incident, table.c.number)
    if name is not None:
        query = query.where(or_(table.c.key == name, table.c.incident == name))
    with reading(engine) as connection:
        return list(connection.scalars(query))


def known_documents(
    engine: Engine, published: TimeRange, moment: Moment, kinds: Sequence[str]
) -> Iterator[KnownDocument]:
    """The documents of these kinds, published in the time range, as they were known at a moment; by key.

    Raises StoreUnavailable.
    """
    with snapshot(engine) as connection:
        events = _ByKey(_events(connection, published, kinds, moment.known_at))
        mentions = _ByKey(_mentions(connection, published, kinds))
        for row in _documents(connection, published, kinds):
            document = _as_known(row, mentions.of(row.key), events.of(row.key), moment)
            if is_known(row, document.received_at, moment):
                yield document


def is_known(row: Any, received_at: datetime, moment: Moment) -> bool:
    """Whether a view had a document, first received at a time, at a moment."""
    if not -SETTLED < received_at - moment.known_at <= SETTLED:
        return received_at <= moment.known_at
    following = (moment.offsets or {}).get(f"{row.kafka_topic}/{row.kafka_partition}")
    return received_at <= moment.known_at if following is None else row.kafka_offset < following


class _ByKey:
    """Rows in the order of their keys, handed out key by key in the same order."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._groups = groupby(rows, attrgetter("key"))
        self._next: tuple[str, list[Any]] = ("", [])
        self._advance()

    def _advance(self) -> None:
        key, rows = next(self._groups, ("", ()))
        self._next = (key, list(rows))

    def of(self, key: str) -> list[Any]:
        """The rows of a key.  Every key that has rows is asked for."""
        if self._next[0] != key:
            return []
        rows = self._next[1]
        self._advance()
        return rows


def _documents(connection: Connection, published: TimeRange, kinds: Sequence[str]) -> Iterable[Any]:
    """The documents and their stories, without what may be long."""
    table, stories = schema.documents, schema.document_stories.c
    columns = [column for column in table.c if column.name not in ("title", "text", "url", "evidence")]
    decided = [column for column in stories if column.name not in ("key", "published_at")]
    query = select(*columns, *decided).select_from(with_stories(table))
    return _rows(connection, query, published, kinds)


def _mentions(connection: Connection, published: TimeRange, kinds: Sequence[str]) -> Iterable[Any]:
    documents, mentions = schema.documents, schema.mentions
    query = select(mentions).join(documents, documents.c.key == mentions.c.key)
    return _rows(connection, query.where(within(mentions.c.published_at, *published)), published, kinds)


def _events(
    connection: Connection, published: TimeRange, kinds: Sequence[str], at: datetime
) -> Iterable[Any]:
    """Every event of the documents, with what was before it for those that came later."""
    documents, events = schema.documents, schema.document_events
    is_later = events.c.at > at
    old = type_coerce(case((is_later, events.c.old), else_=None), events.c.old.type)
    query = select(events.c.key, events.c.at, events.c.cause, is_later.label("is_later"), old.label("old"))
    query = query.join(documents, documents.c.key == events.c.key)
    return _rows(connection, query, published, kinds, events.c.sequence)


def _rows(
    connection: Connection, query: Any, published: TimeRange, kinds: Sequence[str], *order: Any
) -> Iterable[Any]:
    columns = schema.documents.c
    query = query.where(within(columns.published_at, *published), columns.kind.in_(kinds))
    return connection.execute(query.order_by(columns.key, *order), execution_options={"yield_per": 1000})


def _as_known(row: Any, mentions: Sequence[Any], events: Sequence[Any], moment: Moment) -> KnownDocument:
    later = [event for event in events if event.is_later]
    changed = [event.old for event in later if event.cause in COUNTED_CAUSES]
    state = changed[0] if changed else _state(row, mentions)
    return KnownDocument(
        row=row,
        received_at=_time(state["received_at"]),
        topic=state["topic"],
        sentiment=state["sentiment"],
        score=state["score"],
        model=state["model"],
        gazetteer=state["gazetteer"],
        events=tuple(state.get("events") or ()),
        mentions=tuple(KnownMention(**mention) for mention in state["mentions"]),
        version=len(events) - len(later),
        story=_story(row, moment),
        since=tuple(EventCause(event.cause) for event in later),
        is_unsettled=any(abs(event.at - moment.known_at) < UNSETTLED for event in events),
    )


def _state(row: Any, mentions: Sequence[Any]) -> dict[str, Any]:
    """What an event would say of a document that has not changed."""
    names = ("received_at", "topic", "sentiment", "score", "model", "gazetteer")
    return {
        **{name: getattr(row, name) for name in names},
        "events": [name for name, _ in row.events or ()],
        "mentions": [
            {name: getattr(each, name) for name in ("entity", "relevance", "sentiment", "score")}
            for each in mentions
        ],
    }


def _time(stored: Any) -> datetime:
    return stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)


def _story(row: Any, moment: Moment) -> StoryAssignment | None:
    """The story of a document, if it had one by then; those of before there were stories count down."""
    if row.story is None or row.assigned_at > moment.known_at + SETTLED:
        return None
    if row.sequence > 0 and moment.story_seq is not None:
        is_there = row.sequence <= moment.story_seq
    else:
        is_there = row.assigned_at <= moment.known_at
    if not is_there:
        return None
    return StoryAssignment(
        row.key, row.sequence, row.seen_at, row.story, row.novelty, row.copy_of, bool(row.voice)
    )

"""`/api/v1/documents`: texts with their labels, and all that is known of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from monitor.web.answers import AnyRequest
from monitor.web.api import cursors
from monitor.web.api.listing import DEFAULT_LIMIT, Cursor, Limit, Listing, Name
from monitor.web.desk import Desk, last_segment
from monitor.web.errors import BadRequest
from stream.domain.documents import EPOCH, EventLabel, Kind, Span
from stream.domain.wire import entity_fields
from stream.storage.desk.documents import (
    Position,
    StoredText,
    TextChange,
    TextFilter,
    TextLine,
    Texts,
    TextStory,
)

Since = Annotated[datetime | None, QueryParameter(description="published then or later, with an offset")]
Until = Annotated[datetime | None, QueryParameter(description="published before then, with an offset")]
Sentiment = Literal["positive", "neutral", "negative"]
# No text is from further in the future.
AHEAD = timedelta(days=1)


@dataclass(frozen=True)
class Label:
    """A label, and how probable it is."""

    label: str
    probability: float | None


@dataclass(frozen=True)
class OneDocument:
    """A text with its labels.  Title and text are empty once they are erased.

    `status` is ok, uncertain (the sentiment is null, and the score is of little worth) or unsupported (there
    are no labels).  `evidence` are the parts of the text that carried its labels, in code points of title and
    text joined by a newline, and so are the `mentions` of entities.
    """

    key: str
    kind: str
    source: str
    id: str
    published_at: datetime
    published_precision: str
    updated_at: datetime | None
    received_at: datetime
    title: str
    text: str
    author: str | None
    url: str | None
    symbols: Sequence[str]
    lang: str | None
    status: str
    topic: Label | None
    sentiment: Label | None
    score: float | None
    events: Sequence[EventLabel]
    evidence: Sequence[Span]
    entities: Sequence[dict[str, Any]]
    model: str
    judged_by: str
    gazetteer: str | None
    story: TextStory | None
    changes: Sequence[TextChange]
    message: str


def routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""
    texts = Texts(desk.store.engine)

    @get(
        "/api/v1/documents",
        summary="Texts, those published last first",
        description="An answer may have fewer items than `limit` and go on all the same: read on until "
        "`next` is null.  In a list about an entity, sentiment and score are towards it.",
    )
    async def documents(
        topic: Name = None,
        entity: Name = None,
        story: FromQuery[int | None] = None,
        source: Name = None,
        kind: FromQuery[Kind | None] = None,
        sentiment: FromQuery[Sentiment | None] = None,
        lang: Name = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Listing[TextLine]:
        wanted = TextFilter(
            aware("since", since) or EPOCH,
            aware("until", until) or desk.clock() + AHEAD,
            topic=topic,
            entity=entity,
            story=story,
            source=source,
            kind=kind,
            sentiment=sentiment,
            lang=lang,
        )
        after = cursors.decode(cursor, Position) if cursor else None
        found = await desk.read(lambda: texts.latest(wanted, limit, after))
        return Listing(found.items, None if found.next is None else cursors.encode(found.next))

    @get("/api/v1/documents/{rest:path}", summary="One text, by its key")
    async def document(request: AnyRequest) -> OneDocument:
        key = last_segment(request, "/api/v1/documents/")
        return await desk.read(lambda: _one(texts.find(key)))

    return [documents, document]


def aware(name: str, time: datetime | None) -> datetime | None:
    """A time that was given.  Raises BadRequest if it has no offset from UTC."""
    if time is not None and time.tzinfo is None:
        raise BadRequest(f"{name}: give the offset too, such as 2026-03-01T12:00:00Z")
    return time


def _one(found: StoredText | None) -> OneDocument | None:
    if found is None:
        return None
    document, prediction = found.document, found.prediction
    return OneDocument(
        key=found.key,
        kind=document.kind,
        source=document.source,
        id=document.id,
        published_at=document.published_at,
        published_precision=document.published_precision,
        updated_at=document.updated_at,
        received_at=found.received_at,
        title=document.title,
        text=document.text,
        author=document.author,
        url=document.url,
        symbols=document.symbols,
        lang=prediction.lang,
        status=prediction.status,
        topic=_label(prediction.topic, prediction.probabilities.get("topic", {})),
        sentiment=_label(prediction.sentiment, prediction.probabilities.get("sentiment", {})),
        score=prediction.score,
        events=prediction.events,
        evidence=prediction.evidence,
        entities=list(map(entity_fields, prediction.entities)),
        model=prediction.model,
        judged_by=prediction.judged_by or prediction.model,
        gazetteer=prediction.gazetteer,
        story=found.story,
        changes=found.changes,
        message=found.message,
    )


def _label(label: str | None, probabilities: dict[str, float] | Any) -> Label | None:
    return None if label is None else Label(label, probabilities.get(label))

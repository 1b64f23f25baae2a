"""Rows of the `documents` table, and the documents that can be read back from them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from stream.domain.documents import (
    SCORE_SCALE,
    Document,
    DocumentStatus,
    EventLabel,
    Kind,
    Precision,
    Prediction,
    Span,
)
from stream.domain.records import ClassifiedDocument, MessagePosition, Partition
from stream.storage import schema
from stream.storage.sql import insert_rows


class DocumentRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `documents`, its fields in the order of the columns."""

    key: str
    source: str
    id: str
    kind: Kind
    published_at: datetime
    received_at: datetime
    title: str
    text: str
    author: str | None
    url: str | None
    symbols: Sequence[str]
    lang: str | None
    status: DocumentStatus
    topic: str | None
    topic_probability: float | None
    sentiment: str | None
    sentiment_probability: float | None
    score: int | None
    evidence: Sequence[Span]
    model: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    published_precision: Precision
    updated_at: datetime | None
    traceparent: str | None
    gazetteer: str | None
    events: Sequence[tuple[str, float]] | None
    judged_by: str | None


# The columns that are the text's, besides those that depend on the model.
TEXT_COLUMNS = ("title", "text", "author", "url", "symbols", "updated_at", "received_at", "traceparent")
# The columns that depend on the model and on the list of entities.
PREDICTION_COLUMNS = (
    "lang",
    "status",
    "topic",
    "topic_probability",
    "sentiment",
    "sentiment_probability",
    "score",
    "evidence",
    "model",
    "gazetteer",
    "events",
    "judged_by",
)


def document_row(item: ClassifiedDocument, now: datetime) -> DocumentRow:
    """The row of a document that is received `now`."""
    document, prediction, position = item.document, item.prediction, item.position
    topics = prediction.probabilities.get("topic", {})
    sentiments = prediction.probabilities.get("sentiment", {})
    sentiment = prediction.counted_sentiment
    # By position, in the order of the fields: with this many, keywords take ten times as long.
    return DocumentRow(
        item.key,
        document.source,
        document.id,
        document.kind,
        document.published_at,
        now,
        document.title,
        document.text,
        document.author,
        document.url,
        document.symbols,
        prediction.lang,
        prediction.status,
        prediction.topic,
        topics.get(prediction.topic or ""),
        sentiment,
        sentiments.get(sentiment or ""),
        item.score,
        prediction.evidence,
        prediction.model,
        position.partition.topic,
        position.partition.number,
        position.offset,
        document.published_precision,
        document.updated_at,
        position.traceparent,
        prediction.gazetteer,
        [(event.type, event.probability) for event in prediction.events],
        prediction.judged_by,
    )


def insert_documents(
    connection: Connection, documents: Iterable[ClassifiedDocument], now: datetime
) -> list[ClassifiedDocument]:
    """Insert the documents whose identity is not stored yet, and return them in stream order.

    Rows are inserted in sorted order, so that concurrent writers cannot deadlock.
    """
    by_key: dict[str, ClassifiedDocument] = {}
    for item in documents:
        by_key.setdefault(item.key, item)
    if not by_key:
        return []
    table = schema.documents
    rows = [document_row(by_key[key], now) for key in sorted(by_key)]
    statement, values = insert_rows(connection, table, rows)
    statement = statement.on_conflict_do_nothing().returning(table.c.key)
    inserted = set(connection.scalars(statement, values))
    return [item for key, item in by_key.items() if key in inserted]


def document_of_row(row: Any) -> Document:
    """The document of a stored row."""
    return Document(
        id=row.id,
        kind=Kind(row.kind),
        source=row.source,
        published_at=row.published_at,
        title=row.title,
        text=row.text,
        author=row.author,
        url=row.url,
        symbols=tuple(row.symbols),
        lang=row.lang,
        published_precision=Precision(row.published_precision),
        updated_at=row.updated_at,
    )


def prediction_of_row(row: Any) -> Prediction:
    """The prediction of a stored row: of the probabilities only those of its labels are stored."""
    probabilities = {
        task: {label: probability}
        for task, label, probability in (
            ("topic", row.topic, row.topic_probability),
            ("sentiment", row.sentiment, row.sentiment_probability),
        )
        if label is not None
    }
    return Prediction(
        model=row.model,
        lang=row.lang,
        topic=row.topic,
        sentiment=row.sentiment,
        score=None if row.score is None else row.score / SCORE_SCALE,
        probabilities=probabilities,
        evidence=msgspec.convert(row.evidence, tuple[Span, ...]),
        certain=row.status == DocumentStatus.OK,
        gazetteer=row.gazetteer,
        events=tuple(EventLabel(*event) for event in row.events or ()),
        judged_by=row.judged_by,
    )


def position_of_row(row: Any) -> MessagePosition:
    """The position from which a stored row was read; neither incarnation nor value are stored."""
    partition = Partition(incarnation="", topic=row.kafka_topic, number=row.kafka_partition)
    return MessagePosition(
        Kind(row.kind), partition, row.kafka_offset, value=None, traceparent=row.traceparent
    )

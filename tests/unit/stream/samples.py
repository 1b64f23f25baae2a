"""Documents and dead letters for the tests of the store, and short ways to write and count them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs
from sqlalchemy import Table, func, select

from stream.domain.documents import EPOCH, Document, Kind, Prediction, TextInput
from stream.domain.entities import EntityMention
from stream.domain.records import (
    Batch,
    ClassifiedDocument,
    DeadLetter,
    MessagePosition,
    OutboundMessage,
    Partition,
    WriteResult,
)
from stream.domain.sums import TimeRange
from stream.storage import database, schema
from stream.storage.batches import Store

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
ALL_TIMES = TimeRange(EPOCH, NOW + timedelta(days=1))
NEWS_0, NEWS_1 = Partition("cluster/a", "news", 0), Partition("cluster/a", "news", 1)


def no_messages(
    _documents: Sequence[ClassifiedDocument], _dead_letters: Sequence[DeadLetter]
) -> list[OutboundMessage]:
    """Sends nothing because of a batch."""
    return []


def classified(
    id_: str,
    offset: int,
    partition: Partition = NEWS_0,
    *,
    score: float = -0.5,
    at: datetime = NOW,
    sentiment: str = "negative",
    title: str = "Shares fall",
) -> ClassifiedDocument:
    """A news item about earnings, classified with certainty."""
    document = Document(id_, Kind.NEWS, "wire", at, title=title)
    probabilities = {"topic": {"Earnings": 1.0}, "sentiment": {sentiment: 0.7}}
    prediction = Prediction("m-1", "en", "Earnings", sentiment, score, probabilities)
    return ClassifiedDocument(MessagePosition(Kind.NEWS, partition, offset, b"{}"), document, prediction)


def mention(entity: str, score: float | None = -0.5, relevance: int = 70, **others: Any) -> EntityMention:
    """A mention that is as certain as its score is far from 0."""
    sentiment = None if score is None or score == 0 else ("negative" if score < 0 else "positive")
    probability = None if sentiment is None else 0.7
    return EntityMention(entity, entity, ((0, 6),), relevance, sentiment, probability, score, **others)


def about(item: ClassifiedDocument, *mentions: EntityMention, gazetteer: str = "g-1") -> ClassifiedDocument:
    """The same document, about these entities."""
    prediction = structs.replace(item.prediction, entities=mentions, gazetteer=gazetteer)
    return structs.replace(item, prediction=prediction)


def dead_letter(offset: int, partition: Partition = NEWS_0) -> DeadLetter:
    return DeadLetter(MessagePosition(Kind.NEWS, partition, offset, b"\xff"), "not_utf8", "bad \0 bytes")


def write(store: Store, *outcomes: ClassifiedDocument | DeadLetter) -> WriteResult:
    """Write a batch of these outcomes, received NOW."""
    return store.write(Batch(outcomes), no_messages, NOW)


def row_count(store: Store, table: Table) -> int:
    with database.reading(store.engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def predict_with(model: str, text: str) -> Prediction:
    """Model "one" predicts positive news about Macro for any text; the predictions of "two" depend on the text."""
    if model == "one":
        topic, sentiment, score = "Macro", "positive", 0.5
    else:
        topic, sentiment, score = ("Fed" if "rate" in text else "Macro"), "negative", -0.25
    if "nothing" in text and model == "two":
        return Prediction(model, None)
    probabilities = {"topic": {topic: 1.0}, "sentiment": {sentiment: 1.0}}
    return Prediction(model, "en", topic, sentiment, score, probabilities)


def classify_with_two(inputs: Sequence[TextInput]) -> list[Prediction]:
    return [predict_with("two", item.text) for item in inputs]


def write_thirty(store: Store) -> None:
    """Write thirty news items of two partitions, nine minutes apart, as model "one" classifies them."""
    titles = ("rate cut", "plain news", "nothing to say")
    batch = []
    for i in range(30):
        title = titles[i % 3]
        document = Document(f"d{i:03}", Kind.NEWS, "wire", NOW - i * timedelta(minutes=9), title=title)
        position = MessagePosition(Kind.NEWS, Partition("c", "news", i % 2), i, b"{}")
        batch.append(ClassifiedDocument(position, document, predict_with("one", title)))
    write(store, *batch)


def mentions_of(store: Store) -> dict[tuple[str, str], tuple[int, str | None, int | None]]:
    """Relevance, sentiment and score of each mention, by the id of the document and the entity."""
    table, documents = schema.mentions, schema.documents
    query = select(documents.c.id, table).join_from(table, documents, documents.c.key == table.c.key)
    with database.reading(store.engine) as connection:
        return {
            (row.id, row.entity): (row.relevance, row.sentiment, row.score)
            for row in connection.execute(query)
        }


def sums_by_entity(store: Store) -> dict[str, tuple[int, int, int]]:
    """Count, negative count and score sum by entity; asserts that hours and days agree, and that no row is
    empty."""
    table = schema.entity_aggregates
    by_width: dict[int, dict[str, tuple[int, int, int]]] = {width: {} for width in schema.ROLLUP_WIDTHS}
    with database.reading(store.engine) as connection:
        for row in connection.execute(select(table)):
            assert row.n > 0, "an empty row"
            sums = by_width[row.width]
            n, negative, score_sum = sums.get(row.entity, (0, 0, 0))
            sums[row.entity] = (n + row.n, negative + row.negative, score_sum + row.score_sum)
    assert by_width[schema.HOUR] == by_width[schema.DAY]
    return by_width[schema.HOUR]


def events(store: Store) -> list[Any]:
    """The rows of `document_events`, in order."""
    table = schema.document_events
    with database.reading(store.engine) as connection:
        return list(connection.execute(select(table).order_by(table.c.at, table.c.key, table.c.sequence)))


def sums_by_topic(store: Store) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Count, negative count and score sum by topic and partition; asserts that no row of sums is empty."""
    sums: dict[tuple[str, int], tuple[int, int, int]] = {}
    with database.reading(store.engine) as connection:
        for row in connection.execute(select(schema.aggregates)):
            assert row.n > 0, "an empty row"
            key = (row.topic, row.kafka_partition)
            n, negative, score_sum = sums.get(key, (0, 0, 0))
            sums[key] = (n + row.n, negative + row.negative, score_sum + row.score_sum)
    return sums

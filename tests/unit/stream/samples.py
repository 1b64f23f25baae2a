"""Documents and dead letters for the tests of the store, and short ways to write and count them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, func, select

from stream.domain.documents import EPOCH, Document, Kind, Prediction, TextInput
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

"""Correcting the sums, and restoring documents, on both databases."""

from datetime import timedelta

from sqlalchemy import func, select, update

from stream.domain.documents import Document, Kind
from stream.domain.records import ClassifiedDocument, MessagePosition, Partition
from stream.domain.sums import SUM_FIELDS
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.recount import recount
from tests.unit.stream.samples import (
    ALL_TIMES,
    NOW,
    no_messages,
    predict_with,
    sums_by_topic,
    write_thirty,
)


def test_wrong_sums_are_corrected_and_right_ones_are_left(store: Store) -> None:
    write_thirty(store)
    right = sums_by_topic(store)
    table = schema.aggregates
    with database.writing(store.engine) as connection:
        first, second, _ = connection.scalars(select(table.c.window_start).limit(3))
        connection.execute(table.delete().where(table.c.window_start == first))
        connection.execute(update(table).where(table.c.window_start == second).values(n=7, score_sum=1))
        without_documents = {
            "window_start": NOW.replace(second=0) - timedelta(days=3),
            "topic": "Ghost",
            "kind": "news",
            "kafka_partition": 0,
            **dict.fromkeys(SUM_FIELDS, 1),
        }
        connection.execute(table.insert(), without_documents)
    assert sums_by_topic(store) != right
    assert recount(store, ALL_TIMES) == 3
    assert sums_by_topic(store) == right
    assert recount(store, ALL_TIMES) == 0


def test_wrong_hours_and_days_are_corrected(store: Store) -> None:
    write_thirty(store)
    rollups = schema.rollups
    with database.writing(store.engine) as connection:
        connection.execute(update(rollups).where(rollups.c.width == schema.DAY).values(n=rollups.c.n + 5))
        connection.execute(rollups.delete().where(rollups.c.width == schema.HOUR))
    assert recount(store, ALL_TIMES) > 0
    assert recount(store, ALL_TIMES) == 0
    with database.reading(store.engine) as connection:
        for width in schema.ROLLUP_WIDTHS:
            total = select(func.sum(rollups.c.n)).where(rollups.c.width == width)
            assert connection.scalar(total) == sum(n for n, _, _ in sums_by_topic(store).values())


def test_missing_documents_are_restored_and_stored_ones_are_not_counted_again(store: Store) -> None:
    write_thirty(store)
    before = sums_by_topic(store)
    position = MessagePosition(Kind.NEWS, Partition("c", "news", 0), 3, b"{}")
    missing = Document("new", Kind.NEWS, "wire", NOW, title="plain news")
    stored = Document("d000", Kind.NEWS, "wire", NOW, title="rate cut")
    items = [
        ClassifiedDocument(position, document, predict_with("one", document.title))
        for document in (missing, stored)
    ]
    new, corrected = store.restore(items, no_messages, NOW)
    assert [item.document.id for item in new] == ["new"] and not corrected
    n, negative, total = before["Macro", 0]
    assert sums_by_topic(store) == before | {("Macro", 0): (n + 1, negative, total + 5000)}

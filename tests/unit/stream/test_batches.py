"""Writing batches on both databases: every message and every document counts once."""

import threading
from datetime import timedelta

import pytest
from msgspec import structs
from sqlalchemy import select

from stream.domain.errors import StoreRefused
from stream.domain.records import (
    Batch,
    ClassifiedDocument,
    Partition,
)
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.outbox import Outbox, decode_messages
from tests.conftest import next_offsets
from tests.unit.stream.samples import (
    NEWS_0,
    NEWS_1,
    NOW,
    classified,
    dead_letter,
    no_messages,
    row_count,
    write,
)


def test_a_batch_that_is_delivered_twice_is_written_once(store: Store) -> None:
    batch = [classified("a", 0), classified("b", 1, score=0.25, sentiment="positive"), dead_letter(2)]
    first = store.write(Batch(batch), no_messages, NOW)
    again = store.write(Batch(batch), no_messages, NOW)
    assert (len(first.documents), len(first.dead_letters), first.skipped) == (2, 1, {})
    assert (len(again.documents), len(again.dead_letters)) == (0, 0)
    assert again.skipped == {("news", "redelivered"): 3}
    (total,) = store.reads.sums(NOW - timedelta(minutes=1), NOW)
    assert (total.n, total.negative, total.positive, total.score_sum) == (2, 1, 1, -2500)
    assert total.score_squares == 5000**2 + 2500**2
    assert row_count(store, schema.documents) == 2
    assert row_count(store, schema.dead_letters) == 1
    assert next_offsets(store, "cluster/a") == {("news", 0): 3}


def test_stored_keys_are_those_of_written_documents(store: Store) -> None:
    document = classified("a", 0)
    store.write(Batch([document, dead_letter(1)]), no_messages, NOW)
    assert store.stored_versions([document.key, "news:wire:never-written"]) == {document.key: None}
    assert store.stored_versions([]) == {}


def test_a_document_that_is_sent_again_under_another_offset_or_partition_counts_once(store: Store) -> None:
    write(store, classified("a", 0), classified("a", 1))
    again = store.write(Batch([classified("a", 7, NEWS_1)]), no_messages, NOW)
    assert again.skipped == {("news", "repeat"): 1}
    assert store.reads.sums(NOW - timedelta(hours=1), NOW)[0].n == 1
    assert next_offsets(store, "cluster/a") == {("news", 0): 2, ("news", 1): 8}


def test_missing_offsets_are_counted_and_offsets_never_go_back(store: Store) -> None:
    first = store.write(Batch([classified("a", 90)]), no_messages, NOW)
    second = store.write(Batch([classified("c", 100)]), no_messages, NOW)
    third = store.write(Batch([classified("b", 40)]), no_messages, NOW)
    assert (first.missing_offsets, second.missing_offsets, third.missing_offsets) == (0, 9, 0)
    assert next_offsets(store, "cluster/a") == {("news", 0): 101}
    assert row_count(store, schema.documents) == 2


def test_a_new_incarnation_of_a_topic_starts_again_at_zero(store: Store) -> None:
    write(store, classified("a", 50))
    write(store, classified("b", 0, Partition("cluster/b", "news", 0)))
    assert row_count(store, schema.documents) == 2
    assert next_offsets(store, "cluster/b") == {("news", 0): 1}


def test_two_workers_that_write_the_same_documents_count_each_once(store: Store) -> None:
    batches = [
        [classified(str(i), i, partition) for i in order]
        for partition, order in ((NEWS_0, range(200)), (NEWS_1, reversed(range(200))))
    ]
    errors: list[BaseException] = []

    def write_in_parts(batch: list[ClassifiedDocument]) -> None:
        try:
            for at in range(0, 200, 20):
                write(store, *batch[at : at + 20])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write_in_parts, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(part.n for part in store.reads.sums(NOW - timedelta(hours=1), NOW)) == 200
    assert row_count(store, schema.documents) == 200


@pytest.mark.parametrize("database_settings", ["postgresql"], indirect=True)
def test_a_batch_with_a_value_that_the_database_cannot_store_is_refused_as_a_whole(store: Store) -> None:
    with pytest.raises(StoreRefused):
        write(store, classified("a", 0), classified("b", 1, title="a \0 b"))
    assert row_count(store, schema.documents) == 0
    assert next_offsets(store, "cluster/a") == {}


def test_messages_are_queued_with_the_batch_and_only_for_what_is_new(store: Store) -> None:
    outbound = BatchOutbound(KafkaSettings())
    for _ in range(2):
        store.write(Batch([classified("a", 0), dead_letter(1)]), outbound, NOW)
    outbox = Outbox(store.engine)
    entries = outbox.due(["kafka:predictions", "kafka:dead-letters"], NOW, 10)
    assert [entry.target for entry in entries] == ["kafka:predictions", "kafka:dead-letters"]
    (prediction,) = decode_messages(entries[0].body)
    assert prediction.key == "news:wire:a"
    (letter,) = decode_messages(entries[1].body)
    assert letter.key == "news[0]@1:cluster/a"
    assert b"payload_base64" in letter.value
    outbox.mark_done(entries, "sent", NOW)
    assert row_count(store, schema.outbox) == 0


def test_an_uncertain_document_is_counted_in_a_column_of_its_own(store: Store) -> None:
    certain, uncertain = classified("a", 0), classified("b", 1)
    prediction = structs.replace(uncertain.prediction, certain=False)
    uncertain = structs.replace(uncertain, prediction=prediction)
    write(store, certain, uncertain)
    (total,) = store.reads.sums(NOW - timedelta(days=1), NOW + timedelta(days=1))
    assert (total.n, total.uncertain) == (2, 1)
    assert total.positive + total.neutral + total.negative == 1
    with database.reading(store.engine) as connection:
        table = schema.documents
        rows = connection.execute(select(table.c.status, table.c.sentiment).order_by(table.c.id)).all()
    assert rows[1] == ("uncertain", None)
    assert rows[0].status == "ok" and rows[0].sentiment is not None

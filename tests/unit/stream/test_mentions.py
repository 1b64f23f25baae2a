"""The entities that documents are about, their sums, and the events of later changes, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import delete, select, update

from stream.domain.records import Batch, ClassifiedDocument
from stream.domain.sums import TimeRange, relevance_band
from stream.storage import database, retention, schema
from stream.storage.batches import Store
from stream.storage.entities import EntityRow, store_entities
from stream.storage.events import EventCause
from stream.storage.recount import recount
from stream.storage.relabel import relabel
from tests.unit.stream.samples import (
    ALL_TIMES,
    NEWS_0,
    NEWS_1,
    NOW,
    about,
    classified,
    events,
    mention,
    mentions_of,
    no_messages,
    row_count,
    sums_by_entity,
    write,
)

LATER = NOW + timedelta(minutes=30)


def corrected(item: ClassifiedDocument, title: str) -> ClassifiedDocument:
    """A newer version of a story."""
    document = structs.replace(item.document, title=title, updated_at=NOW + timedelta(minutes=20))
    return structs.replace(item, document=document)


def test_mentions_and_their_sums_are_written_with_the_document(store: Store) -> None:
    write(
        store,
        about(classified("a", 0), mention("XNAS:AAPL"), mention("cb:FED", 0.25, 10)),
        about(classified("b", 1), mention("XNAS:AAPL", 0.0, 100)),
        about(classified("c", 0, NEWS_1), mention("XNAS:AAPL", None)),
        classified("d", 1, NEWS_1),
    )
    assert mentions_of(store) == {
        ("a", "XNAS:AAPL"): (70, "negative", -5000),
        ("a", "cb:FED"): (10, "positive", 2500),
        ("b", "XNAS:AAPL"): (100, None, 0),
        ("c", "XNAS:AAPL"): (70, None, None),
    }
    assert sums_by_entity(store) == {"XNAS:AAPL": (2, 1, -5000), "cb:FED": (1, 0, 2500)}
    with database.reading(store.engine) as connection:
        rows = connection.execute(select(schema.mentions).where(schema.mentions.c.entity == "cb:FED"))
        (row,) = rows
        bands = connection.execute(
            select(schema.entity_aggregates.c.entity, schema.entity_aggregates.c.band).distinct()
        )
        assert set(map(tuple, bands)) == {("XNAS:AAPL", 60), ("XNAS:AAPL", 80), ("cb:FED", 0)}
        gazetteers = set(connection.scalars(select(schema.documents.c.gazetteer)))
    assert (row.kind, row.published_at, row.received_at, row.kafka_partition) == ("news", NOW, NOW, 0)
    assert (row.published_precision, row.of_target, row.spans) == ("exact", False, [[0, 6]])
    assert gazetteers == {"g-1", None}
    assert recount(store, ALL_TIMES) == 0 and not events(store)


def test_mentions_of_an_unsupported_document_have_no_score_and_are_in_no_sum(store: Store) -> None:
    item = about(classified("a", 0), mention("XNAS:AAPL"))
    nothing = {"topic": None, "sentiment": None, "score": None, "probabilities": {}}
    write(store, structs.replace(item, prediction=structs.replace(item.prediction, **nothing)))
    assert mentions_of(store) == {("a", "XNAS:AAPL"): (70, None, None)}
    assert sums_by_entity(store) == {}


def test_documents_that_are_sent_or_delivered_again_count_once_for_their_entities(store: Store) -> None:
    item = about(classified("a", 0), mention("XNAS:AAPL"))
    write(store, item)
    write(store, item)
    write(store, about(classified("a", 5, NEWS_1), mention("XNAS:AAPL"), mention("cb:FED")))
    store.restore([item], no_messages, NOW)
    assert sums_by_entity(store) == {"XNAS:AAPL": (1, 1, -5000)}


def test_a_document_deleted_by_hand_is_written_again_with_its_mentions(store: Store) -> None:
    """Such as from a backup of some tables: its mentions may still be there."""
    write(store, about(classified("a", 0), mention("XNAS:AAPL")))
    with database.writing(store.engine) as connection:
        for table in (schema.documents, schema.aggregates, schema.rollups, schema.offsets):
            connection.execute(delete(table))
    write(store, about(classified("a", 0), mention("XNAS:AAPL", 0.25, 10)))
    assert mentions_of(store) == {("a", "XNAS:AAPL"): (10, "positive", 2500)}
    assert recount(store, ALL_TIMES) > 0
    assert sums_by_entity(store) == {"XNAS:AAPL": (1, 0, 2500)}


def test_a_corrected_story_takes_its_mentions_along(store: Store) -> None:
    item = about(classified("a", 0), mention("XNAS:AAPL"), mention("cb:FED", 0.25, 10))
    write(store, item)
    changed = about(
        classified("a", 9, NEWS_1, score=0.4, sentiment="positive"),
        mention("cb:FED", 0.5, 90),
        mention("crypto:BTC"),
        gazetteer="g-2",
    )
    store.write(Batch([corrected(changed, "Shares rise")]), no_messages, LATER)
    assert mentions_of(store) == {
        ("a", "cb:FED"): (90, "positive", 5000),
        ("a", "crypto:BTC"): (70, "negative", -5000),
    }
    assert sums_by_entity(store) == {"cb:FED": (1, 0, 5000), "crypto:BTC": (1, 1, -5000)}
    with database.reading(store.engine) as connection:
        partitions = set(connection.scalars(select(schema.mentions.c.kafka_partition)))
        times = set(connection.scalars(select(schema.mentions.c.received_at)))
    assert (partitions, times) == ({NEWS_0.number}, {LATER})
    assert recount(store, ALL_TIMES) == 0
    (event,) = events(store)
    assert (event.sequence, event.at, event.cause) == (1, LATER, EventCause.CORRECTED)
    assert event.text_received_at == NOW
    assert event.old == {
        "status": "ok",
        "topic": "Earnings",
        "sentiment": "negative",
        "score": -5000,
        "model": "m-1",
        "gazetteer": "g-1",
        "received_at": "2026-03-01T12:00:30Z",
        "updated_at": None,
        "events": [],
        "mentions": [
            {"entity": "XNAS:AAPL", "relevance": 70, "sentiment": "negative", "score": -5000},
            {"entity": "cb:FED", "relevance": 10, "sentiment": "positive", "score": 2500},
        ],
        "title": "Shares fall",
        "text": "",
    }
    assert (event.new["title"], event.new["score"], event.new["gazetteer"]) == ("Shares rise", 4000, "g-2")
    assert [each["entity"] for each in event.new["mentions"]] == ["cb:FED", "crypto:BTC"]


def test_another_model_replaces_mentions_by_exact_differences(store: Store) -> None:
    write(
        store,
        about(classified("a", 0), mention("XNAS:AAPL"), mention("cb:FED", 0.25)),
        about(classified("b", 1), mention("XNAS:AAPL", 0.5)),
    )

    def classify(inputs: Any) -> Any:
        item = about(classified("x", 0, score=0.1, sentiment="neutral"), mention("XNAS:AAPL", 0.1, 30))
        return [structs.replace(item.prediction, model="two") for _ in inputs]

    done = relabel(store, ALL_TIMES, "two", classify=classify, outbound=no_messages, clock=lambda: LATER)
    assert done == 2
    assert sums_by_entity(store) == {"XNAS:AAPL": (2, 0, 2000)}
    assert recount(store, ALL_TIMES) == 0
    assert [(row.cause, row.sequence, "title" in row.old) for row in events(store)] == [
        ("relabelled", 1, False),
        ("relabelled", 1, False),
    ]
    with database.reading(store.engine) as connection:
        assert set(connection.scalars(select(schema.mentions.c.received_at))) == {NOW}


def test_events_of_a_document_are_in_order_whatever_the_clocks_say(store: Store) -> None:
    item = about(classified("a", 0), mention("XNAS:AAPL"))
    write(store, item)
    store.write(
        Batch([corrected(structs.replace(item, position=classified("a", 1).position), "Two")]),
        no_messages,
        LATER,
    )
    third = structs.replace(
        corrected(item, "Three"),
        document=structs.replace(item.document, title="Three", updated_at=LATER),
        position=classified("a", 2).position,
    )
    store.write(Batch([third]), no_messages, NOW)
    assert [(row.sequence, row.at, row.new["title"]) for row in events(store)] == [
        (1, LATER, "Two"),
        (2, LATER, "Three"),
    ]


def test_wrong_sums_of_entities_are_corrected(store: Store) -> None:
    for number in range(6):
        at = NOW - number * timedelta(hours=7)
        write(store, about(classified(f"d{number}", number, at=at), mention("XNAS:AAPL"), mention("cb:FED")))
    right = sums_by_entity(store)
    table = schema.entity_aggregates
    is_hour = table.c.width == schema.HOUR
    with database.writing(store.engine) as connection:
        first, second, _ = connection.scalars(select(table.c.window_start).where(is_hour).distinct().limit(3))
        connection.execute(table.delete().where(table.c.window_start == first, is_hour))
        wrong = update(table).where(table.c.window_start == second, is_hour).values(n=7, score_sum=1)
        connection.execute(wrong)
        ghost = select(table).where(is_hour).limit(1)
        row = dict(connection.execute(ghost).one()._mapping)
        connection.execute(table.insert(), row | {"entity": "Ghost", "band": 0})
        day = update(table).where(table.c.width == schema.DAY, table.c.entity == "cb:FED").values(n=99)
        connection.execute(day)
    assert recount(store, ALL_TIMES) > 5
    assert sums_by_entity(store) == right
    assert recount(store, ALL_TIMES) == 0


def test_an_erased_text_takes_the_places_of_its_mentions_along_and_leaves_their_sums(store: Store) -> None:
    write(store, about(classified("a", 0), mention("XNAS:AAPL")), classified("b", 1))
    before = sums_by_entity(store)
    retention.purge(store, NOW + timedelta(seconds=1), LATER)
    assert mentions_of(store) == {("a", "XNAS:AAPL"): (70, "negative", -5000)}
    assert sums_by_entity(store) == before and recount(store, ALL_TIMES) == 0
    with database.reading(store.engine) as connection:
        assert set(map(str, connection.scalars(select(schema.mentions.c.spans)))) == {"[]"}
    assert [(row.cause, row.at, row.old, row.new) for row in events(store)] == [("erased", LATER, {}, {})] * 2
    retention.purge(store, NOW + timedelta(seconds=2), LATER)
    assert len(events(store)) == 2


def test_texts_in_events_are_erased_by_the_time_each_was_received(store: Store) -> None:
    item = about(classified("a", 0), mention("XNAS:AAPL"))
    write(store, item)
    again = structs.replace(item, position=classified("a", 1).position)
    store.write(Batch([corrected(again, "Shares rise")]), no_messages, LATER)

    def titles() -> list[tuple[str, str]]:
        return [(row.old["title"], row.new["title"]) for row in events(store) if row.cause == "corrected"]

    retention.purge(store, NOW, LATER)
    assert titles() == [("Shares fall", "Shares rise")]
    retention.purge(store, LATER, LATER)
    assert titles() == [("", "Shares rise")]
    retention.purge(store, LATER + timedelta(seconds=1), LATER)
    assert titles() == [("", "")]
    with database.reading(store.engine) as connection:
        assert connection.scalar(select(schema.document_events.c.text_received_at)) is None
        assert connection.scalar(select(schema.documents.c.title)) == ""


def test_names_of_entities_are_stored_once_for_each_version_of_the_list(store: Store) -> None:
    apple = EntityRow("XNAS:AAPL", "company", "Apple", "苹果")
    fed = EntityRow("cb:FED", "central_bank", "Federal Reserve", None)
    assert store_entities(store, "g-1", [fed, apple])
    assert not store_entities(store, "g-1", [fed, apple])
    assert store_entities(store, "g-2", [structs.replace(apple, name="Apple Inc.")])
    with database.reading(store.engine) as connection:
        rows = connection.execute(select(schema.entities).order_by(schema.entities.c.id))
        assert list(map(tuple, rows)) == [
            ("XNAS:AAPL", "company", "Apple Inc.", "苹果"),
            ("cb:FED", "central_bank", "Federal Reserve", None),
        ]
    assert store_entities(store, "g-1", [apple]), "an older list may come back"


@pytest.mark.parametrize(
    ("relevance", "band"), [(0, 0), (19, 0), (20, 20), (39, 20), (59, 40), (79, 60), (80, 80), (100, 80)]
)
def test_bands_of_relevance_begin_at_multiples_of_twenty(relevance: int, band: int) -> None:
    assert relevance_band(relevance) == band


def test_a_batch_that_fails_leaves_no_mention(store: Store) -> None:
    def fail(_documents: Any, _letters: Any) -> Any:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write(Batch([about(classified("a", 0), mention("XNAS:AAPL"))]), fail, NOW)
    assert row_count(store, schema.mentions) == row_count(store, schema.entity_aggregates) == 0
    assert recount(store, TimeRange(*ALL_TIMES)) == 0

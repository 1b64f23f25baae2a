"""Searching stored documents for the entities of another list, on both databases."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import select

from stream.domain.documents import HEARTBEAT_SOURCE, Document, Kind, Prediction, TextInput
from stream.domain.records import ClassifiedDocument
from stream.domain.sums import TimeRange
from stream.storage import backfill, database, retention, schema
from stream.storage.backfill import backfill_entities, count_erased, count_outdated
from stream.storage.batches import Store
from stream.storage.recount import recount
from tests.unit.stream.samples import (
    ALL_TIMES,
    NOW,
    about,
    classified,
    events,
    mention,
    mentions_of,
    sums_by_entity,
    sums_by_topic,
    write,
    write_thirty,
)


def find(inputs: Sequence[TextInput], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Finds the central bank in rate cuts, with half of the text's score."""
    return [
        structs.replace(
            prediction,
            entities=(mention("cb:FED", (prediction.score or 0) / 2),) if "rate" in item.text else (),
        )
        for item, prediction in zip(inputs, predictions, strict=True)
    ]


def run(
    store: Store,
    published: TimeRange = ALL_TIMES,
    gazetteer: str = "g-2",
    find: Callable[..., Any] = find,
    progress: Callable[[int], object] = lambda documents: None,
) -> int:
    return backfill_entities(store, published, gazetteer, find=find, clock=lambda: NOW, progress=progress)


def test_documents_of_another_list_get_its_entities_and_keep_their_labels(store: Store) -> None:
    write_thirty(store)
    topics = sums_by_topic(store)
    assert count_outdated(store, ALL_TIMES, "g-2") == 30
    steps: list[int] = []
    assert run(store, progress=steps.append) == 30 == sum(steps)
    assert sums_by_entity(store) == {"cb:FED": (10, 0, 25_000)}
    assert sums_by_topic(store) == topics and recount(store, ALL_TIMES) == 0
    with database.reading(store.engine) as connection:
        assert set(connection.scalars(select(schema.documents.c.gazetteer))) == {"g-2"}
    rows = events(store)
    assert len(rows) == 10, "a document with the same entities as before has not changed"
    assert {(row.cause, row.old["gazetteer"], row.new["gazetteer"]) for row in rows} == {
        ("entities", None, "g-2")
    }
    assert count_outdated(store, ALL_TIMES, "g-2") == 0 == run(store)


def test_a_list_that_finds_the_same_writes_no_mention_and_no_event(store: Store) -> None:
    write_thirty(store)
    run(store)
    assert run(store, gazetteer="g-3") == 30
    assert len(events(store)) == 10 and len(mentions_of(store)) == 10


def test_an_interrupted_run_continues_where_it_stopped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "CHUNK", 7)
    write_thirty(store)

    def interrupt(_documents: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, progress=interrupt)
    assert count_outdated(store, ALL_TIMES, "g-2") == 23
    assert recount(store, ALL_TIMES) == 0, "sums and mentions agree half way too"
    assert run(store) == 23
    assert sums_by_entity(store) == {"cb:FED": (10, 0, 25_000)}


def test_only_the_time_range_is_searched_and_erased_texts_are_left_and_counted(store: Store) -> None:
    write_thirty(store)
    hour = TimeRange(NOW - timedelta(hours=1), NOW + timedelta(seconds=1))
    assert run(store, hour) == 7
    retention.purge(store, NOW + timedelta(seconds=1), NOW)
    assert run(store, gazetteer="g-3") == 0
    assert (count_outdated(store, ALL_TIMES, "g-3"), count_erased(store, ALL_TIMES, "g-3")) == (0, 30)
    assert mentions_of(store), "what was found before stays"


def test_a_document_that_changes_while_it_is_searched_is_searched_again(store: Store) -> None:
    item = about(classified("a", 0, title="rate cut"), mention("XNAS:AAPL"))
    write(store, item)
    newer = structs.replace(
        item,
        document=structs.replace(item.document, title="no cut of the rate", updated_at=NOW),
        position=classified("a", 1).position,
    )
    seen: list[str] = []

    def find_slowly(inputs: Any, predictions: Any) -> Any:
        if not seen:
            write(store, newer)
        seen.extend(each.text for each in inputs)
        return find(inputs, predictions)

    assert run(store, find=find_slowly) == 1
    assert seen == ["rate cut", "no cut of the rate"]
    assert mentions_of(store) == {("a", "cb:FED"): (70, "negative", -2500)}
    assert recount(store, ALL_TIMES) == 0
    assert [(row.cause, row.sequence) for row in events(store)] == [("corrected", 1), ("entities", 2)]


def test_what_is_handed_over_is_what_was_stored(store: Store) -> None:
    """Of an uncertain, an unsupported and an ordinary document; heartbeats are about nobody."""
    plain, unsure, without = classified("a", 0), classified("b", 1), classified("c", 2)
    unsure = structs.replace(unsure, prediction=structs.replace(unsure.prediction, certain=False))
    without = structs.replace(without, prediction=Prediction("m-1", "zxx"))
    beat = Document("beat", Kind.NEWS, HEARTBEAT_SOURCE, NOW, text="-")
    heartbeat = ClassifiedDocument(classified("d", 3).position, beat, Prediction("m-1", "zxx"))
    write(store, plain, unsure, without, heartbeat)
    handed: dict[str, Prediction] = {}

    def look(inputs: Any, predictions: Any) -> Any:
        handed.update(zip("abc", predictions, strict=True))
        return predictions

    assert run(store, find=look) == 3
    assert handed["a"] == structs.replace(plain.prediction)
    assert (handed["b"].certain, handed["b"].sentiment, handed["b"].score) == (False, None, -0.5)
    assert (handed["c"].status, handed["c"].score) == ("unsupported", None)
    assert recount(store, ALL_TIMES) == 0 and not events(store)

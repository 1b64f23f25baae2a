"""The events that documents report: stored with them, counted for rules, and replaced, on both databases."""

from datetime import timedelta

import pytest
from msgspec import structs
from sqlalchemy import delete, insert, select, update

from stream.domain.documents import HEARTBEAT_SOURCE, EventLabel
from stream.domain.records import ClassifiedDocument
from stream.domain.sums import MentionSelection, Scope, Selection
from stream.storage import database, retention, schema
from stream.storage.batches import Store
from stream.storage.recount import recount
from stream.storage.relabel import relabel
from tests.unit.stream.samples import (
    ALL_TIMES,
    NOW,
    about,
    classified,
    events,
    mention,
    no_messages,
    row_count,
    write,
)

LATER = NOW + timedelta(minutes=30)
DEFAULT, RECALL = Selection(events=("default",)), Selection(events=("recall", "default"))


def reporting(item: ClassifiedDocument, **reported: float) -> ClassifiedDocument:
    labels = tuple(EventLabel(name, probability) for name, probability in reported.items())
    return structs.replace(item, prediction=structs.replace(item.prediction, events=labels))


def labels_of(store: Store) -> set[tuple[str, str, float]]:
    table = schema.event_labels
    with database.reading(store.engine) as connection:
        return {
            (row.key.rsplit(":", 1)[1], row.type, row.probability)
            for row in connection.execute(select(table))
        }


@pytest.fixture
def filled(store: Store) -> Store:
    """Three documents, two of which report a default, one of them a recall too."""
    write(
        store,
        about(reporting(classified("a", 0), default=0.9, recall=0.6), mention("XNAS:AAPL")),
        reporting(classified("b", 1, score=0.25, sentiment="positive"), default=0.75),
        classified("c", 2),
    )
    return store


def test_events_are_written_with_the_document_and_once_for_one_that_is_sent_again(filled: Store) -> None:
    write(filled, reporting(classified("a", 3), default=0.9, strike=0.9))
    assert labels_of(filled) == {("a", "default", 0.9), ("a", "recall", 0.6), ("b", "default", 0.75)}
    with database.reading(filled.engine) as connection:
        stored = list(connection.scalars(select(schema.documents.c.events).order_by(schema.documents.c.key)))
    assert stored == [[["default", 0.9], ["recall", 0.6]], [["default", 0.75]], []]


def test_sums_of_a_selection_count_each_document_with_one_of_its_events_once(filled: Store) -> None:
    start, end = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    for selection in (DEFAULT, RECALL):
        (total,) = filled.reads.sums(start, end, selection)
        assert (total.n, total.positive, total.negative, total.score_sum) == (2, 1, 1, -2500)
    assert filled.reads.sums(start, NOW, DEFAULT) == []
    (cell,) = filled.reads.sums_by_window(
        start, end, timedelta(minutes=15), Selection(events=("recall",), sources=("wire",))
    )
    assert (cell.n, cell.start) == (1, NOW.replace(second=0))
    (of_entity,) = filled.reads.entity_sums(start, end, MentionSelection(documents=DEFAULT))
    assert (of_entity.topic, of_entity.n) == ("XNAS:AAPL", 1)
    assert (
        filled.reads.entity_sums(start, end, MentionSelection(documents=Selection(events=("strike",)))) == []
    )


def test_evidence_of_a_selection_names_the_events_of_its_documents(filled: Store) -> None:
    scope = Scope(None, ("news",), NOW - timedelta(hours=1), LATER, DEFAULT)
    items = filled.reads.most_negative(scope, 5)
    assert [(item.id, item.events) for item in items] == [("a", ("default", "recall")), ("b", ("default",))]
    assert filled.reads.negative_writers(scope) == ({"wire": 1}, 0)


def test_a_corrected_story_has_the_events_of_its_new_text(filled: Store) -> None:
    newer = reporting(classified("a", 3, title="Bonds repaid"), bankruptcy=0.8)
    newer = structs.replace(newer, document=structs.replace(newer.document, updated_at=LATER))
    write(filled, newer)
    assert labels_of(filled) == {("a", "bankruptcy", 0.8), ("b", "default", 0.75)}
    (event,) = events(filled)
    assert (event.old["events"], event.new["events"]) == (["default", "recall"], ["bankruptcy"])


def test_another_model_replaces_the_events(filled: Store) -> None:
    new = [EventLabel("default", 0.95)]
    prediction = structs.replace(classified("a", 0).prediction, model="m-2", events=tuple(new))
    relabel(
        filled,
        ALL_TIMES,
        "m-2",
        classify=lambda inputs: [prediction] * len(inputs),
        outbound=no_messages,
        clock=lambda: LATER,
    )
    assert labels_of(filled) == {(key, "default", 0.95) for key in "abc"}
    assert recount(filled, ALL_TIMES) == 0


def test_a_recount_makes_the_events_equal_to_those_of_the_documents(filled: Store) -> None:
    right, table = labels_of(filled), schema.event_labels
    assert recount(filled, ALL_TIMES) == 0
    with database.writing(filled.engine) as connection:
        connection.execute(delete(table).where(table.c.type == "recall"))
        connection.execute(update(table).where(table.c.probability == 0.75).values(probability=0.1))
        surplus = {"key": "news:wire:gone", "type": "fine", "published_at": NOW, "probability": 0.5}
        days_ago = surplus | {"key": "news:wire:old", "published_at": NOW - timedelta(days=3)}
        connection.execute(insert(table), [surplus, days_ago])
    assert recount(filled, ALL_TIMES) == 4
    assert labels_of(filled) == right


def test_events_outlive_the_text_and_go_with_a_heartbeat(filled: Store) -> None:
    beat = reporting(classified("beat", 3), strike=0.9)
    write(filled, structs.replace(beat, document=structs.replace(beat.document, source=HEARTBEAT_SOURCE)))
    assert ("beat", "strike", 0.9) in labels_of(filled)
    retention.purge(filled, LATER, NOW + timedelta(days=2))
    assert labels_of(filled) == {("a", "default", 0.9), ("a", "recall", 0.6), ("b", "default", 0.75)}
    assert row_count(filled, schema.documents) == 3

"""Classifying stored documents again, on both databases: documents and sums always agree."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from msgspec import structs
from sqlalchemy import select

from stream.domain.documents import Prediction, TextInput
from stream.domain.sums import TimeRange
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.storage import database, relabel, retention, schema
from stream.storage.batches import Store
from stream.storage.outbox import Outbox, decode_messages
from stream.storage.recount import recount
from stream.storage.relabel import count_outdated
from tests.unit.stream.samples import (
    ALL_TIMES,
    NOW,
    classified,
    classify_with_two,
    sums_by_topic,
    write,
    write_thirty,
)

WITHOUT_PREDICTIONS = BatchOutbound(KafkaSettings(), publish_predictions=False)


def relabel_with_two(
    store: Store,
    published: TimeRange = ALL_TIMES,
    outbound: BatchOutbound = WITHOUT_PREDICTIONS,
    progress: Callable[[int], object] = lambda documents: None,
) -> int:
    return relabel.relabel(
        store,
        published,
        "two",
        classify=classify_with_two,
        outbound=outbound,
        clock=lambda: NOW,
        progress=progress,
    )


def labels(store: Store) -> set[tuple[str, str | None, str | None, str]]:
    """Title, topic, sentiment and model of all documents."""
    with database.reading(store.engine) as connection:
        rows = connection.execute(select(schema.documents))
        return {(row.title, row.topic, row.sentiment, row.model) for row in rows}


def test_another_model_changes_labels_and_sums_to_the_digit(store: Store) -> None:
    write_thirty(store)
    assert sums_by_topic(store) == {("Macro", 0): (15, 0, 75_000), ("Macro", 1): (15, 0, 75_000)}
    assert count_outdated(store, ALL_TIMES, "two") == 30
    outbound, steps = BatchOutbound(KafkaSettings()), list[int]()
    assert relabel_with_two(store, outbound=outbound, progress=steps.append) == 30
    assert labels(store) == {
        ("rate cut", "Fed", "negative", "two"),
        ("plain news", "Macro", "negative", "two"),
        ("nothing to say", None, None, "two"),
    }
    assert sums_by_topic(store) == {
        ("Fed", 0): (5, 5, -12_500),
        ("Fed", 1): (5, 5, -12_500),
        ("Macro", 0): (5, 5, -12_500),
        ("Macro", 1): (5, 5, -12_500),
    }
    assert recount(store, ALL_TIMES) == 0
    assert sum(steps) == 30 and relabel_with_two(store, outbound=outbound) == 0
    assert len(Outbox(store.engine).due(["kafka:predictions"], NOW, 9)) == 1


def test_an_interrupted_run_continues_where_it_stopped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relabel, "CHUNK", 7)
    write_thirty(store)

    def interrupt(_documents: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relabel_with_two(store, progress=interrupt)
    assert count_outdated(store, ALL_TIMES, "two") == 23
    assert recount(store, ALL_TIMES) == 0, "sums and documents agree half way too"
    assert relabel_with_two(store) == 23


def test_only_the_time_range_is_classified_and_erased_documents_are_skipped(store: Store) -> None:
    write_thirty(store)
    hour = TimeRange(NOW - timedelta(hours=1), NOW + timedelta(seconds=1))
    assert relabel_with_two(store, hour) == 7
    retention.purge(store, NOW + timedelta(seconds=1), NOW)
    assert relabel_with_two(store) == 0


def test_the_version_of_two_models_counts_as_one_whichever_of_them_labels_a_text(store: Store) -> None:
    write_thirty(store)

    def classify_with_both(inputs: Sequence[TextInput]) -> list[Prediction]:
        return [
            structs.replace(one, judged_by=None if one.topic is None else ("small", "large")[index % 2])
            for index, one in enumerate(classify_with_two(inputs))
        ]

    def relabel_with_both() -> int:
        return relabel.relabel(
            store,
            ALL_TIMES,
            "two",
            classify=classify_with_both,
            outbound=WITHOUT_PREDICTIONS,
            clock=lambda: NOW,
        )

    assert relabel_with_both() == 30
    with database.reading(store.engine) as connection:
        rows = connection.execute(select(schema.documents.c.model, schema.documents.c.judged_by))
        assert set(rows) == {("two", "small"), ("two", "large"), ("two", None)}
    assert count_outdated(store, ALL_TIMES, "two") == relabel_with_both() == 0
    assert {model for _, model in store.reads.count_by_model(ALL_TIMES.start, ALL_TIMES.end)} == {"two"}


def test_a_prediction_of_another_model_still_names_the_trace_of_the_message(store: Store) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    item = classified("a", 0, title="rate cut")
    write(store, structs.replace(item, position=structs.replace(item.position, traceparent=trace)))
    assert relabel_with_two(store, outbound=BatchOutbound(KafkaSettings())) == 1
    (entry,) = Outbox(store.engine).due(["kafka:predictions"], NOW, 9)
    assert [message.traceparent for message in decode_messages(entry.body)] == [trace]

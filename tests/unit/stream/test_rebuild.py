"""Judging and counting again, on both databases: documents and sums always agree."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from stream.domain.documents import EPOCH, Document, Kind, Prediction
from stream.domain.records import Batch, ClassifiedDocument, MessagePosition, Partition
from stream.domain.sums import TimeRange
from stream.kafka.settings import KafkaSettings
from stream.outbound import BatchOutbound
from stream.storage import database, relabel, retention, schema
from stream.storage.batches import Store
from stream.storage.outbox import Outbox
from stream.storage.recount import recount
from stream.storage.relabel import count_outdated

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
ALL = TimeRange(EPOCH, NOW + timedelta(days=1))


def said(model: str, text: str) -> Prediction:
    """Model one calls everything positive news about Macro, model two looks at the text."""
    if model == "one":
        topic, mood, score = "Macro", "positive", 0.5
    else:
        topic, mood, score = ("Fed" if "rate" in text else "Macro"), "negative", -0.25
    if "nothing" in text and model == "two":
        return Prediction(model, None)
    return Prediction(model, "en", topic, mood, score, {"topic": {topic: 1.0}, "sentiment": {mood: 1.0}})


def two(texts: Sequence[str], languages: Sequence[str | None]) -> list[Prediction]:
    return [said("two", text) for text in texts]


def relabel_with_two(
    store: Store,
    published: TimeRange,
    outbound: BatchOutbound,
    progress: Callable[[int], object] = lambda documents: None,
) -> int:
    return relabel.relabel(
        store,
        published,
        "two",
        classify=two,
        outbound=outbound,
        clock=lambda: NOW,
        progress=progress,
    )


def fill(store: Store, count: int = 30) -> None:
    texts = ("rate cut", "plain news", "nothing to say")
    batch = []
    for i in range(count):
        document = Document(f"d{i:03}", Kind.NEWS, "wire", NOW - i * timedelta(minutes=9), title=texts[i % 3])
        place = MessagePosition(Kind.NEWS, Partition("c", "news", i % 2), i, b"{}")
        batch.append(ClassifiedDocument(place, document, said("one", document.title)))
    store.write(Batch(batch), lambda new, dead: [], NOW)


def sums(store: Store) -> dict[tuple[str, int], tuple[int, int, int]]:
    """(n, negative, score sum) by topic and partition."""
    found: dict[tuple[str, int], tuple[int, int, int]] = {}
    with database.reading(store.engine) as connection:
        for row in connection.execute(select(schema.aggregates)):
            assert row.n > 0, "a row of nothing"
            old = found.get((row.topic, row.kafka_partition), (0, 0, 0))
            key = (row.topic, row.kafka_partition)
            found[key] = (old[0] + row.n, old[1] + row.negative, old[2] + row.score_sum)
    return found


def labels(store: Store) -> set[tuple[str, str | None, str | None, str]]:
    with database.reading(store.engine) as connection:
        rows = connection.execute(select(schema.documents))
        return {(row.title, row.topic, row.sentiment, row.model) for row in rows}


def test_another_model_rewrites_labels_and_sums_to_the_digit(store: Store) -> None:
    fill(store)
    assert sums(store) == {("Macro", 0): (15, 0, 75_000), ("Macro", 1): (15, 0, 75_000)}
    assert count_outdated(store, ALL, "two") == 30
    outbound, steps = BatchOutbound(KafkaSettings()), list[int]()
    assert relabel_with_two(store, ALL, outbound, steps.append) == 30
    assert labels(store) == {
        ("rate cut", "Fed", "negative", "two"), ("plain news", "Macro", "negative", "two"), ("nothing to say", None, None, "two"),
    }  # fmt: skip
    assert sums(store) == {
        ("Fed", 0): (5, 5, -12_500), ("Fed", 1): (5, 5, -12_500),
        ("Macro", 0): (5, 5, -12_500), ("Macro", 1): (5, 5, -12_500),
    }  # fmt: skip
    assert recount(store, ALL) == 0
    assert sum(steps) == 30 and relabel_with_two(store, ALL, outbound) == 0
    assert len(Outbox(store.engine).due(["kafka:predictions"], NOW, 9)) == 1


def test_a_run_that_was_cut_short_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relabel, "CHUNK", 7)
    fill(store)

    def stop(_documents: int) -> None:
        raise KeyboardInterrupt

    outbound = BatchOutbound(KafkaSettings(), publish_predictions=False)
    with pytest.raises(KeyboardInterrupt):
        relabel_with_two(store, ALL, outbound, stop)
    assert count_outdated(store, ALL, "two") == 23
    assert recount(store, ALL) == 0, "half way, sums and documents agree too"
    assert relabel_with_two(store, ALL, outbound) == 23


def test_only_the_stretch_is_judged_and_what_was_erased_is_left(store: Store) -> None:
    fill(store)
    outbound = BatchOutbound(KafkaSettings(), publish_predictions=False)
    hour = TimeRange(NOW - timedelta(hours=1), NOW + timedelta(seconds=1))
    assert relabel_with_two(store, hour, outbound) == 7
    retention.purge(store, NOW + timedelta(seconds=1), NOW)
    assert relabel_with_two(store, ALL, outbound) == 0


def test_sums_that_do_not_fit_the_documents_are_mended_and_others_left(store: Store) -> None:
    fill(store)
    right = sums(store)
    table = schema.aggregates
    with database.writing(store.engine) as connection:
        first, second, _ = connection.scalars(select(table.c.window_start).limit(3))
        connection.execute(table.delete().where(table.c.window_start == first))
        connection.execute(update(table).where(table.c.window_start == second).values(n=7, score_sum=1))
        ghost = {
            "window_start": NOW.replace(second=0) - timedelta(days=3),
            "topic": "Ghost",
            "kind": "news",
            "kafka_partition": 0,
        }
        connection.execute(
            table.insert(),
            ghost
            | dict.fromkeys(
                ("n", "positive", "neutral", "negative", "uncertain", "score_sum", "score_squares"), 1
            ),
        )
    assert sums(store) != right
    assert recount(store, ALL) == 3
    assert sums(store) == right
    assert recount(store, ALL) == 0
    longer = schema.rollups
    with database.writing(store.engine) as connection:
        connection.execute(update(longer).where(longer.c.width == schema.DAY).values(n=longer.c.n + 5))
        connection.execute(longer.delete().where(longer.c.width == schema.HOUR))
    assert recount(store, ALL) > 0
    assert recount(store, ALL) == 0
    with database.reading(store.engine) as connection:
        for width in (schema.HOUR, schema.DAY):
            total = select(func.sum(longer.c.n)).where(longer.c.width == width)
            assert connection.scalar(total) == sum(n for n, _, _ in right.values())


def test_what_is_missing_is_restored_and_what_is_there_is_not_counted_again(store: Store) -> None:
    fill(store)
    right, document = sums(store), Document("new", Kind.NEWS, "wire", NOW, title="plain news")
    place = MessagePosition(Kind.NEWS, Partition("c", "news", 0), 3, b"{}")
    known = Document("d000", Kind.NEWS, "wire", NOW, title="rate cut")
    items = [ClassifiedDocument(place, d, said("one", d.title)) for d in (document, known)]
    nothing = BatchOutbound(KafkaSettings(), publish_predictions=False)
    assert [item.document.id for item in store.restore(items, nothing, NOW)] == ["new"]
    n, negative, total = right["Macro", 0]
    assert sums(store) == right | {("Macro", 0): (n + 1, negative, total + 5000)}

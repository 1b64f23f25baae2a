"""Documents that are sent again with another text, and documents whose time is not known exactly."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from stream.domain.documents import Kind, Precision
from stream.domain.records import Batch, ClassifiedDocument, DeadLetter, OutboundMessage, Partition
from stream.domain.sums import LateWindow, Scope, Selection
from stream.metrics import StreamMetrics
from stream.storage import database, schema
from stream.storage.batches import Store
from stream.storage.recount import recount
from stream.storage.relabel import relabel
from tests.unit.stream.samples import (
    ALL_TIMES,
    NEWS_0,
    NEWS_1,
    NOW,
    classified,
    classify_with_two,
    no_messages,
    sums_by_topic,
    write,
)

MINUTE = timedelta(minutes=1)
LOSS, PROFIT = "Tarrant reports surprise loss", "CORRECTED: Tarrant reports surprise profit"


def version(
    offset: int,
    title: str,
    updated: int | None,
    *,
    partition: Partition = NEWS_0,
    **changes: Any,
) -> ClassifiedDocument:
    """The story c1 as it is sent at an offset, `updated` minutes after NOW; None if it does not say when."""
    good = "profit" in title
    item = classified(
        "c1",
        offset,
        partition,
        score=0.5 if good else -0.5,
        sentiment="positive" if good else "negative",
        title=title,
        at=changes.pop("at", NOW - timedelta(hours=1)),
    )
    updated_at = None if updated is None else NOW + updated * MINUTE
    return structs.replace(item, document=structs.replace(item.document, updated_at=updated_at, **changes))


def stored(store: Store) -> Any:
    with database.reading(store.engine) as connection:
        (row,) = connection.execute(select(schema.documents))
        return row


def sums_are_exact(store: Store) -> bool:
    return recount(store, ALL_TIMES) == 0


def test_a_newer_version_replaces_text_label_and_sums(store: Store) -> None:
    write(store, version(0, LOSS, None), classified("other", 1))
    later = NOW + timedelta(minutes=30)
    correction = version(0, PROFIT, 20, partition=NEWS_1, at=NOW, author="Ann", symbols=("TRRT",))
    result = store.write(Batch([correction]), no_messages, later)
    assert [item.document.title for item in result.corrected] == [PROFIT]
    assert not result.documents and not dict_of(result.skipped)
    with database.reading(store.engine) as connection:
        row = connection.execute(select(schema.documents).where(schema.documents.c.id == "c1")).one()
    assert (row.title, row.sentiment, row.score, row.author, row.symbols) == (
        PROFIT,
        "positive",
        5000,
        "Ann",
        ["TRRT"],
    )
    assert row.published_at == NOW - timedelta(hours=1), "it keeps its place in time"
    assert (row.kafka_partition, row.updated_at, row.received_at) == (0, NOW + 20 * MINUTE, later)
    assert sums_by_topic(store) == {("Earnings", 0): (2, 1, 0)}
    assert sums_are_exact(store)


def dict_of(skipped: Any) -> Counter[str]:
    return +Counter({reason.value: n for (_, reason), n in skipped.items()})


def test_a_version_that_is_not_newer_changes_nothing(store: Store) -> None:
    write(store, version(0, PROFIT, 20))
    for offset, (title, updated) in enumerate([(LOSS, 10), (LOSS, None), (PROFIT, 20), (PROFIT, None)], 1):
        result = write(store, version(offset, title, updated))
        assert not result.corrected and not result.documents
        assert dict_of(result.skipped)["repeat"] == 1
    assert stored(store).title == PROFIT and sums_are_exact(store)


def test_another_text_under_a_known_id_is_a_repeat_that_is_counted_apart(store: Store) -> None:
    write(store, version(0, LOSS, None))
    result = write(store, version(1, PROFIT, None), version(2, LOSS, None))
    assert dict_of(result.skipped) == {"changed": 1, "repeat": 1}
    assert stored(store).title == LOSS
    metrics = StreamMetrics(registry := CollectorRegistry())
    assert registry.get_sample_value("sentiment_documents_total", {"kind": "news", "outcome": "changed"}) == 0
    metrics.count_batch(result, NOW)
    for outcome in ("changed", "repeat"):
        labels = {"kind": "news", "outcome": outcome}
        assert registry.get_sample_value("sentiment_documents_total", labels) == 1


def test_all_versions_in_one_batch_end_with_the_newest(store: Store) -> None:
    result = write(
        store, version(0, LOSS, None), version(1, "A loss", 5), version(2, PROFIT, 20), version(3, LOSS, 10)
    )
    assert [item.document.title for item in result.documents] == [LOSS]
    assert [item.document.title for item in result.corrected] == [PROFIT]
    metrics = StreamMetrics(registry := CollectorRegistry())
    metrics.count_batch(result, NOW)
    for outcome, n in (("ok", 1), ("corrected", 1), ("repeat", 2), ("changed", 0)):
        labels = {"kind": "news", "outcome": outcome}
        assert registry.get_sample_value("sentiment_documents_total", labels) == n, outcome
    assert stored(store).title == PROFIT and sums_are_exact(store)
    assert sums_by_topic(store) == {("Earnings", 0): (1, 0, 5000)}


def test_a_newer_version_with_the_same_text_keeps_older_ones_out(store: Store) -> None:
    write(store, version(0, PROFIT, None))
    assert not write(store, version(1, PROFIT, 20)).corrected
    assert not write(store, version(2, LOSS, 10)).corrected
    assert (stored(store).title, stored(store).updated_at) == (PROFIT, NOW + 20 * MINUTE)


def test_a_correction_that_is_read_again_later_is_returned_as_such(store: Store) -> None:
    write(store, version(0, LOSS, None))
    new, corrected = store.restore([version(0, LOSS, None), version(1, PROFIT, 20)], no_messages, NOW)
    assert not new and [item.document.title for item in corrected] == [PROFIT]


def test_a_correction_that_is_delivered_again_counts_once(store: Store) -> None:
    write(store, version(0, LOSS, None))
    assert write(store, version(1, PROFIT, 20)).corrected
    again = write(store, version(0, LOSS, None), version(1, PROFIT, 20))
    assert not again.corrected and dict_of(again.skipped)["redelivered"] == 2
    assert store.restore([version(0, LOSS, None), version(1, PROFIT, 20)], no_messages, NOW) == ([], [])
    assert stored(store).title == PROFIT and sums_are_exact(store)


def test_a_correction_may_have_no_label_and_may_get_one_again(store: Store) -> None:
    write(store, version(0, LOSS, None))
    without = version(1, "Perdita", 5)
    prediction = structs.replace(
        without.prediction, lang="it", topic=None, sentiment=None, score=None, probabilities={}
    )
    write(store, structs.replace(without, prediction=prediction))
    assert sums_by_topic(store) == {} and sums_are_exact(store)
    write(store, version(2, PROFIT, 20))
    assert sums_by_topic(store) == {("Earnings", 0): (1, 0, 5000)} and sums_are_exact(store)


def test_the_new_prediction_of_a_correction_is_sent(store: Store) -> None:
    write(store, version(0, LOSS, None))
    sent: list[ClassifiedDocument] = []

    def outbound(documents: Any, _letters: Any) -> list[OutboundMessage]:
        sent.extend(documents)
        return []

    store.write(Batch([version(1, PROFIT, 20, at=NOW), version(2, LOSS, None)]), outbound, NOW)
    assert [(item.document.title, item.document.published_at) for item in sent] == [
        (PROFIT, NOW - timedelta(hours=1))
    ]


def test_a_text_that_is_corrected_while_it_is_relabelled_keeps_its_new_label(store: Store) -> None:
    write(store, version(0, "Tarrant cuts rate", None))

    def classify(inputs: Any) -> Any:
        write(store, version(1, PROFIT, 20))
        return classify_with_two(inputs)

    relabel(store, ALL_TIMES, "two", classify=classify, outbound=no_messages, clock=lambda: NOW)
    assert (stored(store).title, stored(store).sentiment) == (PROFIT, "positive")
    assert sums_are_exact(store)


def imprecise(id_: str, offset: int, precision: Precision, at: datetime = NOW) -> ClassifiedDocument:
    item = classified(id_, offset, at=at)
    return structs.replace(item, document=structs.replace(item.document, published_precision=precision))


def test_sums_of_exact_times_leave_out_the_others_in_base_windows_hours_and_days(store: Store) -> None:
    start = NOW.replace(hour=0, minute=0, second=0) - timedelta(days=2)
    write(
        store,
        imprecise("day", 0, Precision.DAY, start),
        imprecise("seen", 1, Precision.SEEN, start + timedelta(hours=3)),
        classified("exact", 2, at=start + timedelta(hours=3)),
        classified("late", 3, at=start + timedelta(days=1, minutes=5), score=-0.25),
    )
    end = start + timedelta(days=1, minutes=30)
    (everything,) = store.reads.sums(start, end)
    (exact,) = store.reads.sums(start, end, Selection(exact_times=True))
    assert (everything.n, everything.score_sum) == (4, -17_500)
    assert (exact.n, exact.negative, exact.score_sum, exact.score_squares) == (
        2,
        2,
        -7500,
        25_000_000 + 6_250_000,
    )
    assert store.reads.sums(start, start + MINUTE, Selection(exact_times=True)) == []
    (named,) = store.reads.sums(start, end, Selection(sources=("wire",), exact_times=True))
    assert named.totals == exact.totals
    items = store.reads.most_negative(Scope(None, ("news",), start, end), 9)
    assert {item.id: item.precision for item in items} == {
        "day": "day",
        "seen": "seen",
        "exact": "exact",
        "late": "exact",
    }
    scope = Scope(None, ("news",), start, end, Selection(exact_times=True))
    assert {item.id for item in store.reads.most_negative(scope, 9)} == {"exact", "late"}
    assert store.reads.negative_writers(scope)[0] == {"wire": 2}


def test_late_windows_say_whether_a_document_with_an_exact_time_is_among_the_late(store: Store) -> None:
    first, second = NOW - timedelta(hours=3), NOW - timedelta(hours=2)
    write(
        store,
        imprecise("a", 0, Precision.DAY, first),
        imprecise("b", 1, Precision.SEEN, second),
        classified("c", 2, at=second + timedelta(seconds=5)),
    )
    starts = [stamp.replace(second=0, microsecond=0) for stamp in (first, second)]
    expected = [LateWindow(starts[0], has_exact=False), LateWindow(starts[1], has_exact=True)]
    assert store.reads.late_windows(NOW, NOW - timedelta(hours=1)) == expected


def test_precision_and_update_are_stored(store: Store) -> None:
    item = imprecise("a", 0, Precision.SEEN)
    updated = structs.replace(item.document, updated_at=NOW + MINUTE)
    write(store, structs.replace(item, document=updated), DeadLetter(item.position, "not_json", "x"))
    row = stored(store)
    assert (row.published_precision, row.updated_at, row.kind) == ("seen", NOW + MINUTE, Kind.NEWS)


def test_a_corrected_story_names_the_trace_of_its_correction(store: Store) -> None:
    traces = ["00-" + digit * 32 + "-00f067aa0ba902b7-01" for digit in "ab"]
    for offset, (title, updated, trace) in enumerate([(LOSS, None, traces[0]), (PROFIT, 5, traces[1])]):
        item = version(offset, title, updated)
        write(store, structs.replace(item, position=structs.replace(item.position, traceparent=trace)))
    assert (stored(store).title, stored(store).traceparent) == (PROFIT, traces[1])

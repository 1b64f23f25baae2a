"""What rules and pages read, on both databases."""

from dataclasses import replace
from datetime import timedelta

from msgspec import structs

from alerts.history.memory_store import MemoryStore, Text
from stream.domain.documents import SCORE_SCALE, Document, Kind, Prediction
from stream.domain.records import ClassifiedDocument, MessagePosition
from stream.domain.sums import LateWindow, Scope, Selection
from stream.storage import schema
from stream.storage.batches import Store
from tests.unit.stream.samples import NEWS_0, NEWS_1, NOW, classified, row_count, write


def test_sums_are_added_up_over_partitions(store: Store) -> None:
    write(store, classified("a", 0, NEWS_0), classified("b", 0, NEWS_1))
    assert row_count(store, schema.aggregates) == 2
    (total,) = store.reads.sums(NOW - timedelta(hours=1), NOW)
    assert (total.n, total.score_sum) == (2, -10_000)


def test_the_most_negative_documents_of_the_scope_are_found(store: Store) -> None:
    write(
        store,
        classified("mild", 0, score=-0.1),
        classified("worst", 1, score=-0.9),
        classified("old", 2, score=-1.0, at=NOW - timedelta(hours=3)),
    )
    near = Scope("Earnings", ("news",), NOW - timedelta(hours=1), NOW + timedelta(seconds=1))
    evidence = store.reads.most_negative(near, 5)
    assert [item.id for item in evidence] == ["worst", "mild"]
    assert store.reads.most_negative(replace(near, topic="IPO"), 5) == []
    assert store.reads.most_negative(replace(near, kinds=("comment",)), 5) == []


def test_evidence_names_the_trace_of_its_message(store: Store) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    item = classified("traced", 0)
    traced = structs.replace(item, position=structs.replace(item.position, traceparent=trace))
    write(store, traced, classified("other", 1, score=-0.1))
    evidence = store.reads.most_negative(Scope("Earnings", ("news",), NOW, NOW + timedelta(seconds=1)), 5)
    assert [(each.id, each.traceparent) for each in evidence] == [("traced", trace), ("other", None)]


def test_evidence_names_the_model_whose_labels_it_has_if_there_are_two(store: Store) -> None:
    item = classified("unsure", 0)
    second = structs.replace(item, prediction=structs.replace(item.prediction, judged_by="large-1"))
    write(store, second, classified("other", 1, score=-0.1))
    evidence = store.reads.most_negative(Scope("Earnings", ("news",), NOW, NOW + timedelta(seconds=1)), 5)
    assert [(each.id, each.judged_by) for each in evidence] == [("unsure", "large-1"), ("other", None)]


def as_classified(text: Text, offset: int) -> ClassifiedDocument:
    """The same document as the backtest's, to be written into SQL."""
    document = Document(
        text.id,
        Kind.NEWS,
        text.source,
        text.published_at,
        title=text.content,
        author=text.author,
        symbols=text.symbols,
    )
    probabilities = {"topic": {"Earnings": 1.0}, "sentiment": {str(text.sentiment): 0.7}}
    score = text.score / SCORE_SCALE
    prediction = Prediction("m-1", text.lang, "Earnings", text.sentiment, score, probabilities)
    return ClassifiedDocument(MessagePosition(Kind.NEWS, NEWS_0, offset, b"{}"), document, prediction)


def test_sql_and_the_backtest_in_memory_give_the_rules_the_same(store: Store) -> None:
    minute = NOW.replace(second=0)
    sentiments = ["negative", "neutral", "positive", "negative", "negative"]
    texts = [
        Text(
            id=f"d{i}",
            source=f"wire{i % 3}",
            kind="news",
            published_at=minute - i * timedelta(minutes=7),
            content="Shares fall",
            topic="Earnings",
            sentiment=sentiment,
            score=-5000 + i,
            author=f"author{i % 2}",
            symbols=("AAPL", 'A"B%') if i % 2 else (),
            lang="zh" if i == 4 else "en",
        )
        for i, sentiment in enumerate(sentiments * 4)
    ]
    write(store, *[as_classified(text, offset) for offset, text in enumerate(texts)])
    memory = MemoryStore(texts)
    start, end = minute - timedelta(hours=2), minute + timedelta(minutes=1)
    selections = [
        Selection(),
        Selection(sources=("wire1", "wire2")),
        Selection(symbols=("AAPL",)),
        Selection(symbols=('A"B%', "MSFT")),
        Selection(languages=("zh",)),
        Selection(sources=("wire1",), languages=("zh",)),
    ]
    for selection in selections:
        assert store.reads.sums(start, end, selection) == memory.sums(start, end, selection)
        windows = store.reads.sums_by_window(start, end, timedelta(minutes=15), selection)
        assert windows == memory.sums_by_window(start, end, timedelta(minutes=15), selection)
        assert windows or selection.languages
        scope = Scope("Earnings", ("news",), start, end, selection)
        assert store.reads.negative_writers(scope) == memory.negative_writers(scope)
        assert store.reads.most_negative(scope, 3) == memory.most_negative(scope, 3)
        assert store.reads.last_seen_by_source(scope) == memory.last_seen_by_source(scope)
    sources, authors = store.reads.negative_writers(Scope(None, ("news",), start, end))
    assert (len(sources), authors) == (3, 2)
    assert [row.id for row in store.reads.scored_documents(start, end)] == [
        t.id for t in memory.texts if t.published_at >= start
    ]


def test_late_windows_and_the_last_document_of_each_source_are_found(store: Store) -> None:
    # The last moment of its window.
    early = (NOW - timedelta(hours=2)).replace(second=59, microsecond=700_000)
    for offset, (id_, published_at) in enumerate({"a": early, "b": NOW}.items()):
        write(store, classified(id_, offset, at=published_at))
    start = early.replace(second=0, microsecond=0)
    assert store.reads.late_windows(NOW, NOW - timedelta(hours=1)) == [LateWindow(start, has_exact=True)]
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    (window,) = store.reads.sums_by_window(early - hour, NOW - hour, minute, Selection(("wire",)))
    assert window.start == early.replace(second=0, microsecond=0)
    assert store.reads.late_windows(NOW + timedelta(seconds=1), NOW) == []
    scope = Scope(None, ("news", "comment"), NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    assert store.reads.last_seen_by_source(scope) == {"wire": NOW}
    assert store.reads.last_seen_by_source(replace(scope, selection=Selection(("other",)))) == {}

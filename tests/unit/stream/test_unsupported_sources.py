"""A feed whose texts the classifier does not read is seen."""

import logging
from datetime import timedelta

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry

from stream.domain.documents import Kind, Prediction
from stream.domain.records import ClassifiedDocument, WriteResult
from stream.metrics import StreamMetrics
from stream.storage.batches import Store
from stream.unsupported_sources import MOST_SOURCES, UnsupportedSources
from tests.unit.stream.samples import NOW, classified, write


def texts(source: str, read: int, unsupported: int, first: int = 0) -> list[ClassifiedDocument]:
    found = []
    for number in range(first, first + read + unsupported):
        item = classified(f"{source}-{number}", number)
        item = structs.replace(item, document=structs.replace(item.document, source=source))
        if number >= first + read:
            item = structs.replace(item, prediction=Prediction("m-1", "fr"))
        found.append(item)
    return found


def test_a_source_is_named_once_when_most_of_its_texts_are_unsupported_and_again_when_they_are_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    sources = UnsupportedSources(0.5)
    sources.count([*texts("wire", 50, 0), *texts("agence", 2, 17)], NOW)
    assert sources.number(Kind.NEWS, NOW) == 0, "too few texts to say"
    for batch in range(3):
        sources.count(texts("agence", 0, 10, first=100 + batch * 10), NOW)
    assert (sources.number(Kind.NEWS, NOW), sources.number(Kind.COMMENT, NOW)) == (1, 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "'agence' (news)" in caplog.text
    sources.count(texts("agence", 100, 0, first=1000), NOW)
    assert sources.number(Kind.NEWS, NOW) == 0 and "read again" in caplog.text


def test_a_source_that_changes_its_language_is_seen_after_some_hundred_texts() -> None:
    sources = UnsupportedSources(0.5)
    for batch in range(100):
        sources.count(texts("wire", 100, 0, first=batch * 100), NOW)
    for batch in range(4):
        sources.count(texts("wire", 0, 100, first=10**6 + batch * 100), NOW)
    assert sources.number(Kind.NEWS, NOW) == 1


def test_a_share_of_one_means_never_and_heartbeats_are_no_feed() -> None:
    never = UnsupportedSources(1.0)
    never.count(texts("agence", 0, 500), NOW)
    assert never.number(Kind.NEWS, NOW) == 0
    sources = UnsupportedSources(0.5)
    sources.count(texts("monitor-heartbeat", 0, 500), NOW)
    assert sources.number(Kind.NEWS, NOW) == 0


def test_sources_without_end_fill_no_memory() -> None:
    sources = UnsupportedSources(0.5)
    sources.count(texts("agence", 0, 30), NOW)
    for number in range(MOST_SOURCES):
        sources.count(texts(f"s{number}", 1, 0), NOW)
    assert sources.number(Kind.NEWS, NOW) == 0, "the source that sent first is forgotten"


def test_a_source_that_sends_no_more_is_left_out_after_a_day_and_named_again_when_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sources, day, second = UnsupportedSources(0.5), timedelta(days=1), timedelta(seconds=1)
    sources.count(texts("agence", 0, 30), NOW)
    assert sources.number(Kind.NEWS, NOW + day) == 1
    assert sources.number(Kind.NEWS, NOW + day + second) == 0, "no other source sends meanwhile"
    sources.count(texts("wire", 30, 0), NOW + day / 2)
    sources.count(texts("agence", 0, 1, first=100), NOW + day / 2)
    assert sources.number(Kind.NEWS, NOW + 1.5 * day) == 1, "it sent later than that"
    sources.count(texts("agence", 0, 19, first=200), NOW + 2 * day)
    assert sources.number(Kind.NEWS, NOW + 2 * day) == 0, "what it sent before is forgotten"
    caplog.clear()
    sources.count(texts("agence", 0, 1, first=300), NOW + 2 * day)
    assert sources.number(Kind.NEWS, NOW + 2 * day) == 1 and "'agence' (news)" in caplog.text


def test_the_metric_leaves_out_a_source_that_was_switched_off_while_nothing_else_is_read() -> None:
    now = [NOW]
    metrics = StreamMetrics(registry := CollectorRegistry(), clock=lambda: now[0])
    metrics.count_batch(WriteResult(texts("agence", 0, 30), [], {}, 0), NOW)
    assert registry.get_sample_value("sentiment_unsupported_sources", {"kind": "news"}) == 1
    now[0] += timedelta(days=1, seconds=1)
    assert registry.get_sample_value("sentiment_unsupported_sources", {"kind": "news"}) == 0


def test_the_number_of_unread_sources_is_a_metric_from_the_start() -> None:
    metrics = StreamMetrics(registry := CollectorRegistry(), clock=lambda: NOW)
    for kind in ("news", "comment"):
        assert registry.get_sample_value("sentiment_unsupported_sources", {"kind": kind}) == 0
    metrics.count_batch(WriteResult(texts("agence", 1, 30), [], {}, 0), NOW)
    assert registry.get_sample_value("sentiment_unsupported_sources", {"kind": "news"}) == 1


def test_the_store_names_the_sources_that_are_not_read(store: Store) -> None:
    write(
        store,
        *texts("wire", 30, 10),
        *texts("agence", 5, 25),
        *texts("few", 0, 19),
        *texts("monitor-heartbeat", 0, 30),
    )
    since = NOW - timedelta(days=1)
    assert store.reads.unsupported_sources(since, 0.5, 20) == [("news", "agence", 30, 25)]
    assert store.reads.unsupported_sources(since, 1.0, 20) == []
    assert store.reads.unsupported_sources(NOW + timedelta(seconds=1), 0.5, 20) == []

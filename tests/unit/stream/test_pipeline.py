"""The life of one batch, with SQLite and a fake classifier."""

import logging
import threading
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from stream import batch_writer
from stream.batch_writer import BatchWriter
from stream.breaker import CircuitBreaker
from stream.bundles import Record
from stream.codec import Codec
from stream.decoder import Decoder
from stream.domain.documents import Document, Kind, Prediction, TextInput
from stream.domain.errors import DeadLetterReason, InferenceError, StoreRefused, StoreUnavailable
from stream.domain.records import (
    Batch,
    ClassifiedDocument,
    Classify,
    DeadLetter,
    MessagePosition,
    Outbound,
    Partition,
    RefusedBatch,
    WriteResult,
)
from stream.domain.stories import StoryFeatures
from stream.kafka.settings import KafkaSettings
from stream.metrics import StreamMetrics
from stream.outbound import BatchOutbound, dead_letter_message
from stream.pipeline import Pipeline
from stream.retry import StopRequested
from stream.settings import StreamSettings
from stream.storage import batches, database, schema
from stream.storage.batches import Store
from stream.storage.settings import DatabaseSettings
from tests.conftest import next_offsets

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(offset: int, text: str = "calm", value: bytes | None = None, source: str | None = None) -> Record:
    fields = f'"id": "{offset}", "text": "{text}", "published_at": "2026-03-01T11:00:00Z"'
    body = f'{{{fields}, "source": "{source}"}}' if source else f"{{{fields}}}"
    return Record("news", 0, offset, body.encode() if value is None else value)


def classify(inputs: Sequence[TextInput]) -> list[Prediction]:
    """Predict neutral for every text; fail on a batch in which a text has the word `poison`."""
    if any("poison" in item.text for item in inputs):
        raise InferenceError("logits are not finite")
    probabilities = {"topic": {"Macro": 1.0}, "sentiment": {"neutral": 1.0}}
    return [Prediction("null", "en", "Macro", "neutral", 0.0, probabilities) for _ in inputs]


class UnreliableStore(Store):
    """A store that is unavailable for the next `outages` writes, and refuses documents with the text `refused_text`."""

    outages = 0
    refused_text = ""

    def write(self, batch: Batch, outbound: Outbound, now: datetime) -> WriteResult:
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable("connection refused")
        self._refuse(batch.outcomes)
        return super().write(batch, outbound, now)

    def refusal_reason(
        self, documents: Sequence[ClassifiedDocument], outbound: Outbound, now: datetime
    ) -> str | None:
        try:
            self._refuse(documents)
        except StoreRefused as error:
            return str(error)
        return super().refusal_reason(documents, outbound, now)

    def _refuse(self, outcomes: Sequence[ClassifiedDocument | DeadLetter]) -> None:
        documents = [item.document for item in outcomes if isinstance(item, ClassifiedDocument)]
        if self.refused_text and any(self.refused_text in document.text for document in documents):
            raise StoreRefused("value too long")


class Rig:
    """A pipeline with its components."""

    def __init__(
        self,
        tmp_path: Path,
        documents: int = 1,
        stopping: threading.Event | None = None,
        codec: Codec | None = None,
    ) -> None:
        """`documents` is the most that one message may hold; `stopping` ends waits."""
        settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'p.db'}")
        database.upgrade(settings)
        self.store = UnreliableStore(database.connect(settings), 60)
        self.classifier: Classify = classify
        self.registry, self.stopping = CollectorRegistry(), stopping or threading.Event()
        metrics = StreamMetrics(self.registry, late_after=timedelta(minutes=5))
        writer = BatchWriter(
            store=self.store,
            outbound=BatchOutbound(KafkaSettings()),
            metrics=metrics,
            clock=lambda: NOW,
            stopping=self.stopping,
        )
        self.pipeline = Pipeline(
            decoder=Decoder(
                codec or Codec(timedelta(minutes=5), 10_000, documents),
                {"news": Kind.NEWS, "comments": Kind.COMMENT},
                {"news": "c/t", "comments": "c/u"},
            ),
            classify=self._classify,
            writer=writer,
            breakers={"news": CircuitBreaker(0.9, window=20), "comments": CircuitBreaker(0.9, window=20)},
            metrics=metrics,
            clock=lambda: NOW,
        )

    def process(self, records: Sequence[Record]) -> None:
        """Classify and write, as the worker does in two threads."""
        self.pipeline.write(self.pipeline.classify(records))

    def _classify(self, inputs: Sequence[TextInput]) -> Sequence[Prediction]:
        return self.classifier(inputs)

    def ids(self) -> list[str]:
        return self._column(schema.documents.c.id)

    def reasons(self) -> list[str]:
        return self._column(schema.dead_letters.c.reason)

    def _column(self, column: object) -> list[str]:
        with database.reading(self.store.engine) as connection:
            return sorted(connection.scalars(select(column)))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_bad_messages_become_dead_letters_and_the_others_become_documents(rig: Rig) -> None:
    rig.process([record(0), record(1, value=b"{"), record(2), record(3, value=b"")])
    assert rig.ids() == ["0", "2"]
    assert rig.reasons() == ["empty", "not_json"]
    assert next_offsets(rig.store, "c/t") == {("news", 0): 4}


def test_senders_that_are_refused_do_not_slow_down_the_others(tmp_path: Path) -> None:
    settings = StreamSettings(allowed_news_sources=("wire",))
    rig = Rig(tmp_path, codec=Codec.from_settings(settings))
    foreign = [record(i, source="elsewhere") for i in range(60)]
    forged = [record(100 + i, source="monitor-heartbeat") for i in range(60)]
    rig.process(foreign + forged)
    assert rig.pipeline.trouble is None
    assert rig.pipeline.may_start("news")
    rig.process([record(200, source="wire")])
    assert rig.ids() == ["200"]
    assert Counter(rig.reasons()) == {"source_not_allowed": 60, "forged_heartbeat": 60}
    counted = rig.registry.get_sample_value
    assert counted("sentiment_dead_letters_total", {"reason": "forged_heartbeat"}) == 60
    assert counted("sentiment_documents_total", {"kind": "news", "outcome": "ok"}) == 1


def test_fields_that_are_cut_are_counted(rig: Rig) -> None:
    rig.process([record(0, source="s" * 200), record(1)])
    assert rig.registry.get_sample_value("sentiment_shortened_fields_total", {"field": "source"}) == 1
    assert rig.registry.get_sample_value("sentiment_shortened_fields_total", {"field": "id"}) == 0


def test_a_text_that_the_classifier_fails_on_is_found_by_bisection(rig: Rig) -> None:
    rig.process([record(i, "poison" if i == 13 else "calm") for i in range(20)])
    assert rig.ids() == sorted(str(i) for i in range(20) if i != 13)
    assert rig.reasons() == ["inference"]


def test_a_classifier_that_always_fails_stops_the_pipeline_instead_of_making_dead_letters(rig: Rig) -> None:
    def broken(inputs: Sequence[TextInput]) -> list[Prediction]:
        raise InferenceError("CUDA error")

    rig.classifier = broken
    with pytest.raises(InferenceError, match="CUDA error"):
        rig.process([record(i) for i in range(4)])
    assert rig.reasons() == []
    assert next_offsets(rig.store, "c/t") == {}


NAN = float("nan")
FAILURES = [
    ("raises the error of its device", RuntimeError("CUDA out of memory")),
    ("is out of memory", MemoryError()),
    ("gives a score that is not a number", Prediction("m", "en", "Macro", "neutral", NAN)),
    (
        "gives a probability that is not finite",
        Prediction("m", "en", "Macro", "neutral", 0.0, {"topic": {"Macro": NAN}}),
    ),
    ("leaves a prediction out", None),
]


@pytest.mark.parametrize(("what", "failure"), FAILURES, ids=[case[0] for case in FAILURES])
def test_no_label_is_invented_if_the_classifier(
    what: str, failure: Exception | Prediction | None, rig: Rig
) -> None:
    def failing(inputs: Sequence[TextInput]) -> list[Prediction]:
        predictions = classify(inputs)
        for index, item in enumerate(inputs):
            if item.text == "odd" and isinstance(failure, Exception):
                raise failure
            if item.text == "odd":
                predictions[index : index + 1] = [failure] if failure else []
        return predictions

    rig.classifier = failing
    rig.process([record(i, "odd" if i == 5 else "calm") for i in range(9)])
    assert rig.ids() == [str(i) for i in range(9) if i != 5]
    assert rig.reasons() == ["inference"]


def test_a_classifier_that_fails_sometimes_still_labels_every_document(rig: Rig) -> None:
    calls = iter(range(1000))

    def failing_every_other_time(inputs: Sequence[TextInput]) -> list[Prediction]:
        if next(calls) % 2 == 0:
            raise MemoryError
        return classify(inputs)

    rig.classifier = failing_every_other_time
    rig.process([record(i) for i in range(7)])
    rig.process([record(7)])
    assert len(rig.ids()) == 8 and rig.reasons() == []


def test_values_that_the_database_refuses_are_found_by_bisection(rig: Rig) -> None:
    rig.store.refused_text = "odd"
    rig.process([record(i, "odd" if i in (3, 4) else "calm") for i in range(10)])
    assert len(rig.ids()) == 8
    assert rig.reasons() == ["storage", "storage"]
    assert next_offsets(rig.store, "c/t") == {("news", 0): 10}


def test_a_text_without_story_features_is_a_dead_letter_and_the_others_are_stored(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batches.story_features

    def failing(document: Document, *rest: Any) -> StoryFeatures:
        if "odd" in document.content:
            raise IndexError("list index out of range")
        return whole(document, *rest)

    monkeypatch.setattr(batches, "story_features", failing)
    rig.process([record(i, "odd" if i == 3 else "calm") for i in range(6)])
    assert (len(rig.ids()), rig.reasons()) == (5, ["storage"])
    assert next_offsets(rig.store, "c/t") == {("news", 0): 6}


@pytest.fixture
def arrays_rig(tmp_path: Path) -> Rig:
    """A pipeline where a message may hold up to five documents."""
    return Rig(tmp_path, documents=5)


def array(offset: int, *texts: str) -> Record:
    parts = [record(100 * offset + at, text).value or b"" for at, text in enumerate(texts)]
    return record(offset, value=b" [" + b", ".join(parts) + b"]")


def dead_letters(rig: Rig) -> list[tuple[int, int, str]]:
    """Offset, item and reason of every dead letter, sorted."""
    table = schema.dead_letters.c
    with database.reading(rig.store.engine) as connection:
        rows = connection.execute(select(table.kafka_offset, table.item, table.reason))
        return sorted((row[0], row[1], row[2]) for row in rows)


def test_each_document_of_a_message_is_counted_or_refused_separately(arrays_rig: Rig) -> None:
    records = [
        record(0, value=(array(0, "calm", "", "calm", "poison", "calm").value or b"")),
        record(1),
        record(2, value=b'[{"id": "x"'),
        record(3, value=b"[]"),
        array(4, *["calm"] * 6),
        record(5, value=b'[17, {"id": "y", "text": "no timestamp"}]'),
        array(6, "calm"),
    ]
    expected = [
        (0, 1, "no_text"),
        (0, 3, "inference"),
        (2, 0, "not_json"),
        (3, 0, "empty"),
        (4, 0, "too_large"),
        (5, 0, "not_an_object"),
        (5, 1, "missing_field"),
    ]
    for _ in range(2):  # the second time nothing is new
        arrays_rig.process(records)
        assert arrays_rig.ids() == ["0", "1", "2", "4", "600"]
        assert dead_letters(arrays_rig) == expected
    assert next_offsets(arrays_rig.store, "c/t") == {("news", 0): 7}
    assert arrays_rig.store.reads.sums(NOW - timedelta(hours=2), NOW)[0].n == 5


def test_a_refused_document_does_not_affect_the_others_and_a_message_is_never_split(arrays_rig: Rig) -> None:
    arrays_rig.store.refused_text = "odd"
    records = [array(0, *["calm"] * 5), array(1, "calm", "odd", "calm", "odd", ""), array(2, *["calm"] * 5)]
    arrays_rig.process(records)
    assert len(arrays_rig.ids()) == 12
    assert dead_letters(arrays_rig) == [(1, 1, "storage"), (1, 3, "storage"), (1, 4, "no_text")]
    assert next_offsets(arrays_rig.store, "c/t") == {("news", 0): 3}


def test_a_database_outage_during_the_search_for_the_refused_document_is_waited_out(
    arrays_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays_rig.store.refused_text = "odd"
    outages = iter([True, False, True])
    original = arrays_rig.store.refusal_reason

    def refusal_reason(
        documents: Sequence[ClassifiedDocument], outbound: Outbound, now: datetime
    ) -> str | None:
        if next(outages, False):
            raise StoreUnavailable("connection refused")
        return original(documents, outbound, now)

    monkeypatch.setattr(arrays_rig.store, "refusal_reason", refusal_reason)
    arrays_rig.process([array(0, "calm", "odd", "calm")])
    assert arrays_rig.ids() == ["0", "2"] and dead_letters(arrays_rig) == [(0, 1, "storage")]
    assert arrays_rig.pipeline.trouble is None


@pytest.mark.parametrize(
    "odd",
    [
        rb'{"id": "x", "text": "\ud83d"}',
        b'{"x": NaN}',
        b'"a\tb"',
        b'{"x": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b"",
    ],
    ids=["half an emoji", "NaN", "a raw tab", "endless nesting", "nothing"],
)
def test_a_document_that_is_not_json_does_not_affect_the_others_in_its_message(
    odd: bytes, arrays_rig: Rig
) -> None:
    good = [record(n, 'says ], [ and \\" }').value or b"" for n in range(2)]
    arrays_rig.process([record(0, value=b"[" + good[0] + b" , " + odd + b"," + good[1] + b"]\n")])
    assert arrays_rig.ids() == ["0", "1"]
    assert [letter[:2] for letter in dead_letters(arrays_rig)] == [(0, 1)]


@pytest.mark.parametrize("value", [b'[{"id": "x"', b"[{]", b'[{"id": "x}]', b"[NaN] [1]", b"[NaN"])
def test_an_array_that_does_not_close_is_one_dead_letter(value: bytes, arrays_rig: Rig) -> None:
    arrays_rig.process([record(0, value=value), record(1)])
    assert arrays_rig.ids() == ["1"]
    assert dead_letters(arrays_rig) == [(0, 0, "not_json")]


def test_a_batch_too_large_for_a_transaction_is_written_in_parts_and_no_message_is_split(
    arrays_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "MAX_DOCUMENTS_PER_TRANSACTION", 7)
    sizes: list[int] = []
    original = arrays_rig.store.write

    def write(batch: Batch, outbound: Outbound, now: datetime) -> WriteResult:
        sizes.append(len(batch.outcomes))
        return original(batch, outbound, now)

    monkeypatch.setattr(arrays_rig.store, "write", write)
    arrays_rig.process([array(n, *["calm"] * 5) for n in range(4)])
    assert sizes == [5] * 4 and len(arrays_rig.ids()) == 20


def test_an_array_is_a_dead_letter_if_arrays_are_not_allowed(rig: Rig) -> None:
    rig.process([array(0, "calm", "calm"), record(1)])
    assert rig.ids() == ["1"] and dead_letters(rig) == [(0, 0, "not_an_object")]


def test_a_database_outage_is_waited_out(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig.store.outages = 2
    rig.process([record(0)])
    assert rig.ids() == ["0"]
    assert rig.pipeline.trouble is None
    messages = [line.message for line in caplog.records]
    assert sum("database unavailable" in message for message in messages) == 1
    assert sum("database back" in message for message in messages) == 1


def test_a_stop_ends_the_wait_and_nothing_is_written(rig: Rig) -> None:
    rig.store.outages = 1000
    rig.stopping.set()
    with pytest.raises(StopRequested):
        rig.process([record(0)])
    assert rig.pipeline.trouble
    assert rig.ids() == []


def test_a_batch_of_bad_messages_is_one_line_in_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.process([record(i, value=b"[]") for i in range(50)])
    (line,) = [line.message for line in caplog.records if "dead letter" in line.message]
    assert "50 dead letter(s): not_an_object 50; the first: news[0]@0" in line


def test_old_texts_update_their_window_and_are_counted_as_late(rig: Rig) -> None:
    rig.process([record(0)])
    assert rig.registry.get_sample_value("sentiment_late_documents_total", {"kind": "news"}) == 1
    assert rig.store.reads.sums(NOW - timedelta(hours=1), NOW)[0].n == 1


def test_tombstones_are_skipped_and_counted_apart(rig: Rig) -> None:
    tombstones = [Record("news", 0, offset, None) for offset in range(200)]
    rig.process(tombstones[:199])
    rig.process([tombstones[199], record(200), record(201, value=b"")])
    assert rig.ids() == ["200"] and rig.reasons() == ["empty"]
    assert next_offsets(rig.store, "c/t") == {("news", 0): 202}
    rig.process(tombstones)  # delivered again
    for outcome, count in (("tombstone", 200), ("redelivered", 200), ("dead_letter", 1)):
        labels = {"kind": "news", "outcome": outcome}
        assert rig.registry.get_sample_value("sentiment_documents_total", labels) == count
    assert rig.pipeline.trouble is None


def open_breakers(rig: Rig) -> dict[str, float | None]:
    """The gauge of each topic's circuit breaker."""
    name = "sentiment_circuit_breaker_open"
    return {
        topic: rig.registry.get_sample_value(name, {"kafka_topic": topic}) for topic in ("news", "comments")
    }


def bad(first: int, count: int) -> list[Record]:
    return [record(offset, value=b"not JSON") for offset in range(first, first + count)]


def test_tombstones_neither_open_nor_close_the_circuit_breaker(rig: Rig) -> None:
    rig.process([Record("news", 0, offset, None) for offset in range(100)])
    assert open_breakers(rig) == {"news": 0, "comments": 0}
    rig.process(bad(100, 90))
    rig.process([Record("news", 0, offset, None) for offset in range(190, 290)])
    assert open_breakers(rig) == {"news": 1, "comments": 0}, "tombstones say nothing about the messages"
    rig.process([record(290)])
    assert open_breakers(rig) == {"news": 0, "comments": 0}


def test_heartbeats_do_not_keep_the_circuit_breaker_closed(rig: Rig) -> None:
    body = b'{"id": "h", "source": "monitor-heartbeat", "text": "-", "published_at": "2026-03-01T11:00:00Z"}'
    heartbeats = [record(offset, value=body) for offset in range(100, 120)]
    rig.process([*bad(0, 30), *heartbeats])
    assert open_breakers(rig)["news"] == 1 and not rig.pipeline.may_start("news")


def test_an_unexpected_error_is_not_swallowed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.store, "write", broken)
    with pytest.raises(ZeroDivisionError):
        rig.process([record(0)])


def test_an_open_circuit_breaker_is_seen_and_closes_when_messages_are_accepted(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.process(bad(0, 10))
    assert rig.pipeline.trouble is None and rig.pipeline.may_start("news")
    rig.process(bad(10, 20))
    assert open_breakers(rig) == {"news": 1, "comments": 0}
    assert "the circuit breaker of news is open" in (rig.pipeline.trouble or "")
    assert not rig.pipeline.may_start("news") and rig.pipeline.may_start("comments")
    rig.process(bad(30, 20))
    assert caplog.text.count("is open") == 1, "one line, however many batches"
    rig.process([record(i) for i in range(50, 60)])
    assert open_breakers(rig) == {"news": 0, "comments": 0} and rig.pipeline.trouble is None
    assert "the circuit breaker of news is closed" in caplog.text


def test_a_refused_record_batch_is_one_dead_letter_that_moves_the_offset_past_it(rig: Rig) -> None:
    reason = DeadLetterReason.BATCH_TOO_LARGE
    refused = RefusedBatch(1, 50, reason, "9 bytes of zstd unpack to more than 5")
    rig.process([record(0), Record("news", 0, 50, None, refused), record(51)])
    assert rig.ids() == ["0", "51"] and dead_letters(rig) == [(50, 0, "batch_too_large")]
    assert next_offsets(rig.store, "c/t") == {("news", 0): 52}
    assert rig.registry.get_sample_value("sentiment_missing_offsets_total") == 0
    with database.reading(rig.store.engine) as connection:
        detail = connection.scalar(select(schema.dead_letters.c.detail)) or ""
    for words in ("news[0], offsets 1 to 50", "zstd", "kafka.max_batch_bytes", "monitor replay --from"):
        assert words in detail


def test_a_dead_letter_costs_no_more_memory_than_the_part_of_its_message_that_is_sent() -> None:
    position = MessagePosition(Kind.NEWS, Partition("c/t", "news", 0), 1, bytes(30_000_000))
    letter = DeadLetter(position, DeadLetterReason.TOO_LARGE, "30000000 bytes")
    tracemalloc.start()
    sent = dead_letter_message(letter, max_bytes=900_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sent["payload_bytes"], sent["payload_complete"]) == (30_000_000, False)
    assert peak < 12_000_000

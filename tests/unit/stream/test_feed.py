import json
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka.errors import MessageSizeTooLargeError

from stream.domain.documents import Kind
from stream.domain.errors import FeedError
from stream.feed import FeedOptions, parse_timestamp, send_rows, to_message, without_byte_order_mark


class SendFuture:
    """The future that a producer's `send` returns; it never fails."""

    def add_errback(self, _callback: Any) -> None:
        pass


class RecordingProducer:
    """A producer that records the messages instead of sending them."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, dict[str, Any]]] = []
        self.flushed: Future[None] = Future()

    def send(self, topic: str, key: bytes, value: bytes) -> SendFuture:
        if len(value) > 1_000_000:
            raise MessageSizeTooLargeError("larger than max_request_size")
        self.sent.append((topic, key, json.loads(value)))
        return SendFuture()

    def flush(self) -> None:
        self.flushed.set_result(None)


def row(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1653070860, datetime(2022, 5, 20, 18, 21, tzinfo=UTC)),
        (1653070860.5, datetime(2022, 5, 20, 18, 21, 0, 500_000, tzinfo=UTC)),
        (1653070860000, datetime(2022, 5, 20, 18, 21, tzinfo=UTC)),
        ("2022-05-20T20:21:00+02:00", datetime(2022, 5, 20, 18, 21, tzinfo=UTC)),
        ("2022-05-20T18:21:00Z", datetime(2022, 5, 20, 18, 21, tzinfo=UTC)),
    ],
)
def test_timestamps_are_read_as_seconds_milliseconds_or_rfc_3339(value: object, expected: datetime) -> None:
    assert parse_timestamp(value) == expected


@pytest.mark.parametrize("value", ["2022-05-20T18:21:00", "noon", True, [], 1e300, None])
def test_an_invalid_timestamp_is_refused(value: object) -> None:
    with pytest.raises(FeedError):
        parse_timestamp(value)


def test_columns_are_mapped_and_a_row_without_an_id_gets_the_same_one_every_time() -> None:
    options = FeedOptions(columns={"published_at": "ts", "text": "body"}, source="archive")
    line = row(ts=1653070860, title="Rates rise", body="They did.", extra=1)
    message, _ = to_message(line, options)
    assert message["text"] == "They did."
    assert message["source"] == "archive"
    assert message["published_at"] == "2022-05-20T18:21:00Z"
    assert len(message["id"]) == 32
    assert message["id"] == to_message(line, options)[0]["id"]
    assert message["id"] != to_message(row(ts=1653070860, title="Rates fall"), options)[0]["id"]


def test_a_bad_row_is_reported_with_its_line_number_and_the_other_rows_are_sent() -> None:
    lines = [
        row(id="1", text="a", published_at=1),
        b"{",
        b"[" * 100_000,
        rb'{"id": "\ud800", "text": "x", "published_at": 1}',
        b"\n",
        row(id="2", text="b"),
        row(id="3", text="c", published_at=2),
    ]
    producer = RecordingProducer()
    report = send_rows(lines, "file.jsonl", "news", producer, FeedOptions())
    assert [message["id"] for _, _, message in producer.sent] == ["1", "3"]
    assert report.sent == 2
    assert report.refused_rows == 4
    assert [line.split(": ")[0] for line in report.error_messages] == [
        f"file.jsonl:{n}" for n in (2, 3, 4, 6)
    ]
    assert producer.flushed.done()


def test_the_same_row_as_news_and_as_comment_is_sent_under_the_keys_of_two_documents() -> None:
    keys = []
    for kind in Kind:
        producer = RecordingProducer()
        send_rows([row(id="a/1", text="a", published_at=1)], "f", kind, producer, FeedOptions(kind=kind))
        keys += [key for _, key, _ in producer.sent]
    assert keys == [b"news:unknown:a~2F1", b"comment:unknown:a~2F1"]


def test_rows_without_an_id_have_the_same_one_only_if_all_their_fields_are_the_same() -> None:
    rows = [
        {"title": "a\x1fb", "text": "c"},
        {"title": "a", "text": "b\x1fc"},
        {"title": "a", "text": "b"},
        {"title": "a", "text": "b\x1f"},
    ]
    ids = {to_message(row(published_at=1, **fields), FeedOptions())[0]["id"] for fields in rows}
    assert len(ids) == len(rows)
    unchanged = to_message(row(published_at=1, source="s", title="a", text="b"), FeedOptions())[0]["id"]
    assert unchanged == "16bccd1d0f646e7c941786e900a1b605", (
        "rows of files that were fed before keep their ids"
    )


def test_a_numeric_id_is_sent_as_a_string() -> None:
    assert to_message(row(id=17, text="a", published_at=1), FeedOptions())[0]["id"] == "17"


def test_rows_are_sent_at_the_requested_speed_and_an_earlier_timestamp_does_not_wait() -> None:
    waits: list[float] = []
    lines = [
        row(id=str(i), text="a", published_at=timestamp) for i, timestamp in enumerate([1000, 4600, 900])
    ]
    send_rows(lines, "f", "news", RecordingProducer(), FeedOptions(speed=3600), sleep=waits.append)
    assert len(waits) == 1
    assert waits[0] == pytest.approx(1.0, abs=0.2)


def test_shift_to_now_replaces_the_timestamp_with_the_time_of_sending() -> None:
    producer, before = RecordingProducer(), datetime.now(UTC)
    send_rows([row(id="1", text="a", published_at=5)], "f", "news", producer, FeedOptions(shift_to_now=True))
    assert datetime.fromisoformat(producer.sent[0][2]["published_at"]) >= before


def test_a_byte_order_mark_is_removed_from_the_first_row() -> None:
    assert list(without_byte_order_mark([b"\xef\xbb\xbf{}\n", b"x"])) == [b"{}\n", b"x"]


def test_a_row_that_kafka_does_not_take_is_refused_by_its_line_and_the_others_are_sent() -> None:
    lines = [
        row(id=str(n), published_at=1653070860, text="x" * (2_000_000 if n == 1 else 5)) for n in range(3)
    ]
    producer = RecordingProducer()
    report = send_rows(lines, "rows.jsonl", "news", producer, FeedOptions())  # type: ignore[arg-type]
    assert (report.sent, report.refused_rows) == (2, 1)
    assert report.error_messages[0].startswith("rows.jsonl:2: 2000")

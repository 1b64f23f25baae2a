import gzip
import json
import math
import random
from collections.abc import Iterable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import MessageSizeTooLargeError

from stream.codec import Codec
from stream.domain.documents import Kind, Precision
from stream.domain.errors import FeedError
from stream.domain.files.input_rows import InputRow, read_rows
from stream.feed import FeedOptions, FeedReport, RowOptions, send_rows, to_document, to_message


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


NOW = "2026-03-01T09:30:00Z"
AT_ONCE = FeedOptions()
CODEC = Codec(timedelta(minutes=5), 10_000_000)


def row(line: int = 1, /, **fields: Any) -> InputRow:
    return InputRow(line, fields)


def send(
    rows: Iterable[InputRow], options: FeedOptions = AT_ONCE, **more: Any
) -> tuple[FeedReport, RecordingProducer]:
    producer = RecordingProducer()
    report = send_rows(rows, "f.jsonl", "news", producer, CODEC, options, **more)  # type: ignore[arg-type]
    return report, producer


def sent(**fields: Any) -> dict[str, Any]:
    """The message that a row becomes."""
    return to_message(row(**{"published_at": NOW, **fields}), RowOptions())[0]


def test_columns_are_mapped_and_a_row_without_an_id_gets_the_same_one_every_time() -> None:
    options = RowOptions(columns={"published_at": "ts", "text": "body"}, source="archive")
    line = row(ts=1653070860, title="Rates rise", body="They did.", extra=1)
    message, _ = to_message(line, options)
    assert message["text"] == "They did."
    assert message["source"] == "archive"
    assert message["published_at"] == "2022-05-20T18:21:00Z"
    assert len(message["id"]) == 32
    assert message["id"] == to_message(line, options)[0]["id"]
    assert message["id"] != to_message(row(ts=1653070860, title="Rates fall"), options)[0]["id"]


def test_a_bad_row_is_reported_with_its_line_number_and_the_other_rows_are_sent(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    lines = [
        json.dumps({"id": "1", "text": "a", "published_at": NOW}),
        "{",
        "[" * 100_000,
        r'{"id": "\ud800", "text": "x", "published_at": "2026-03-01T09:30:00Z"}',
        "",
        json.dumps({"id": "2", "text": "b", "published_at": NOW}),
        json.dumps({"id": "3", "published_at": NOW}),
    ]
    file.write_text("\n".join(lines))
    report, producer = send(read_rows(file))
    assert [message["id"] for _, _, message in producer.sent] == ["1", "2"]
    assert (report.sent, report.refused_rows) == (2, 4)
    assert [line.split(": ")[0] for line in report.error_messages] == [f"f.jsonl:{n}" for n in (2, 3, 4, 7)]
    assert producer.flushed.done()


def test_the_same_row_as_news_and_as_comment_is_sent_under_the_keys_of_two_documents() -> None:
    keys = []
    for kind in Kind:
        rows = [row(id="a/1", text="a", published_at=NOW)]
        _, producer = send(rows, FeedOptions(RowOptions(kind=kind)))
        keys += [key for _, key, _ in producer.sent]
    assert keys == [b"news:unknown:a~2F1", b"comment:unknown:a~2F1"]


def test_rows_without_an_id_have_the_same_one_only_if_all_their_fields_are_the_same() -> None:
    rows = [
        {"title": "a\x1fb", "text": "c"},
        {"title": "a", "text": "b\x1fc"},
        {"title": "a", "text": "b"},
        {"title": "a", "text": "b\x1f"},
    ]
    ids = {sent(**fields)["id"] for fields in rows}
    assert len(ids) == len(rows)
    unchanged = sent(published_at="1970-01-01T00:00:01Z", source="s", title="a", text="b")["id"]
    assert unchanged == "16bccd1d0f646e7c941786e900a1b605", (
        "rows of files that were fed before keep their ids"
    )


def test_rows_are_sent_at_the_requested_speed_and_an_earlier_timestamp_does_not_wait() -> None:
    waits: list[float] = []
    start = 1_772_000_000
    rows = [row(id=str(i), text="a", published_at=start + i) for i in (1000, 4600, 900)]
    send(rows, FeedOptions(speed=3600), sleep=waits.append)
    assert len(waits) == 1
    assert waits[0] == pytest.approx(1.0, abs=0.2)


def test_shift_to_now_replaces_the_timestamp_and_needs_none() -> None:
    before = datetime.now(UTC)
    rows = [row(id="1", text="a", published_at="2026-03-01"), row(id="2", text="b", date="whenever")]
    options = FeedOptions(RowOptions(expects_time=False), shift_to_now=True)
    report, producer = send(rows, options)
    assert report.sent == 2
    for _, _, message in producer.sent:
        assert datetime.fromisoformat(message["published_at"]) >= before
        assert "published_precision" not in message


def test_a_row_that_kafka_does_not_take_is_refused_by_its_line_and_the_others_are_sent() -> None:
    rows = [row(n, id=str(n), published_at=NOW, text="x" * (2_000_000 if n == 2 else 5)) for n in (1, 2, 3)]
    report, _ = send(rows)
    assert (report.sent, report.refused_rows) == (2, 1)
    assert report.error_messages[0].startswith("f.jsonl:2: 2000")


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ("BRND,KLVN", ["BRND", "KLVN"]),
        ("BRND; KLVN ", ["BRND", "KLVN"]),
        ("BRND", ["BRND"]),
        ("['BRND', 'KLVN']", ["BRND", "KLVN"]),
        ("BRK B|KLVN", ["BRK B", "KLVN"]),
        (["BRND", None, "", "BRND"], ["BRND"]),
        ([{"name": "BRND", "exchange": "XX"}, {"symbol": "KLVN", "name": "Kelvin"}], ["BRND", "KLVN"]),
        ({"ticker": "BRND"}, ["BRND"]),
        ([600519, "KLVN"], ["600519", "KLVN"]),
        (600519, ["600519"]),
    ],
)
def test_symbols_as_vendors_send_them_become_a_list(symbols: Any, expected: list[str]) -> None:
    assert list(sent(title="t", symbols=symbols)["symbols"]) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("author", ["A. Reyes", "B. Sun"], "A. Reyes, B. Sun"),
        ("author", [{"name": "A. Reyes"}, {"name": "B. Sun"}], "A. Reyes, B. Sun"),
        ("author", {"name": "A. Reyes"}, "A. Reyes"),
        ("source", {"id": None, "name": "Harbour Wire"}, "Harbour Wire"),
        ("id", 17, "17"),
        ("id", 17.0, "17"),
        ("id", 1520000000000000001, "1520000000000000001"),
        ("id", 2**70, str(2**70)),
    ],
)
def test_what_vendors_send_in_other_fields_is_read(field: str, value: Any, expected: str) -> None:
    assert sent(**{"title": "t", field: value})[field] == expected


@pytest.mark.parametrize("nothing", [None, "", " ", math.nan, "NaN", "None", "<NA>"])
def test_nothing_in_a_field_is_no_value(nothing: Any) -> None:
    message = sent(id=nothing, title="t", text=nothing, author=nothing, symbols=nothing, lang=nothing)
    assert message.keys() == {"id", "title", "published_at"}
    assert message["id"] == sent(title="t")["id"] != sent(title="u", id=nothing)["id"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"title": ["Brandt wins"]}, 'title must be a text, not ["Brandt wins"]'),
        ({"title": 5}, "title must be a text, not 5"),
        ({"id": True}, "id true: an id is a text or a whole number"),
        ({"id": 1520000000000000001.0}, "id 1.52e+18: a float that has lost digits"),
        ({"id": "1.52E+18"}, 'id "1.52E+18": a float that has lost digits'),
        ({"id": 1.5}, "id 1.5: a float that has lost digits"),
        ({"id": ["a"]}, 'id ["a"]: an id is a text or a whole number'),
        ({"symbols": [{"weight": 1}]}, 'symbols [{"weight": 1}]: each must be'),
        ({"author": 5}, "author must be a text or a list"),
        ({"url": ["a"]}, 'url must be a text, not ["a"]'),
        ({"source": 5}, "source must be a text, not 5"),
        (
            {"title": None, "headline": "x"},
            "no title or text; the row has published_at, id, title, headline: name the column with --map title=headline",
        ),
        ({"published_at": "2099-01-01T00:00:00Z"}, "far_future"),
        ({"source": "monitor-heartbeat"}, "forged_heartbeat"),
    ],
)
def test_a_row_that_the_stream_would_refuse_is_not_sent(fields: dict[str, Any], reason: str) -> None:
    rows = [
        row(1, id="a", title="t", published_at=NOW),
        row(2, **{"published_at": NOW, "id": "b", "title": "t", **fields}),
    ]
    report, producer = send(rows)
    assert (report.sent, report.refused_rows, len(producer.sent)) == (1, 1, 1)
    assert report.error_messages[0].startswith(f"f.jsonl:2: {reason}")


def test_a_row_whose_time_is_in_another_column_is_refused_with_the_option_that_names_it() -> None:
    report, _ = send([row(1, title="t", ts=1)])
    assert report.error_messages == [
        "f.jsonl:1: no published_at, but 'ts': name the column with --map published_at=ts"
    ]
    options = FeedOptions(RowOptions(columns={"published_at": "when"}))
    report, _ = send([row(1, title="t", published_at=NOW)], options)
    assert report.error_messages == ["f.jsonl:1: no published_at: the row has no column 'when'"]


def test_rows_within_an_object_are_refused_with_the_command_that_takes_them_out() -> None:
    report, _ = send([row(1, status="ok", articles=[{"title": "t"}])])
    assert "jq -c '.articles[]'" in report.error_messages[0]


def test_the_rows_before_the_damage_of_a_file_are_sent_and_the_damage_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl.gz"
    rows = [
        {"id": str(n), "title": random.Random(n).randbytes(30).hex(), "published_at": NOW}
        for n in range(5000)
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(each) + "\n" for each in rows).encode())[:-1000])
    report, producer = send(read_rows(path))
    assert report.sent == len(producer.sent) > 1000 and report.refused_rows == 1
    assert "f.jsonl.gz: cannot be read beyond line" in report.error_messages[0]
    assert producer.flushed.done()


def test_a_time_of_correction_is_read_like_the_others_and_never_costs_the_row() -> None:
    assert sent(title="t", updated_at=1772357400)["updated_at"] == NOW
    report, _ = send([row(title="t", published_at=NOW, updated_at="yesterday")])
    assert report.sent == 1
    assert report.notes() == ["rows with a updated_at that is cut or left out: 1; docs/messages.md says when"]


def test_the_precision_of_a_time_in_a_file_is_the_one_of_the_stream() -> None:
    times = {
        "2026-03-01T09:30:00Z": Precision.EXACT,
        "2026-03-01": Precision.DAY,
        "2026-03-01T00:00:00Z": Precision.DAY,
    }
    for time, precision in times.items():
        document = to_document(row(title="t", published_at=time), CODEC, RowOptions())
        assert document.published_precision is precision
    declared = row(title="t", published_at="2026-03-01T00:00:00Z", published_precision="exact")
    assert to_document(declared, CODEC, RowOptions()).published_precision is Precision.EXACT
    with pytest.raises(FeedError, match="no published_at: name its column with --map published_at=COLUMN"):
        to_document(row(title="t"), CODEC, RowOptions())


def test_rows_that_lack_a_time_or_are_cut_are_counted() -> None:
    rows = [row(title="t", published_at=None), row(title="u", published_at=NOW, symbols=["A" * 100])]
    report, producer = send(rows)
    assert "published_at" not in producer.sent[0][2]
    assert report.notes() == [
        "rows without a time: 1; they count from when Kafka received them",
        "rows with a symbols that is cut or left out: 1; docs/messages.md says when",
    ]
    report, _ = send([row(title=5, published_at=NOW)] * 25)
    assert len(report.error_messages) == 20 and report.notes() == ["refused rows that are not shown: 5"]


def test_a_date_alone_says_that_it_is_one() -> None:
    assert sent(title="t")["published_at"] == NOW
    assert "published_precision" not in sent(title="t")
    message = sent(title="t", published_at="2026-03-01")
    assert (message["published_at"], message["published_precision"]) == ("2026-03-01T00:00:00Z", "day")

"""Messages that are not plain JSON in UTF-8: framed, compressed, damaged, or in an array."""

import bz2
import gzip
import json
import lzma
import time
import uuid
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from stream.bundles import Record, size_of
from stream.codec import Codec
from stream.decoder import DecodedDocument, Decoder
from stream.domain.documents import Kind
from stream.domain.errors import Rejected
from stream.domain.records import DeadLetter

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODEC = Codec(timedelta(minutes=5), 100_000)
BODY = json.dumps({"id": "1", "published_at": "2026-03-01T11:59:00Z", "text": "Marlow plunges"}).encode()
BOM = b"\xef\xbb\xbf"
CONFLUENT = b"\x00\x00\x00\x00\x07"
SCHEMA = uuid.UUID("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63")
AVRO = b"\x02\x31\x1cMarlow plunges"


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("Confluent's header", CONFLUENT + BODY),
        ("a header whose schema id looks like a brace", b"\x00\x00\x00\x00{" + BODY),
        ("Apicurio's header of eight bytes", b"\x00" + b"\x00" * 7 + b"\x2a" + BODY),
        ("AWS Glue's header", b"\x03\x00" + SCHEMA.bytes + BODY),
        ("a byte-order mark", BOM + BODY),
        ("header, mark and blanks", CONFLUENT + BOM + b" \r\n" + BODY + b"\n"),
        ("one NUL at the end", BODY + b"\0"),
        ("a buffer filled with NULs", BODY + b"\0" * 500),
    ],
)
def test_json_is_read_from_within_its_frame(what: str, value: bytes) -> None:
    assert CODEC.decode(value, Kind.NEWS, NOW).content == "Marlow plunges"


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (CONFLUENT + AVRO, "not_json", "Confluent wire format, schema 7, not JSON"),
        (CONFLUENT + b'{"id": ', "not_json", "Confluent wire format, schema 7, not JSON"),
        (b"\x03\x05" + SCHEMA.bytes + zlib.compress(BODY), "not_json", f"schema version {SCHEMA}, compressed, not JSON"),
        (gzip.compress(BODY, mtime=0), "not_json", "gzip-compressed bytes, not JSON"),
        (b"\x28\xb5\x2f\xfd\x04\x58\x01", "not_json", "zstd-compressed bytes, not JSON"),
        (zlib.compress(BODY), "not_json", "zlib-compressed bytes, not JSON"),
        (bz2.compress(BODY), "not_json", "bzip2-compressed bytes, not JSON"),
        (lzma.compress(BODY), "not_json", "xz-compressed bytes, not JSON"),
        (BODY.decode().encode("utf-16"), "not_utf8", "UTF-16 text, not JSON"),
        (BODY.decode().encode("utf-16-le"), "not_utf8", "UTF-16 text, not JSON"),
        (BODY.decode().encode("utf-16-be"), "not_utf8", "UTF-16 text, not JSON"),
        (b"<news><id>1</id></news>", "not_json", "XML or HTML, not JSON"),
        (BOM + b"Marlow plunges", "not_json", "invalid character"),
        (json.dumps(BODY.decode()).encode(), "not_an_object", "the producer encodes it twice"),
        (b'{"schema": {}, "payload": ' + BODY + b"}", "missing_field", "value.converter.schemas.enable=false"),
        (b"[" + BODY + b"]", "not_an_object", "stream.message_documents"),
        (CONFLUENT + BOM + b"[" + BODY + b"]", "not_an_object", "stream.message_documents"),
    ],
)  # fmt: skip
def test_the_refusal_of_what_is_no_json_says_what_it_is(value: bytes, reason: str, detail: str) -> None:
    with pytest.raises(Rejected) as caught:
        CODEC.decode(value, Kind.NEWS, NOW)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


def test_an_array_is_read_from_within_its_frame_and_its_documents_count() -> None:
    value = CONFLUENT + BOM + b" [" + BODY + b", " + BODY.replace(b'"1"', b'"2"') + b", 5]\0"
    codec = Codec(timedelta(minutes=5), 100_000, max_documents=5)
    record = Record("news", 0, 7, value)
    items = list(Decoder(codec, {"news": Kind.NEWS}, {"news": "i"}).decode(record, NOW))
    assert [item.document.id for item in items if isinstance(item, DecodedDocument)] == ["1", "2"]
    assert isinstance(items[2], DeadLetter) and "message_documents" not in items[2].detail
    assert size_of([record])[0] == 2, "the limits of a batch count documents"


@pytest.mark.parametrize(
    ("what", "sent", "read"),
    [
        ("half an emoji at the end", rb"Marlow plunges 20% \ud83d", "Marlow plunges 20% \ufffd"),
        ("the second half alone", rb"\ude00 Marlow", "\ufffd Marlow"),
        ("two first halves and a whole one", rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        ("an escaped backslash before it", rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        ("upper case", rb"A \uD83D B", "A \ufffd B"),
        ("half an emoji as bytes", b"Marlow \xed\xa0\xbd", "Marlow \ufffd"),
        ("both halves as bytes", b"Marlow \xed\xa0\xbd\xed\xb8\x80", "Marlow \U0001f600"),
        ("a NUL from a PDF", rb"Marlow\u0000 plunges", "Marlow plunges"),
        ("a NUL and half an emoji", rb"Marlow\u0000 \ud83d", "Marlow \ufffd"),
        ("a raw tab and a raw line break", b"Marlow\tplunges\n20%", "Marlow\tplunges\n20%"),
        ("a raw NUL", b"Marlow\0 plunges", "Marlow plunges"),
    ],
)
def test_a_damaged_character_costs_itself_and_is_counted(what: str, sent: bytes, read: str) -> None:
    value = b'{"id": "1", "published_at": "2026-03-01T11:59:00Z", "title": "' + sent + b'", "author": "A"}'
    document = CODEC.decode(value, Kind.NEWS, NOW)
    assert (document.title, document.author) == (read, "A")
    assert document.shortened == ("characters",)


def test_a_damaged_character_in_an_array_costs_itself() -> None:
    bad = BODY.replace(b"Marlow", rb"\ud83d")
    codec = Codec(timedelta(minutes=5), 100_000, max_documents=5)
    elements = codec.split(b"[" + BODY + b"," + bad + b"]")
    assert elements is not None
    contents = [codec.decode(element, Kind.NEWS, NOW).content for element in elements]
    assert contents == ["Marlow plunges", "\ufffd plunges"]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_a_number_that_json_does_not_have_costs_its_field(number: bytes) -> None:
    value = BODY[:-1] + b', "rank": ' + number + b', "author": ' + number + b', "title": "NaN gains"}'
    document = CODEC.decode(value, Kind.NEWS, NOW)
    assert (document.title, document.author) == ("NaN gains", None)


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("escaped quotes in a string that is not closed", b'\\"'),
        ("backslashes in a string that is not closed", b"\\\\"),
        ("halves of pairs in a string that is not closed", b"\\ud83d"),
        ("halves of pairs in bytes", b"\xed\xa0\xbd"),
        ("raw control characters", b"\x01"),
        ("constants", b'": NaN, "'),
        ("NULs", b"\0"),
    ],
)
def test_the_cost_of_a_damaged_message_grows_with_its_size_and_not_with_its_square(
    what: str, part: bytes
) -> None:
    codec = Codec(timedelta(minutes=5), 10_000_000)

    def seconds(size: int) -> float:
        value, least = b'{"id": "1", "text": "' + part * (size // len(part)), float("inf")
        for _ in range(3):
            started = time.thread_time()
            with suppress(Rejected):
                codec.decode(value, Kind.NEWS, NOW)
            least = min(least, time.thread_time() - started)
        return least

    assert seconds(320_000) < 24 * seconds(40_000) + 0.005


def test_a_nul_in_a_source_does_not_make_it_another_source() -> None:
    value = BODY[:-1] + rb', "source": "wire\u0000"}'
    assert CODEC.decode(value, Kind.NEWS, NOW).source == "wire\ufffd"


def test_an_integer_is_an_id() -> None:
    assert CODEC.decode(BODY.replace(b'"1"', b"152"), Kind.NEWS, NOW).id == "152"

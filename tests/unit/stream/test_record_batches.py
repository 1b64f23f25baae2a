"""Record batches made by hand, read as both Kafka clients read a response."""

import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.structs import TopicPartition
from kafka.consumer import fetcher as kafka_python_fetcher

from stream.domain.errors import Rejected
from stream.domain.records import RefusedBatch
from stream.kafka import record_batches
from stream.kafka.decompression import decompress
from tests.batches import (
    APPEND_TIME,
    CONTROL,
    GZIP,
    LZ4,
    MIB,
    SNAPPY,
    TRANSACTIONAL,
    ZSTD,
    batch,
    bomb,
    compress,
    legacy,
    record,
    sealed,
    varint,
    xerial,
)

CODECS = pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD], ids=["gzip", "snappy", "lz4", "zstd"])
LIMIT = 4 * MIB
VALUES = [b"one", None, b"", b"x" * 1000]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    record_batches.install(LIMIT)
    yield
    record_batches.install(record_batches.DEFAULT_LIMIT)


def by_aiokafka(
    data: bytes, offset: int, committed: bool = False, aborted: Sequence[Any] = ()
) -> tuple[list[Any], int]:
    """What aiokafka's fetcher makes of a response, and the offset from which it goes on."""
    records = aiokafka_fetcher.MemoryRecords(data)
    assert records.has_next() and records.size_in_bytes() == len(data)
    partition = aiokafka_fetcher.PartitionRecords(
        TopicPartition("news", 0), records, list(aborted), offset, None, None, True, int(committed)
    )
    read = list(partition)
    return read, partition.next_fetch_offset


def by_kafka_python(
    data: bytes, offset: int, committed: bool = False, aborted: Sequence[Any] = ()
) -> tuple[list[Any], int]:
    """What kafka-python's fetcher makes of it."""
    records = kafka_python_fetcher.MemoryRecords(data)
    assert records.has_next() and records.size_in_bytes() == len(data)
    partition = kafka_python_fetcher.Fetcher.PartitionRecords(
        offset,
        TopicPartition("news", 0),
        records,
        isolation_level=int(committed),
        aborted_transactions=list(aborted),
    )
    read = partition.take()
    return read, partition.next_fetch_offset


CLIENTS = pytest.mark.parametrize("client", [by_aiokafka, by_kafka_python])


def read(client: Any, data: bytes, offset: int = 0) -> tuple[list[tuple[int, Any]], int]:
    """Offset and value of each record, or the first offset and the reason if it was refused."""
    record_batches.BUDGET.start_poll()
    records, position = client(data, offset)
    return [(r.offset, _shown(r)) for r in records], position


def _shown(found: Any) -> Any:
    if isinstance(found.checksum, RefusedBatch):
        assert found.checksum.last == found.offset and found.value is None
        return found.checksum.first, found.checksum.reason.value
    return found.value


@CLIENTS
@pytest.mark.parametrize("codec", range(5))
def test_values_and_offsets_are_read(client: Any, codec: int) -> None:
    data = batch(VALUES, codec, base=7) + batch([b"next"], base=20)
    expected = [*enumerate(VALUES, 7), (20, b"next")]
    assert read(client, data, 7) == (expected, 21)
    assert read(client, data, 9) == (expected[2:], 21), "records before the offset were read earlier"


@CLIENTS
def test_snappy_in_the_framing_of_java_is_read(client: Any) -> None:
    values = [bytes([n]) * 30_000 for n in range(5)]
    payload = b"".join(record(delta, value) for delta, value in enumerate(values))
    data = sealed(xerial(payload), codec=SNAPPY, count=5)
    assert read(client, data)[0] == list(enumerate(values))


@CLIENTS
@CODECS
def test_a_bomb_is_refused_and_its_neighbours_are_read(client: Any, codec: int) -> None:
    data = batch([b"before"]) + bomb(codec, 64 * MIB, base=1) + batch([b"after"], codec, base=2)
    found: list[tuple[int, Any]] = []
    position = 0
    while position < 3:  # a client fetches again what a poll had no room for
        records, position = read(client, data if position == 0 else data[len(batch([b"before"])) :], position)
        found += records
    assert found == [(0, b"before"), (1, (1, "batch_too_large")), (2, b"after")]


DAMAGED = {
    "a wrong checksum": lambda: batch([b"x"] * 3, ZSTD)[:-1] + b"\xff",
    "an unknown codec": lambda: sealed(b"x" * 20, codec=6, count=3),
    "a broken gzip": lambda: sealed(compress(GZIP, b"x" * 99)[:-9], codec=GZIP, count=3),
    "a broken zstd": lambda: sealed(compress(ZSTD, b"x" * 99)[:-3], codec=ZSTD, count=3),
    "a broken lz4": lambda: sealed(compress(LZ4, b"x" * 99)[:-3], codec=LZ4, count=3),
    "a broken snappy": lambda: sealed(compress(SNAPPY, b"x" * 99)[:-3], codec=SNAPPY, count=3),
    "a snappy block without end": lambda: sealed(
        xerial(b"x")[:16] + struct.pack(">i", -1) + b"x" * 9, codec=SNAPPY, count=3
    ),
    "no compressed data": lambda: sealed(b"", codec=GZIP, count=3),
    "a huge number of records": lambda: sealed(b"", count=2**31 - 1, last_delta=2),
    "a negative number of records": lambda: sealed(record(0, b"x"), count=-5, last_delta=2),
    "records that are no records": lambda: sealed(b"\xff" * 40, count=3),
    "a value longer than its record": lambda: sealed(
        varint(8) + b"\0\0\0" + varint(-1) + varint(99) + b"abc", count=3
    ),
    "bytes after the last record": lambda: sealed(b"more", count=0, last_delta=2),
    "an offset beyond the batch": lambda: sealed(record(10**9, b"x"), count=1, last_delta=2),
    "an offset before the batch": lambda: sealed(record(-5, b"x"), count=1, last_delta=2),
}


@CLIENTS
@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_batch_is_refused_and_its_neighbours_are_read(client: Any, damaged: Any) -> None:
    data = damaged()
    data = struct.pack(">q", 1) + data[8:]  # the offset is the broker's, and outside the checksum
    data = batch([b"before"]) + data + batch([b"after"], base=4)
    assert read(client, data) == (
        [(0, b"before"), (3, (1, "undecodable_batch")), (4, b"after")],
        5,
    )


@CLIENTS
def test_a_record_that_is_cut_off_spares_those_before_it(client: Any) -> None:
    payload = record(0, b"a") + record(1, b"b") + record(2, b"c")[:-3]
    data = sealed(compress(ZSTD, payload), codec=ZSTD, count=4) + batch([b"after"], base=4)
    assert read(client, data)[0] == [(0, b"a"), (1, b"b"), (3, (2, "undecodable_batch")), (4, b"after")]


@CLIENTS
def test_a_refused_batch_that_is_read_from_its_middle_begins_there(client: Any) -> None:
    data = sealed(b"x", codec=GZIP, count=100)
    assert read(client, data, 40) == ([(99, (40, "undecodable_batch"))], 100)


@CLIENTS
def test_a_wrong_checksum_never_skips_more_than_the_batch(client: Any) -> None:
    forged = bytearray(sealed(b"x", count=3, last_delta=10**6))
    forged[-1] ^= 1
    assert read(client, bytes(forged))[1] == 1, "nothing confirms where it ends"
    assert read(client, bytes(forged) + batch([b"next"], base=3))[1] == 4


@CLIENTS
def test_keys_and_headers_may_hold_anything(client: Any) -> None:
    header = varint(1) + varint(3) + b"\xff\xfe\xfd" + varint(-1)
    payload = record(0, b"a", key=b"\xff" * 9, headers=header) + record(1, b"b", headers=varint(10**6))
    assert read(client, sealed(payload, count=2))[0] == [(0, b"a"), (1, b"b")]


@CLIENTS
def test_an_empty_batch_of_a_compacted_topic_is_passed(client: Any) -> None:
    assert read(client, sealed(b"", count=0, last_delta=9) + batch([b"x"], base=10)) == ([(10, b"x")], 11)


@CLIENTS
@pytest.mark.parametrize("magic", [0, 1])
def test_messages_of_old_brokers_are_read(client: Any, magic: int) -> None:
    inner = b"".join(legacy(5 + n if magic == 0 else n, b"%d" % n, magic) for n in range(3))
    data = legacy(4, b"plain", magic) + legacy(7, compress(GZIP, inner), magic, GZIP)
    assert read(client, data, 4) == ([(4, b"plain"), (5, b"0"), (6, b"1"), (7, b"2")], 8)


@CLIENTS
def test_a_bomb_or_damage_in_an_old_format_is_refused(client: Any) -> None:
    too_large = legacy(3, compress(GZIP, bytes(64 * MIB)), 1, GZIP)
    nested = legacy(4, compress(GZIP, legacy(0, compress(GZIP, b"x"), 1, GZIP)), 1, GZIP)
    broken = legacy(5, b"no gzip", 1, GZIP)
    data = too_large + nested + broken + legacy(6, b"good")
    assert read(client, data, 3)[0] == [
        (3, (3, "batch_too_large")),
        (4, (4, "undecodable_batch")),
        (5, (5, "undecodable_batch")),
        (6, b"good"),
    ]


@CLIENTS
def test_one_poll_unpacks_no_more_than_the_limit(client: Any) -> None:
    """Batches just below the limit do not add up: the client fetches the others again."""
    batches = [bomb(ZSTD, LIMIT * 3 // 4, base) for base in range(30)]
    position, polls = 0, 0
    while position < 30:
        record_batches.BUDGET.start_poll()
        records, position = client(b"".join(batches[position:]), position)
        assert sum(len(found.value) for found in records) <= LIMIT
        assert len(records) == 1
        polls += 1
    assert polls == 30


class AbortedTransaction(NamedTuple):
    """As both clients hand it on."""

    producer_id: int
    first_offset: int


@pytest.mark.parametrize("committed", [True, False])
@CLIENTS
def test_aborted_transactions_and_control_batches_are_left_to_the_client(
    client: Any, committed: bool
) -> None:
    aborted = sealed(record(0, b"a") + record(1, b"b"), codec=TRANSACTIONAL, count=2, producer=7)
    abort, commit = (record(0, b"", key=struct.pack(">hh", 0, kind)) for kind in (0, 1))
    marker = sealed(abort, codec=TRANSACTIONAL | CONTROL, base=2, producer=7)
    kept = sealed(record(0, b"c"), codec=TRANSACTIONAL, base=3, producer=7)
    end = sealed(commit, codec=TRANSACTIONAL | CONTROL, base=4, producer=7)
    data = aborted + marker + kept + end + batch([b"d"], base=5)
    record_batches.BUDGET.start_poll()
    records, position = client(data, 0, committed, [AbortedTransaction(7, 0)])
    values = [found.value for found in records]
    assert values == ([b"c", b"d"] if committed else [b"a", b"b", b"c", b"d"])
    assert position == 6


@CODECS
def test_unpacking_stops_at_the_limit(codec: int) -> None:
    data = bytes(LIMIT)
    assert decompress(codec, compress(codec, data), LIMIT) == data
    with pytest.raises(Rejected, match=r"kafka\.max_batch_bytes"):
        decompress(codec, compress(codec, data), LIMIT - 1)


@CODECS
@pytest.mark.parametrize("extra", [-258, -1, 0, 1, 258, 32_768])
def test_data_that_ends_near_the_steps_of_unpacking_is_read_whole(codec: int, extra: int) -> None:
    """A step may end before all that was read is unpacked."""
    data = (bytes(range(256)) * 4096 * 2)[: MIB + extra] + bytes(MIB)
    assert decompress(codec, compress(codec, data), LIMIT) == data


def test_gzip_members_that_follow_each_other_are_read_up_to_a_number() -> None:
    assert decompress(GZIP, compress(GZIP, b"a") * 900, LIMIT) == b"a" * 900
    with pytest.raises(Rejected, match="more than 1000 members"):
        decompress(GZIP, compress(GZIP, b"") * 5000, LIMIT)


MEASURE = """
import resource, sys
from stream.kafka import record_batches
from stream.kafka.decompression import decompress
from stream.domain.errors import Rejected
codec, data = int(sys.argv[1]), open(sys.argv[2], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(30):
    try:
        decompress(codec, data, 4 << 20)
    except Rejected:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("codec", "gibibytes"), [(ZSTD, 4), (LZ4, 1), (GZIP, 1)], ids=["zstd", "lz4", "gzip"]
)
def test_thirty_bombs_take_no_more_memory_than_one(codec: int, gibibytes: int, tmp_path: Any) -> None:
    file = tmp_path / "bomb"
    file.write_bytes(bomb(codec, gibibytes << 30)[61:])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(codec), str(file)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40_000, "kilobytes"


TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def headers(*pairs: tuple[bytes, bytes | None], count: int | None = None) -> bytes:
    parts = [varint(len(pairs) if count is None else count)]
    for name, value in pairs:
        parts += [varint(len(name)), name, *([varint(-1)] if value is None else [varint(len(value)), value])]
    return b"".join(parts)


def with_headers(*records: bytes) -> bytes:
    packed = b"".join(record(delta, b"value", headers=each) for delta, each in enumerate(records))
    return sealed(packed, count=len(records))


def test_the_stream_reads_the_header_of_the_trace_alone_and_a_message_to_send_again_has_all() -> None:
    pairs = [(b"a", b"1"), (b"traceparent", b"old"), (b"empty", None), (b"traceparent", TRACE), (b"z", b"2")]
    data = with_headers(headers(*pairs), headers(), headers((b"a", b"1")))
    read, _ = by_aiokafka(data, 0)
    assert [message.headers for message in read] == [(("traceparent", TRACE),), (), ()], "the last one counts"
    every, _ = by_kafka_python(data, 0)
    assert every[0].headers == tuple((name.decode(), value) for name, value in pairs)
    assert [message.headers for message in every[1:]] == [(), (("a", b"1"),)]


@pytest.mark.parametrize(
    "damaged",
    [
        headers((b"traceparent", TRACE))[:-10],
        headers((b"\xff\xff", b"1")),
        headers((b"a", b"1"), count=1 << 40),
        varint(-1),
        b"\xff" * 12,
        b"",
        headers((b"traceparent", None)),
    ],
)
@CLIENTS
def test_headers_that_cannot_be_read_cost_no_message(client: Any, damaged: bytes) -> None:
    data = with_headers(damaged, headers((b"traceparent", TRACE)))
    read, next_offset = client(data, 0)
    assert [message.value for message in read] == [b"value", b"value"] and next_offset == 2
    assert read[1].headers == (("traceparent", TRACE),)


@CLIENTS
def test_a_record_has_the_time_of_its_sender_or_of_the_broker(client: Any) -> None:
    (sent,), _ = client(batch([b"x"]), 0)
    assert abs(sent.timestamp / 1000 - time.time()) < 60 and sent.timestamp_type == 0
    (appended,), _ = client(sealed(record(0, b"x"), codec=APPEND_TIME), 0)
    assert appended.timestamp_type == 1 and abs(appended.timestamp / 1000 - time.time()) < 60

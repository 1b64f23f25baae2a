"""Reads the record batches of a fetch response: bounded, one at a time, and without giving up on a bad one.

Both Kafka clients, aiokafka under Faust and kafka-python under `monitor replay`, unpack a batch without any
limit and raise on one that is damaged, and raise again after every restart.  `install` replaces the classes
with which their fetchers read a response.  A batch that cannot be read becomes one record, without a value,
at the last offset of the batch; its RefusedBatch is in `checksum`, a field that both clients pass on and that
the current format leaves empty.  The stream makes a dead letter of it, and its neighbours are read.

A record's key and headers may hold what they like: what cannot be read of the headers is left out.  Under
Faust only the header of a trace is read, since a message may carry many that nobody needs.

Source: https://kafka.apache.org/documentation/#messageformat, and KIP-98 for control batches.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher as aiokafka_fetcher
from crc32c import crc32c
from kafka.consumer import fetcher as kafka_python_fetcher

from stream.domain.errors import DeadLetterReason, Rejected
from stream.domain.records import RefusedBatch
from stream.domain.tracing import TRACEPARENT
from stream.kafka.decompression import decompress

# Offset and length, which every format begins with; the length does not count these bytes.
PREFIX = struct.Struct(">qi")
MAGIC_AT = 16
HEADER = struct.Struct(">qiibIhiqqqhii")
CRC_STARTS_AT = 21
CODEC_MASK, APPEND_TIME, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20
# The formats 0 and 1, which a broker still returns for what was written before Kafka 0.11.
LEGACY_HEADER = struct.Struct(">qiIbb")
LEGACY_CRC_STARTS_AT = 16
LEGACY_TIMESTAMP_BYTES = {0: 0, 1: 8}
INT32, INT64 = struct.Struct(">i"), struct.Struct(">q")
CONTROL_KEY = struct.Struct(">hh")
MAX_VARINT_SHIFT = 63
DEFAULT_LIMIT = 33_554_432
# The name of the header as it is in a record: its length as a varint, and the name.
TRACE_HEADER = bytes([2 * len(TRACEPARENT)]) + TRACEPARENT.encode()
Headers = tuple[tuple[str, bytes | None], ...]
ReadHeaders = Callable[[bytes, int, int], Headers]


@dataclass
class UnpackBudget:
    """How many bytes one poll may unpack: `limit` in all, however many partitions and batches it reads."""

    limit: int = DEFAULT_LIMIT
    left: int = DEFAULT_LIMIT

    def start_poll(self) -> None:
        self.left = self.limit

    @property
    def is_untouched(self) -> bool:
        return self.left == self.limit


# Each process has one: the clients create their fetchers themselves and hand them nothing of ours.
BUDGET = UnpackBudget()


class FetchedRecord(NamedTuple):
    """A record as both clients expect it."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp: int = -1
    timestamp_type: int = 0
    headers: Headers = ()
    checksum: RefusedBatch | None = None

    @property
    def size_in_bytes(self) -> int:
        return len(self.value or b"")

    @property
    def abort(self) -> bool:
        """Whether a control record ends its transaction without a commit."""
        return self.key is not None and CONTROL_KEY.unpack_from(self.key)[1] == 0

    def validate_crc(self) -> bool:
        return True


def all_headers(data: bytes, position: int, end: int) -> Headers:
    """The headers of a record, up to the first that cannot be read."""
    headers = []
    with suppress(IndexError, UnicodeDecodeError, Rejected):
        number, position = _varint(data, position)
        for _ in range(number):
            name, position = _bytes(data, position, end)
            value, position = _bytes(data, position, end)
            headers.append(((name or b"").decode(), value))
    return tuple(headers)


def trace_header(data: bytes, position: int, end: int) -> Headers:
    """The last header of a record that may be that of a trace, without reading the others.

    Looking for its name takes a tenth of a microsecond; reading a header takes ten times as long.
    """
    found = data.rfind(TRACE_HEADER, position, end)
    if found < 0:
        return ()
    with suppress(IndexError, Rejected):
        return ((TRACEPARENT, _bytes(data, found + len(TRACE_HEADER), end)[0]),)
    return ()


@dataclass
class RecordBatch:
    """One batch, unpacked, as both clients expect it.

    `records` are the bytes of its records; `error` says why there are none.
    """

    base_offset: int
    next_offset: int
    records: bytes = b""
    count: int = 0
    magic: int = 2
    attributes: int = 0
    producer_id: int | None = None
    leader_epoch: int = -1
    first_timestamp: int = -1
    last_timestamp: int = -1
    error: Rejected | None = None
    read_headers: ReadHeaders = trace_header

    @property
    def last_offset(self) -> int:
        return self.next_offset - 1

    @property
    def is_control_batch(self) -> bool:
        return bool(self.attributes & CONTROL)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL)

    def has_producer_id(self) -> bool:
        return self.producer_id is not None and self.producer_id >= 0

    def validate_crc(self) -> bool:
        """It was checked when the batch was cut out of the response."""
        return True

    def __next__(self) -> FetchedRecord:
        """The first record of a control batch."""
        return next(self._read())

    def __iter__(self) -> Iterator[FetchedRecord]:
        """The records in order, and at the end one for those that cannot be read."""
        expected = self.base_offset
        try:
            if self.error is not None:
                raise self.error
            for record in self._read():
                if not expected <= record.offset < self.next_offset:
                    raise _undecodable(f"offset {record.offset} after {expected - 1}")
                expected = record.offset + 1
                yield record
        except Rejected as error:
            if expected < self.next_offset:
                refused = RefusedBatch(expected, self.last_offset, error.reason, error.detail)
                yield FetchedRecord(self.last_offset, None, checksum=refused)

    def _read(self) -> Iterator[FetchedRecord]:
        return self._read_current() if self.magic == 2 else self._read_legacy()

    def _read_current(self) -> Iterator[FetchedRecord]:
        data, position = self.records, 0
        appended = self.last_timestamp if self.attributes & APPEND_TIME else None
        timestamp_type = int(appended is not None)
        try:
            for number in range(self.count):
                length, position = _varint(data, position)
                end = position + length
                if length < 0 or end > len(data):
                    raise _undecodable(f"record {number} of {self.count} is cut off")
                delta, position = _varint(data, position + 1)  # of the timestamp, after a byte of attributes
                offset_delta, position = _varint(data, position)
                key, position = _bytes(data, position, end)
                value, position = _bytes(data, position, end)
                # Most messages have no header: a number of 0 is one byte.
                has_headers = position < end and data[position]
                headers = self.read_headers(data, position, end) if has_headers else ()
                timestamp = self.first_timestamp + delta if appended is None else appended
                yield FetchedRecord(
                    self.base_offset + offset_delta, value, key, timestamp, timestamp_type, headers
                )
                position = end
        except IndexError as error:
            raise _undecodable("the records are cut off") from error
        if position != len(data):
            raise _undecodable(f"{len(data) - position} bytes follow the last record")

    def _read_legacy(self) -> Iterator[FetchedRecord]:
        """A message set; in format 1 the offsets of a compressed one are relative to the last of them."""
        data = self.records
        try:
            starts = list(_legacy_starts(data))
            last = PREFIX.unpack_from(data, starts[-1])[0] if starts else 0
            for start in starts:
                offset, _, _, magic, attributes = LEGACY_HEADER.unpack_from(data, start)
                if attributes & CODEC_MASK:
                    raise _undecodable("a compressed message within a compressed message")
                value = _legacy_value(data, start, magic)
                timestamp = _legacy_timestamp(data, start, magic)
                yield FetchedRecord(offset + self.last_offset - last, value, timestamp=timestamp)
        except (struct.error, KeyError) as error:
            raise _undecodable(f"the messages are damaged: {error!r}") from error


class FetchedBatches:
    """The batches of one partition in one response, in place of both clients' MemoryRecords.

    Until `start_reading` nothing is unpacked: a response may wait.  Reading stops early once the poll has
    unpacked enough; the client then fetches the rest again.
    """

    def __init__(self, data: bytes | bytearray | memoryview | None) -> None:
        self._data = memoryview(data or b"")
        self._position = 0
        self._reads_from: int | None = None
        self._next: RecordBatch | None = None
        self._read_headers: ReadHeaders = trace_header

    def size_in_bytes(self) -> int:
        return len(self._data)

    def start_reading(self, offset: int, read_headers: ReadHeaders = trace_header) -> None:
        """From now on batches are unpacked; records below `offset` were read before."""
        self._reads_from, self._read_headers = offset, read_headers

    def has_next(self) -> bool:
        if self._reads_from is None:
            return self._end_of_batch() is not None
        if self._next is None:
            self._next = self._unpack_next(self._reads_from)
        return self._next is not None

    def next_batch(self) -> RecordBatch | None:
        if not self.has_next():
            return None
        batch, self._next = self._next, None
        return batch

    def _end_of_batch(self) -> int | None:
        """Where the next batch ends; None if the response holds no more, or only the beginning of one."""
        if self._position + PREFIX.size > len(self._data):
            return None
        _, length = PREFIX.unpack_from(self._data, self._position)
        end: int = self._position + PREFIX.size + length
        return end if self._position + LEGACY_HEADER.size <= end <= len(self._data) else None

    def _unpack_next(self, reads_from: int) -> RecordBatch | None:
        end = self._end_of_batch()
        if end is None:
            return None
        start, data = self._position, bytes(self._data[self._position : end])
        self._position = end
        try:
            batch = _batch(data, BUDGET.left)
        except Rejected as error:
            if error.reason is DeadLetterReason.BATCH_TOO_LARGE and not BUDGET.is_untouched:
                self._position = start
                self._data = self._data[:start]  # the rest is fetched again
                return None
            batch = self._refused(data, reads_from, error)
        batch.read_headers = self._read_headers
        BUDGET.left = max(0, BUDGET.left - len(batch.records) - 1)
        self._reads_from = batch.next_offset
        return batch

    def _refused(self, data: bytes, reads_from: int, error: Rejected) -> RecordBatch:
        """The batch as far as it can be trusted: it ends where the next one begins, if there is one."""
        base, _ = PREFIX.unpack_from(data)
        if data[MAGIC_AT] in LEGACY_TIMESTAMP_BYTES:
            first, last = min(base, reads_from), base
        else:
            first, last = max(base, reads_from), _last_offset(data)
        if self._end_of_batch() is not None:
            following, _ = PREFIX.unpack_from(self._data, self._position)
            last = min(last, following - 1)
        last = max(last, first)
        return RecordBatch(base_offset=first, next_offset=last + 1, error=error)


def install(limit: int) -> None:
    """Have the fetchers of both clients read responses with this module, at most `limit` bytes at a time.

    Neither client can be handed a reader, so the names under which their fetchers find theirs are replaced.
    """
    BUDGET.limit = limit
    BUDGET.start_poll()
    aiokafka_fetcher.MemoryRecords = FetchedBatches
    aiokafka_fetcher.PartitionRecords = AiokafkaPartition
    kafka_python_fetcher.MemoryRecords = FetchedBatches
    kafka_python_fetcher.Fetcher.PartitionRecords = KafkaPythonPartition


class AiokafkaPartition(aiokafka_fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's reader of one partition's response, which says when it starts to read.

    Between two polls `is_half_read` says whether it keeps an unpacked batch.
    """

    is_half_read = False

    def _unpack_records(self) -> Iterator[Any]:
        self._records.start_reading(self.next_fetch_offset)
        self.is_half_read = True
        yield from super()._unpack_records()
        self.is_half_read = False


class KafkaPythonPartition(kafka_python_fetcher.Fetcher.PartitionRecords):  # type: ignore[misc]
    """kafka-python's reader of one partition's response, which says when it starts to read.

    It reads every header: a message that is sent again keeps them.
    """

    def _unpack_records(self, tp: Any, records: FetchedBatches, *deserializers: Any) -> Iterator[Any]:
        records.start_reading(self.fetch_offset, all_headers)
        yield from super()._unpack_records(tp, records, *deserializers)


def _batch(data: bytes, limit: int) -> RecordBatch:
    """The batch in these bytes.  Raises Rejected if it cannot be unpacked within `limit` bytes."""
    magic = data[MAGIC_AT]
    if magic in LEGACY_TIMESTAMP_BYTES:
        return _legacy_batch(data, magic, limit)
    if magic != 2 or len(data) < HEADER.size:
        raise _undecodable(f"unknown message format {magic}, or cut off")
    fields = HEADER.unpack_from(data)
    base, _, epoch, _, crc, attributes, last_delta, first, last, producer_id, _, _, count = fields
    if crc32c(memoryview(data)[CRC_STARTS_AT:]) != crc:
        raise _undecodable("the checksum is wrong: the data was damaged on the broker's disk or on its way")
    if last_delta < 0 or count < 0:
        raise _undecodable(f"{count} records up to offset {base + last_delta}")
    return RecordBatch(
        base_offset=base,
        next_offset=base + last_delta + 1,
        records=_unpacked(attributes & CODEC_MASK, data[HEADER.size :], limit),
        count=count,
        attributes=attributes,
        producer_id=producer_id,
        leader_epoch=epoch,
        first_timestamp=first,
        last_timestamp=last,
    )


def _last_offset(data: bytes) -> int:
    """The last offset of a damaged batch, or its first if nothing confirms the last."""
    base: int = PREFIX.unpack_from(data)[0]
    if len(data) < HEADER.size:
        return base
    crc, _, last_delta, *_, count = HEADER.unpack_from(data)[4:]
    is_intact = crc32c(memoryview(data)[CRC_STARTS_AT:]) == crc
    return base + max(0, last_delta) if is_intact or last_delta == count - 1 else base


def _legacy_batch(data: bytes, magic: int, limit: int) -> RecordBatch:
    """A message of format 0 or 1, or the message set that is compressed in its value."""
    offset, _, crc, _, attributes = LEGACY_HEADER.unpack_from(data)
    if zlib.crc32(memoryview(data)[LEGACY_CRC_STARTS_AT:]) != crc:
        raise _undecodable("the checksum is wrong: the data was damaged on the broker's disk or on its way")
    codec, records, first = attributes & CODEC_MASK, data, offset
    if codec:
        try:
            packed = _legacy_value(data, 0, magic)
        except struct.error as error:
            raise _undecodable(f"the message is damaged: {error!r}") from error
        records = _unpacked(codec, packed or b"", limit)
        first = offset - sum(1 for _ in _legacy_starts(records)) + 1
    return RecordBatch(base_offset=max(0, first), next_offset=offset + 1, records=records, magic=magic)


def _unpacked(codec: int, data: bytes, limit: int) -> bytes:
    """Data that is not compressed is in memory already, whatever its size."""
    return decompress(codec, data, limit) if codec else data


def _legacy_starts(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        _, length = PREFIX.unpack_from(data, position)
        end = position + PREFIX.size + length
        if length < 0 or end > len(data):
            raise _undecodable("the messages are cut off")
        yield position
        position = end


def _legacy_value(data: bytes, start: int, magic: int) -> bytes | None:
    position = start + LEGACY_HEADER.size + LEGACY_TIMESTAMP_BYTES[magic]
    (key_length,) = INT32.unpack_from(data, position)
    position += INT32.size + max(0, key_length)
    (length,) = INT32.unpack_from(data, position)
    position += INT32.size
    if length > len(data) - position:
        raise _undecodable("a value is cut off")
    return None if length < 0 else data[position : position + length]


def _legacy_timestamp(data: bytes, start: int, magic: int) -> int:
    """Of format 1; format 0 has none.  In a compressed set with append time, that of the inner message."""
    if not LEGACY_TIMESTAMP_BYTES[magic]:
        return -1
    timestamp: int = INT64.unpack_from(data, start + LEGACY_HEADER.size)[0]
    return timestamp


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint, and the position after it.  Raises IndexError at the end of the data."""
    byte = data[position]
    position += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        if shift > MAX_VARINT_SHIFT:
            raise _undecodable("a number is too long")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
    return (value >> 1) ^ -(value & 1), position


def _bytes(data: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    """A nullable byte string that ends before `end`, and the position after it."""
    length, position = _varint(data, position)
    if length < 0:
        return None, position
    if position + length > end:
        raise _undecodable("a key or value is longer than its record")
    return data[position : position + length], position + length


def _undecodable(detail: str) -> Rejected:
    return Rejected(DeadLetterReason.UNDECODABLE_BATCH, detail)

"""Record batches made by hand: compressed, damaged, or far larger unpacked than packed."""

import itertools
import socket
import struct
import time
import zlib
from collections.abc import Iterator, Sequence

import cramjam
from crc32c import crc32c

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20
MIB = 1 << 20
PRODUCE, PRODUCE_VERSION = 0, 7  # the first version that may carry zstd


def varint(number: int) -> bytes:
    zigzag, out = (number << 1) ^ (number >> 63), bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def record(delta: int, value: bytes | None, key: bytes | None = None, headers: bytes = b"\0") -> bytes:
    parts = [b"\0", varint(0), varint(delta)]
    for item in (key, value):
        parts += [varint(-1)] if item is None else [varint(len(item)), item]
    body = b"".join(parts) + headers
    return varint(len(body)) + body


def compress(codec: int, data: bytes) -> bytes:
    match codec:
        case 0:
            return data
        case 1:
            packer = zlib.compressobj(wbits=31)
            return packer.compress(data) + packer.flush()
        case 2:
            return bytes(cramjam.snappy.compress_raw(data))
        case 3 | 4:
            return _packed(codec, iter([data]))
    raise ValueError(f"codec {codec}")


def xerial(data: bytes, block: int = 32_768) -> bytes:
    """Snappy in the framing of its Java library."""
    packed = [compress(SNAPPY, data[at : at + block]) for at in range(0, len(data), block)]
    header = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
    return header + b"".join(struct.pack(">i", len(part)) + part for part in packed)


def sealed(
    payload: bytes,
    *,
    codec: int = 0,
    base: int = 0,
    count: int = 1,
    last_delta: int | None = None,
    producer: int = -1,
) -> bytes:
    """A batch of the current format around records that are packed already.

    `codec` are all attributes: TRANSACTIONAL and CONTROL may be added.
    """
    last_delta = count - 1 if last_delta is None else last_delta
    now = int(time.time() * 1000)
    covered = struct.pack(">hiqqqhii", codec, last_delta, now, now, producer, -1, -1, count) + payload
    after_length = struct.pack(">ibI", 0, 2, crc32c(covered)) + covered
    return struct.pack(">qi", base, len(after_length)) + after_length


def batch(values: Sequence[bytes | None], codec: int = 0, base: int = 0) -> bytes:
    records = b"".join(record(delta, value) for delta, value in enumerate(values))
    return sealed(compress(codec, records), codec=codec, base=base, count=len(values))


def bomb(codec: int, size: int, base: int = 0) -> bytes:
    """A batch of one record of `size` zeros."""
    body = b"\0" + varint(0) + varint(0) + varint(-1) + varint(size)
    start = varint(len(body) + size + 1) + body
    zeros = itertools.repeat(bytes(MIB), size // MIB)
    parts = itertools.chain([start], zeros, [bytes(size % MIB + 1)])
    return sealed(_packed(codec, parts), codec=codec, base=base)


def _packed(codec: int, parts: Iterator[bytes]) -> bytes:
    if codec == SNAPPY:  # a broker unpacks what is not cut into blocks at once, and would run out of memory
        return xerial(b"".join(parts))
    if codec == GZIP:
        packer = zlib.compressobj(wbits=31)
        return b"".join(packer.compress(part) for part in parts) + packer.flush()
    # A broker takes no blocks that depend on each other.
    lz4 = cramjam.lz4.Compressor(block_linked=False) if codec == LZ4 else None
    stream = lz4 or cramjam.zstd.Compressor()
    for part in parts:
        stream.compress(part)
    return bytes(stream.finish())


def legacy(offset: int, value: bytes, magic: int = 1, codec: int = 0) -> bytes:
    """A message of format 0 or 1."""
    timestamp = struct.pack(">q", 0) if magic else b""
    body = struct.pack(">bb", magic, codec) + timestamp + struct.pack(">ii", -1, len(value)) + value
    checked = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", offset, len(checked)) + checked


def produce(bootstrap: str, topic: str, batch: bytes, partition: int = 0) -> int:
    """Send a batch as it is; the broker's error code, 0 if it took it."""
    name, client = topic.encode(), b"tests"
    body = struct.pack(">hhih", PRODUCE, PRODUCE_VERSION, 1, len(client)) + client
    body += struct.pack(">hhii", -1, -1, 60_000, 1) + struct.pack(">h", len(name)) + name
    body += struct.pack(">iii", 1, partition, len(batch)) + batch
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            response = answer.read(size)
    # Correlation id, number of topics, the topic's name, number of partitions, partition; then the error.
    return int(struct.unpack_from(">h", response, 4 + 4 + 2 + len(name) + 4 + 4)[0])

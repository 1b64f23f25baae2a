"""Unpacks compressed record batches within a limit: no message may cost more memory than the settings allow.

A batch of 49 KB can hold gigabytes of zeros.  The Kafka clients unpack it whole before any limit of theirs
applies, so they are never asked to: `stream.kafka.record_batches` calls this module instead.
"""

import mmap
import struct
import zlib
from collections.abc import Callable, Mapping

import cramjam

from stream.domain.errors import DeadLetterReason, Rejected

# The codecs by their number in a batch's attributes (Kafka protocol guide, "Record Batch").
CODEC_NAMES = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
GZIP_INPUT_BYTES, GZIP_OUTPUT_BYTES = 65_536, 1_048_576
# A producer writes one.  Without a limit, empty ones would cost time out of proportion to their size.
MAX_GZIP_MEMBERS = 1000
# Snappy's Java library writes blocks, each with its length, after a header of 16 bytes that begins like this.
XERIAL_MAGIC = b"\x82SNAPPY\0"
XERIAL_HEADER_BYTES = 16
BLOCK_LENGTH = struct.Struct(">i")


def decompress(codec: int, data: bytes, limit: int) -> bytes:
    """The unpacked bytes, at most `limit` of them.

    Raises Rejected with the reason BATCH_TOO_LARGE once there are more, and UNDECODABLE_BATCH if the codec is
    unknown or the data is damaged.
    """
    unpack = UNPACKERS.get(codec)
    if unpack is None:
        raise Rejected(DeadLetterReason.UNDECODABLE_BATCH, f"unknown compression codec {codec}")
    try:
        return unpack(data, limit)
    except (zlib.error, cramjam.DecompressionError, struct.error, ValueError) as error:
        detail = f"{CODEC_NAMES[codec]}: {error}"
        raise Rejected(DeadLetterReason.UNDECODABLE_BATCH, detail) from error


def _gunzip(data: bytes, limit: int) -> bytes:
    """Reads members that follow each other, as the format allows, in steps of bounded size."""
    parts, size, position, members = [], 0, 0, 0
    while position < len(data):
        if (members := members + 1) > MAX_GZIP_MEMBERS:
            raise ValueError(f"more than {MAX_GZIP_MEMBERS} members")
        member = zlib.decompressobj(GZIP_OR_ZLIB)
        while not member.eof:
            packed = member.unconsumed_tail
            if not packed:
                packed = data[position : position + GZIP_INPUT_BYTES]
                position += len(packed)
            part = member.decompress(packed, min(GZIP_OUTPUT_BYTES, limit + 1 - size))
            size += len(part)
            if size > limit:
                raise _too_large("gzip", data, limit)
            if not (packed or part or member.eof):
                raise ValueError("the data ends too early")
            parts.append(part)
        position -= len(member.unused_data)
    return b"".join(parts)


def _unsnappy(data: bytes, limit: int) -> bytes:
    """Snappy says first how long the unpacked data is; the Java library's framing says so for each block."""
    if not data.startswith(XERIAL_MAGIC) or len(data) < XERIAL_HEADER_BYTES:
        return _unsnappy_block(data, memoryview(data), limit, 0)
    parts, size, position = [], 0, XERIAL_HEADER_BYTES
    while position < len(data):
        (length,) = BLOCK_LENGTH.unpack_from(data, position)
        start, position = position + BLOCK_LENGTH.size, position + BLOCK_LENGTH.size + length
        if length <= 0 or position > len(data):
            raise ValueError(f"a block of {length} bytes where {len(data) - start} are left")
        parts.append(_unsnappy_block(data, memoryview(data)[start:position], limit, size))
        size += len(parts[-1])
    return b"".join(parts)


def _unsnappy_block(data: bytes, block: memoryview, limit: int, size: int) -> bytes:
    packed = bytes(block)
    if size + cramjam.snappy.decompress_raw_len(packed) > limit:
        raise _too_large("snappy", data, limit)
    return bytes(cramjam.snappy.decompress_raw(packed))


def _into_buffer(name: str, unpack_into: Callable[[bytes, mmap.mmap], int]) -> Callable[[bytes, int], bytes]:
    """Unpack into a buffer that is one byte larger than the limit.

    Memory that is mapped costs nothing before it is written, and goes back to the system at once.
    """

    def unpack(data: bytes, limit: int) -> bytes:
        with mmap.mmap(-1, limit + 1) as buffer:
            try:
                size = unpack_into(data, buffer)
            except cramjam.DecompressionError as error:
                if "whole buffer" in str(error):
                    raise _too_large(name, data, limit) from error
                raise
            if size > limit:
                raise _too_large(name, data, limit)
            return buffer[:size]

    return unpack


def _too_large(name: str, data: bytes, limit: int) -> Rejected:
    return Rejected(
        DeadLetterReason.BATCH_TOO_LARGE,
        f"{len(data)} bytes of {name} unpack to more than kafka.max_batch_bytes ({limit})",
    )


UNPACKERS: Mapping[int, Callable[[bytes, int], bytes]] = {
    1: _gunzip,
    2: _unsnappy,
    3: _into_buffer("lz4", cramjam.lz4.decompress_into),
    4: _into_buffer("zstd", cramjam.zstd.decompress_into),
}

"""Reads the leader epochs of fetched messages from their record batches; aiokafka does not pass them on.

Every leader of a partition has an epoch, which grows, and writes it into its batches.  A message is known by
offset and epoch together: if a log was cut and has grown again, other messages have the same offsets in a
later epoch.  The layout of a record batch: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from collections.abc import Iterator

from stream.domain.records import UNKNOWN_EPOCH

# baseOffset, batchLength (of what follows it), partitionLeaderEpoch, magic
HEADER = struct.Struct(">qiib")
BEFORE_LENGTH_ENDS = 12
# Older message formats have no epoch.
FIRST_MAGIC_WITH_EPOCH = 2
# One fetch seldom spans more than two; older ones are of messages that were handed over long ago.
KEPT_EPOCHS = 16


def epoch_starts(records: bytes | bytearray | memoryview) -> Iterator[tuple[int, int]]:
    """The first offset and the epoch of each batch whose epoch differs from the one before it."""
    at, before = 0, None
    while at + HEADER.size <= len(records):
        offset, length, epoch, magic = HEADER.unpack_from(records, at)
        epoch = epoch if magic >= FIRST_MAGIC_WITH_EPOCH else UNKNOWN_EPOCH
        if epoch != before:
            yield offset, epoch
        before = epoch
        at += BEFORE_LENGTH_ENDS + max(length, 1)


class LeaderEpochs:
    """The epochs of one partition's latest messages, by the offset at which each begins."""

    def __init__(self) -> None:
        self._starts: list[tuple[int, int]] = []

    def add(self, records: bytes | bytearray | memoryview) -> None:
        """Note the epochs of what a fetch returned."""
        starts = list(self._starts)
        for offset, epoch in epoch_starts(records):
            # A fetch further back, after a seek, replaces what was known from there on.
            while starts and starts[-1][0] >= offset:
                starts.pop()
            if not starts or starts[-1][1] != epoch:
                starts.append((offset, epoch))
        self._starts = starts[-KEPT_EPOCHS:]

    def at(self, offset: int) -> int:
        """The epoch of the message at this offset, UNKNOWN_EPOCH if it was not noted."""
        for start, epoch in reversed(self._starts):
            if start <= offset:
                return epoch
        return UNKNOWN_EPOCH

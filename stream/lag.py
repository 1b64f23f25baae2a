"""Calculates how far the worker is behind Kafka, from offsets and times that it is given."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from stream.bundles import TopicPartition
from stream.domain.records import UNKNOWN_EPOCH


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far one partition was fetched and written, and where reading can get to in Kafka.

    `written` is the next offset in SQL, None if nothing was delivered since the partition was assigned;
    `delivered` is the offset after the last message that left the consumer, None before the first;
    `start` is the first offset to fetch since then, and `position` the next; `end` is the last stable offset
    as of `end_seen_at`, in seconds since 1970.  `leader_epoch` is that of the message before `position`, -1
    if it is unknown.  `undecided` counts the messages from the last stable offset on, which belong to open
    transactions or follow one; None if it is unknown.
    """

    written: int | None
    delivered: int | None
    start: int
    position: int
    end: int
    end_seen_at: float
    leader_epoch: int = UNKNOWN_EPOCH
    undecided: int | None = None

    @property
    def done(self) -> int:
        """The offset below which every message is in SQL.

        Transaction markers, aborted messages and compacted ones take up offsets that are never delivered.
        So if every delivered message is written, this is the next offset to fetch.
        """
        if self.written is None:
            return self.position
        all_written = self.delivered is None or self.delivered <= self.written
        return max(self.position, self.written) if all_written else self.written

    @property
    def hole(self) -> "Hole | None":
        """The offsets without a message that follow what is in SQL; None if there are none."""
        first = self.start if self.written is None else self.written
        return Hole(first, self.done, self.leader_epoch) if self.done > first else None


class InHand(NamedTuple):
    """What was fetched of a topic and is not in SQL yet, in bytes as they are bounded, and the partitions
    that are paused because of it."""

    bytes: int
    paused: frozenset[int]


class Hole(NamedTuple):
    """Offsets of a partition that hold no message: from `first` up to, not including, `end`.

    `leader_epoch` is that of what is before `end`, -1 if it is unknown.
    """

    first: int
    end: int
    leader_epoch: int


class LagTracker:
    """Tracks for each assigned partition how many messages wait, and when it had last caught up.

    `waiting` counts the messages that are not in SQL yet.  `caught_up` is when everything that Kafka held
    was last in SQL, in seconds since 1970; until that happens for the first time, when the partition was
    assigned.  `held_since` is since when a partition cannot be read further because of an open transaction;
    the others are missing.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.waiting: dict[TopicPartition, int] = {}
        self.caught_up: dict[TopicPartition, float] = {}
        self.held_since: dict[TopicPartition, float] = {}
        # The last stable offset that the partition is held at.
        self._held_at: dict[TopicPartition, int] = {}
        # An end of each partition that is not reached yet, with the time at which it was seen.
        self._targets: dict[TopicPartition, tuple[float, int]] = {}

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Track exactly these partitions from now on."""
        now = self._clock()
        self._targets.clear()
        self.caught_up = {partition: self.caught_up.get(partition, now) for partition in partitions}

    def update(self, progress: Mapping[TopicPartition, PartitionProgress]) -> None:
        """Use the latest progress; the lag of a partition that is missing is unknown."""
        for partition, state in progress.items():
            self._update_caught_up(partition, state)
            self._update_held(partition, state)
        self.held_since = {
            partition: since for partition, since in self.held_since.items() if partition in progress
        }
        self.waiting = {partition: max(0, state.end - state.done) for partition, state in progress.items()}

    def _update_caught_up(self, partition: TopicPartition, state: PartitionProgress) -> None:
        """A worker that reaches an end seen earlier had caught up then; the next target is the end now."""
        seen_at, target = self._targets.setdefault(partition, (state.end_seen_at, state.end))
        if state.done >= target:
            self.caught_up[partition] = seen_at
            self._targets[partition] = (state.end_seen_at, state.end)

    def _update_held(self, partition: TopicPartition, state: PartitionProgress) -> None:
        """A stable offset that moves belongs to transactions that end."""
        if not state.undecided:
            self.held_since.pop(partition, None)
        elif partition not in self.held_since or self._held_at.get(partition) != state.end:
            self.held_since[partition] = state.end_seen_at
        self._held_at[partition] = state.end

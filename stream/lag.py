"""Calculates how far the worker is behind Kafka, from offsets and times that it is given."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stream.bundles import TopicPartition


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far one partition was fetched and written, and where it ends in Kafka.

    `written` is the next offset in SQL, None if nothing was delivered since the partition was assigned;
    `delivered` is the latest offset that left the consumer, None before the first; `position` is the next
    offset to fetch; `end` is the high-water mark that the broker reported at `end_seen_at`, in seconds
    since 1970.
    """

    written: int | None
    delivered: int | None
    position: int
    end: int
    end_seen_at: float

    @property
    def done(self) -> int:
        """The offset below which every message is in SQL.

        Transaction markers take up offsets that no message has.  So if everything was fetched and every
        delivered message is written, this is the end of the partition.
        """
        done = self.position if self.written is None else self.written
        all_fetched = self.position >= self.end
        all_written = self.delivered is None or self.delivered < done
        return self.end if all_fetched and all_written else done


class LagTracker:
    """Tracks for each assigned partition how many messages wait, and when it had last caught up.

    `waiting` counts the messages that are not in SQL yet.  `caught_up` is when everything that Kafka held
    was last in SQL, in seconds since 1970; until that happens for the first time, when the partition was
    assigned.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.waiting: dict[TopicPartition, int] = {}
        self.caught_up: dict[TopicPartition, float] = {}
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
        self.waiting = {partition: max(0, state.end - state.done) for partition, state in progress.items()}

    def _update_caught_up(self, partition: TopicPartition, state: PartitionProgress) -> None:
        """A worker that reaches an end seen earlier had caught up then; the next target is the end now."""
        seen_at, target = self._targets.setdefault(partition, (state.end_seen_at, state.end))
        if state.done >= target:
            self.caught_up[partition] = seen_at
            self._targets[partition] = (state.end_seen_at, state.end)

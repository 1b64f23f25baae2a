"""Sums over times of the past as differences of running totals, by topic and kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from alerts.history.mention_table import MICROSECOND, Integers, bounds
from stream.domain.documents import EPOCH
from stream.domain.sums import SUM_FIELDS, Aggregate


@dataclass(frozen=True, eq=False)
class RunningSums:
    """Of each topic and kind the stamps, in microseconds and in order [n], and the running totals
    [n + 1, len(SUM_FIELDS)] of what counts at each of them."""

    groups: Mapping[tuple[str, str], tuple[Integers, Integers]]

    @classmethod
    def of(cls, rows: Mapping[tuple[str, str], tuple[Integers, Integers]]) -> "RunningSums":
        """Of the stamps [n] and contributions [n, len(SUM_FIELDS)] of each topic and kind."""
        nothing = np.zeros((1, len(SUM_FIELDS)), np.int64)
        return cls(
            {
                key: (stamps, np.concatenate([nothing, contributions]).cumsum(0))
                for key, (stamps, contributions) in sorted(rows.items())
            }
        )

    def sums(self, start: datetime, end: datetime) -> list[Aggregate]:
        """For each topic and kind that has any, the sum over [start, end)."""
        sums = []
        for (topic, kind), (stamps, totals) in self.groups.items():
            first, last = bounds(stamps, start, end)
            if last > first:
                sums.append(Aggregate(start, topic, kind, *map(int, totals[last] - totals[first])))
        return sums

    def by_window(self, start: datetime, end: datetime, width: timedelta) -> list[Aggregate]:
        """The same for each window of `width`, counted from the epoch, in order of time."""
        cells = []
        size = width // MICROSECOND
        for (topic, kind), (stamps, totals) in self.groups.items():
            first, last = bounds(stamps, start, end)
            window_numbers = stamps[first:last] // size
            edges = [first, *(np.flatnonzero(np.diff(window_numbers)) + 1 + first), last]
            for a, b in pairwise(edges):
                if b > a:
                    cell_start = EPOCH + int(stamps[a] // size) * width
                    cells.append(Aggregate(cell_start, topic, kind, *map(int, totals[b] - totals[a])))
        return sorted(cells, key=lambda cell: cell.start)

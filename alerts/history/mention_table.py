"""The mentions of texts in memory, as arrays: what a backtest counts by entity."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.domain.documents import EPOCH, SCORE_SCALE
from stream.domain.entities import EntityMention
from stream.domain.sums import SUM_FIELDS, Aggregate, MentionSelection, contribution

ALL_KINDS = "all"
MICROSECOND = timedelta(microseconds=1)
Integers = NDArray[np.int64]


class TextWithEntities(Protocol):
    """What is needed of a text."""

    @property
    def published_at(self) -> datetime: ...
    @property
    def kind(self) -> str: ...
    @property
    def entities(self) -> tuple[EntityMention, ...]: ...


@dataclass(frozen=True, eq=False)
class MentionTable:
    """A row for each mention with a score, in order of publication.

    Of an entity that texts in two languages are about, the English name is kept.
    """

    ids: tuple[str, ...]
    names: dict[str, str]
    kinds: tuple[str, ...]
    stamps: Integers
    entity: Integers
    kind: Integers
    relevance: Integers
    contributions: Integers

    @classmethod
    def of(cls, texts: Iterable[TextWithEntities]) -> "MentionTable":
        """Of texts in order of publication."""
        numbers: dict[str, int] = {}
        names: dict[str, str] = {}
        kinds: dict[str, int] = {}
        rows: list[tuple[int, ...]] = []
        for text in texts:
            for mention in text.entities:
                if mention.score is None:
                    continue
                number = numbers.setdefault(mention.entity, len(numbers))
                if mention.entity not in names or mention.name.isascii():
                    names[mention.entity] = mention.name
                rows.append(
                    (
                        microseconds(text.published_at),
                        number,
                        kinds.setdefault(text.kind, len(kinds)),
                        mention.relevance,
                        *contribution(mention.sentiment, stored_score(mention.score)),
                    )
                )
        table = np.array(rows, np.int64).reshape(len(rows), 4 + len(SUM_FIELDS))
        stamps, entity, kind, relevance = table[:, :4].T.copy()
        return cls(tuple(numbers), names, tuple(kinds), stamps, entity, kind, relevance, table[:, 4:].copy())

    def sums(
        self, start: datetime, end: datetime, mentions: MentionSelection, width: timedelta | None = None
    ) -> list[Aggregate]:
        """For each entity (and window of `width`, if it is given) the sum over its mentions in [start, end),
        in order of time."""
        first, last = bounds(self.stamps, start, end)
        if first == last:
            return []
        rows = np.arange(first, last)[self._selected(slice(first, last), mentions)]
        windows = self.stamps[rows] // (width // MICROSECOND) if width else np.zeros(len(rows), np.int64)
        keys, index = np.unique(windows * len(self.ids) + self.entity[rows], return_inverse=True)
        totals = np.zeros((len(keys), len(SUM_FIELDS)), np.int64)
        np.add.at(totals, index, self.contributions[rows])
        return [
            Aggregate(
                EPOCH + key // len(self.ids) * width if width else start,
                self.ids[key % len(self.ids)],
                ALL_KINDS,
                *total,
            )
            for key, total in zip(keys.tolist(), totals.tolist(), strict=True)
        ]

    def _selected(self, rows: slice, mentions: MentionSelection) -> NDArray[np.bool_]:
        kept: NDArray[np.bool_] = self.relevance[rows] >= mentions.min_relevance
        if mentions.kinds:
            kept &= np.array([kind in mentions.kinds for kind in self.kinds])[self.kind[rows]]
        if mentions.entities is not None:
            wanted = set(mentions.entities)
            kept &= np.array([id_ in wanted for id_ in self.ids])[self.entity[rows]]
        return kept


def stored_score(score: float | None) -> int:
    """A score in units of 1 / SCORE_SCALE, as it is stored."""
    return round((score or 0.0) * SCORE_SCALE)


def microseconds(stamp: datetime) -> int:
    """The time since the epoch."""
    return (stamp.astimezone(UTC) - EPOCH) // MICROSECOND


def bounds(stamps: Integers, start: datetime, end: datetime) -> tuple[int, int]:
    """The indices of the stamps in [start, end): the first, and the one after the last."""
    first, last = np.searchsorted(stamps, [microseconds(start), microseconds(end)])
    return int(first), int(last)

"""A text cut into pieces: the words that carried its label, and the entities that it names."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from stream.domain.documents import Span
from stream.domain.entities import EntityMention

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text.  `weight` is that of a word, relative to the largest one: from -1 (against the label)
    to 1 (for it), None if it is no such word.  `entity` is whom it names."""

    text: str
    weight: float | None = None
    entity: EntityMention | None = None


class _Stretch(NamedTuple, Generic[T]):
    start: int
    end: int
    value: T


class _Cover(Generic[T]):
    """Stretches of a text that do not overlap; of two that do, the earlier one stays."""

    def __init__(self, stretches: Iterable[_Stretch[T]]) -> None:
        self.stretches: list[_Stretch[T]] = []
        for stretch in sorted(stretches, key=lambda each: each[:2]):
            if stretch.end > stretch.start >= (self.stretches[-1].end if self.stretches else 0):
                self.stretches.append(stretch)
        self._starts = [stretch.start for stretch in self.stretches]

    def at(self, place: int) -> T | None:
        index = bisect_right(self._starts, place) - 1
        if index < 0 or place >= self.stretches[index].end:
            return None
        return self.stretches[index].value


def pieces(text: str, words: Sequence[Span], mentions: Sequence[EntityMention] = ()) -> list[Piece]:
    """All of the text, in order.  Words without weight are no words of the label."""
    largest = max((abs(word.weight) for word in words), default=0.0) or 1.0
    weights = _Cover([_Stretch(word.start, word.end, word.weight / largest) for word in words if word.weight])
    entities = _Cover([_Stretch(*span, mention) for mention in mentions for span in mention.spans])
    found = [*weights.stretches, *entities.stretches]
    edges = {0, len(text), *(min(edge, len(text)) for stretch in found for edge in stretch[:2])}
    ordered = sorted(edges)
    return [Piece(text[start:end], weights.at(start), entities.at(start)) for start, end in pairwise(ordered)]

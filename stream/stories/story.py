"""A story that goes on: what its documents tell, and who had a voice on it."""

from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from typing import Self

import msgspec
import numpy as np

from stream.domain.stories import StoryFeatures, TextTerms
from stream.stories.novelty import MOST_EARLIER

# A story remembers the terms that most of its documents have, and forgets the others at twice as many.
MOST_TERMS = 120
# Origins with a voice that are remembered.
MOST_ORIGINS = 64
# Embeddings that are added up: more would say no more, and sums stay exact.
MOST_ADDED = 10_000


def kinds_of(terms: Iterable[int]) -> frozenset[int]:
    """Which kinds of terms there are."""
    return frozenset(term % KINDS for term in terms)


class TermKind(IntEnum):
    """What a term is."""

    WORD = 0
    ENTITY = 1
    NUMBER = 2
    PERIOD = 3
    NAME = 4
    COUNTRY = 5
    CITY = 6
    SLOT = 7
    FILLING = 8


# Terms times this, and the kind, are one number.
KINDS = 16
# Kinds by which stories are found.
LEADING = frozenset(kind for kind in TermKind if kind not in (TermKind.SLOT, TermKind.FILLING))


class Terms(msgspec.Struct, frozen=True, gc=False):
    """The terms of a document, by kind, as numbers that tell their kinds apart."""

    of_kind: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, terms: TextTerms) -> Self:
        kinds = (
            terms.words, terms.entities, terms.numbers, terms.periods, terms.names, terms.countries,
            terms.cities, terms.slots, terms.fillings,
        )  # fmt: skip
        return cls(tuple(tuple(term * KINDS + kind for term in own) for kind, own in enumerate(kinds)))

    @property
    def all(self) -> tuple[int, ...]:
        return tuple(term for own in self.of_kind for term in own)

    @property
    def leading(self) -> tuple[int, ...]:
        """Those by which stories are found."""
        return tuple(term for kind in LEADING for term in self.of_kind[kind])


class Addition(msgspec.Struct, frozen=True, gc=False):
    """A document that is added to a story: what it tells, and what was decided on it."""

    key: str
    features: StoryFeatures
    terms: Terms
    sequence: int
    seen_at: datetime
    is_copy: bool
    is_voice: bool


class Story(msgspec.Struct):
    """A story.  `id` is the sequence of its first document, `last_sequence` that of its last.

    `total` int64 [size] are the embeddings of `added` documents, in `space`, added up; copies add nothing.
    `terms` says how many documents have each term, and `kinds` which kinds of terms there are.
    `seen` are the times of its last documents, and `voices` when each origin last had a voice.  The central
    document is the one whose embedding, `central`, is nearest to the mean.
    """

    id: int
    first_key: str
    central_key: str
    first_seen_at: datetime
    last_seen_at: datetime
    last_sequence: int
    space: str | None = None
    total: np.ndarray | None = None
    added: int = 0
    central: bytes | None = None
    has_headline: bool = False
    terms: dict[int, int] = {}
    kinds: frozenset[int] = frozenset()
    seen: list[datetime] = []
    voices: dict[str, datetime] = {}
    documents: int = 0
    copies: int = 0
    voice_count: int = 0

    @classmethod
    def beginning_with(cls, sequence: int, key: str, now: datetime) -> Self:
        """A story without documents yet: this will be its first."""
        return cls(sequence, key, key, now, now, sequence)

    def documents_since(self, start: datetime) -> int:
        """How many of its last documents came after `start`; at most MOST_EARLIER."""
        return sum(time > start for time in self.seen)

    def has_no_voice_of(self, origin: str, since: datetime) -> bool:
        """Whether an origin had no voice after `since`."""
        last = self.voices.get(origin)
        return last is None or last <= since

    def add(self, addition: Addition) -> tuple[list[int], list[int]]:
        """Add a document.  Returns the terms that are new to the story, and those that it forgets."""
        self.documents += 1
        self.copies += addition.is_copy
        self.voice_count += addition.is_voice
        self.last_seen_at, self.last_sequence = addition.seen_at, addition.sequence
        self.seen = [*self.seen, addition.seen_at][-MOST_EARLIER:]
        if addition.is_voice:
            self._note_voice(addition.features.origin, addition.seen_at)
        if addition.is_copy:
            return [], []
        self._add_embedding(addition)
        terms = addition.terms.all
        new = [term for term in terms if term not in self.terms]
        for term in terms:
            self.terms[term] = self.terms.get(term, 0) + 1
        gone = self._forget_rare_terms()
        self.kinds = kinds_of(self.terms) if gone else self.kinds | kinds_of(new)
        return [term for term in new if term in self.terms], [term for term in gone if term not in new]

    def _note_voice(self, origin: str, now: datetime) -> None:
        self.voices.pop(origin, None)
        self.voices[origin] = now
        while len(self.voices) > MOST_ORIGINS:
            del self.voices[next(iter(self.voices))]

    def _add_embedding(self, addition: Addition) -> None:
        embedding = addition.features.embedding
        if embedding is None:
            return
        own = np.frombuffer(embedding.values, np.int8).astype(np.int64)
        if self.total is None or self.space != embedding.space:
            # The first one, or the first of another model: those of before cannot be compared with it.
            self.space, self.total, self.added = embedding.space, own, 1
            self._make_central(addition, embedding.values)
        elif self.added < MOST_ADDED:
            self.total = self.total + own
            self.added += 1
            if self._is_more_central(own, is_headline=addition.features.is_headline):
                self._make_central(addition, embedding.values)

    def _is_more_central(self, own: np.ndarray, *, is_headline: bool) -> bool:
        """Whether a document with this embedding stands for the story better: headlines come first."""
        if is_headline != self.has_headline or self.central is None or self.total is None:
            return is_headline
        central = np.frombuffer(self.central, np.int8).astype(np.int64)
        return int(self.total @ own) > int(self.total @ central)

    def _make_central(self, addition: Addition, embedding: bytes) -> None:
        self.central_key, self.central = addition.key, embedding
        self.has_headline = addition.features.is_headline

    def _forget_rare_terms(self) -> list[int]:
        if len(self.terms) <= 2 * MOST_TERMS:
            return []
        ranked = sorted(self.terms, key=lambda term: (-self.terms[term], term))
        gone = ranked[MOST_TERMS:]
        for term in gone:
            del self.terms[term]
        return gone

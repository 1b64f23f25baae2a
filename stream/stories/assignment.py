"""Assigns documents to stories, one after the other.

A document is a copy of a recent text that it nearly repeats, and belongs to its story.  Else it belongs to
the story that tells most nearly the same: candidates share entities, figures or rare words with it, and the
best of them by the weights counts if it is good enough.  Else it begins a story.

What is decided depends on the documents and their order alone.  Embeddings are whole numbers, whose products
are exact, and square roots and quotients are the same on every processor (IEEE 754).
"""

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

import msgspec
import numpy as np

from stream.domain.documents import Embedding
from stream.domain.stories import StoryAssignment, StoryFeatures, StoryInput, StoryWeights
from stream.stories.copies import RecentTexts
from stream.stories.novelty import NOVELTY_WINDOW, novelty
from stream.stories.story import KINDS, LEADING, Addition, Story, TermKind, Terms

# A copy repeats a text of the last day.
COPY_WINDOW = timedelta(hours=24)
# A story that gets no document for so long is over.
STORY_WINDOW = timedelta(hours=48)
# An origin has one voice on a story in this time.
VOICE_WINDOW = timedelta(hours=1)
# Stories that go on at a time; the ones that were silent for longest end early.
MOST_STORIES = 100_000
# Candidates that are compared in full, and stories that are looked at to find them.
MOST_CANDIDATES, MOST_LOOKED_AT = 12, 300
# So many of the rarest terms of a document are followed, whatever they lead to.
FEWEST_TERMS = 3


# Of a space that was not calibrated.
WITH_EMBEDDINGS = StoryWeights(
    0.4,
    (
        1.0,
        0.3,
        *(0.15, 0.1, -0.2, -0.4),
        *(0.1, 0.1, 0.0, -0.1),
        *(0.0, 0.0, 0.0, -0.2),
        *(0.1, 0.1, -0.1, -0.2),
        *(0.1, 0.1, -0.1, -0.3),
        *(0.1, 0.0, -0.3, -0.2),
    ),
)
# Where there are no embeddings to compare, words decide.
WITHOUT_EMBEDDINGS = StoryWeights(
    0.8,
    (
        0.0,
        1.0,
        *(0.2, 0.1, -0.3, -0.4),
        *(0.2, 0.1, -0.1, -0.2),
        *(0.0, 0.0, 0.0, -0.2),
        *(0.2, 0.1, -0.2, -0.2),
        *(0.1, 0.1, -0.1, -0.3),
        *(0.1, 0.0, -0.3, -0.2),
    ),
)


class Agreement(IntEnum):
    """How many of a document's terms of a kind a story has."""

    UNKNOWN = 0
    ALL = 1
    SOME = 2
    NONE = 3


class Comparison(NamedTuple):
    """What speaks for and against that a document and a story are about the same event: see StoryWeights.

    Without a cosine their embeddings cannot be compared.  `words` is the share of the document's words that
    the story has.  The agreement on terms of a kind is unknown where one of them has none.
    """

    cosine: float | None
    words: float
    entities: Agreement
    numbers: Agreement
    periods: Agreement
    names: Agreement
    places: Agreement
    slots: Agreement

    def score(self, weights: StoryWeights) -> float:
        """How much speaks for the same event; from 0 on it is the same."""
        values = weights.weights
        score = values[0] * (self.cosine or 0.0) + values[1] * self.words - weights.threshold
        # In the order of FEATURES: all, some, none, and none by the share of words, for each kind.
        at = 1
        for agreement in self[2:]:
            if agreement:
                score += values[at + agreement]
                if agreement == Agreement.NONE:
                    score += values[at + agreement + 1] * self.words
            at += 4
        return score


class Assigned(msgspec.Struct, frozen=True, gc=False):
    """A document that was assigned before, with what finds copies of it."""

    assignment: StoryAssignment
    signature: bytes
    specifics: tuple[int, ...]


class Assigner:
    """Assigns documents in the order of `StoryInput.order`; their sequences have no gaps.

    It begins where another left off if it is given that one's stories, the documents of the last day, and the
    next sequence.
    """

    def __init__(
        self,
        weights: Mapping[str, StoryWeights] | None = None,
        *,
        stories: Iterable[Story] = (),
        recent: Iterable[Assigned] = (),
        next_sequence: int = 1,
    ) -> None:
        """`weights` are those of each space of embeddings; `stories` come in the order of `last_sequence`,
        and `recent` in that of their sequences."""
        self._weights = dict(weights or {})
        self._next = next_sequence
        self._clock: datetime | None = None
        self._texts = RecentTexts()
        self._recent: OrderedDict[int, StoryAssignment] = OrderedDict()
        self._stories: OrderedDict[int, Story] = OrderedDict()
        self._by_term: dict[int, dict[int, None]] = {}
        for story in stories:
            self._stories[story.id] = story
            self._index(story.id, story.terms)
            self._clock = max(self._clock or story.last_seen_at, story.last_seen_at)
        for document in recent:
            self._remember(document)

    def assign(self, document: StoryInput) -> tuple[StoryAssignment, Story]:
        """Assign the next document.  Returns the decision, and its story as it is now."""
        now = self._clock = max(self._clock or document.received_at, document.received_at)
        self._forget(now)
        sequence, features, terms = self._next, document.features, Terms.of(document.features.terms)
        original = self._original(features)
        story = self._stories.get(original.story) if original else self._best(features, terms)
        if story is None:
            story = Story.beginning_with(sequence, document.key, now)
        copy_of = None if original is None else original.copy_of or original.key
        addition = Addition(
            document.key,
            features,
            terms,
            sequence,
            now,
            is_copy=copy_of is not None,
            is_voice=copy_of is None and story.has_no_voice_of(features.origin, now - VOICE_WINDOW),
        )
        assignment = StoryAssignment(
            document.key,
            sequence,
            now,
            story.id,
            novelty(story.documents_since(now - NOVELTY_WINDOW)),
            copy_of,
            addition.is_voice,
        )
        self._add(story, addition)
        self._remember(Assigned(assignment, features.signature, features.terms.specifics))
        return assignment, story

    def _original(self, features: StoryFeatures) -> StoryAssignment | None:
        """The recent document that this one is a copy of."""
        oldest = next(iter(self._recent), self._next)
        number = self._texts.find(features.signature, features.terms.specifics, oldest)
        return None if number is None else self._recent[number]

    def compare(self, features: StoryFeatures, stories: Sequence[Story]) -> list[Comparison]:
        """A document with some of the stories that go on, in their order."""
        terms = Terms.of(features.terms)
        cosines = _cosines(features.embedding, stories)
        return [self._compare(story, terms, cosine) for story, cosine in zip(stories, cosines, strict=True)]

    def _best(self, features: StoryFeatures, terms: Terms) -> Story | None:
        """The story that a document belongs to; None if it begins one."""
        candidates = [self._stories[number] for number in self._candidates(terms)]
        best, best_score = None, 0.0
        for story, comparison in zip(candidates, self.compare(features, candidates), strict=True):
            weights = WITHOUT_EMBEDDINGS
            if comparison.cosine is not None and story.space is not None:
                weights = self._weights.get(story.space, WITH_EMBEDDINGS)
            score = comparison.score(weights)
            # Candidates come with the least likely first: of equal ones the last counts.
            if score >= best_score:
                best, best_score = story, score
        return best

    def _compare(self, story: Story, terms: Terms, cosine: float | None) -> Comparison:
        words = terms.of_kind[TermKind.WORD]
        share = _count(words, story.terms) / len(words) if words else 0.0
        places = _agreement(story, terms, TermKind.CITY)
        if places is Agreement.UNKNOWN:
            places = _agreement(story, terms, TermKind.COUNTRY)
        return Comparison(
            cosine,
            share,
            entities=_agreement(story, terms, TermKind.ENTITY),
            numbers=_agreement(story, terms, TermKind.NUMBER),
            periods=_agreement(story, terms, TermKind.PERIOD),
            names=_agreement(story, terms, TermKind.NAME),
            places=places,
            slots=_same_in_slots(story, terms),
        )

    def _rarity(self, stories: int) -> int:
        """How rare a term of so many stories is: sixteen times a binary logarithm."""
        return 1 + _log2(len(self._stories) + 1) - _log2(stories + 1)

    def _candidates(self, terms: Terms) -> list[int]:
        """The stories with which the document has most in common, the one with least first.

        Rare terms are followed first, and so many stories are looked at: a frequent word says little.
        """
        lists = sorted((len(stories), term) for term in terms.leading if (stories := self._by_term.get(term)))
        common: dict[int, int] = {}
        looked_at = 0
        for place, (count, term) in enumerate(lists):
            looked_at += count
            if looked_at > MOST_LOOKED_AT and place >= FEWEST_TERMS:
                break
            rarity = self._rarity(count)
            for number in self._by_term[term]:
                common[number] = common.get(number, 0) + rarity
        ranked = sorted([(rarity, number) for number, rarity in common.items()])
        return [number for _, number in ranked[-MOST_CANDIDATES:]]

    def _add(self, story: Story, addition: Addition) -> None:
        """Add a document to a story, which becomes the one that was active last."""
        new, gone = story.add(addition)
        self._stories[story.id] = story
        self._stories.move_to_end(story.id)
        self._index(story.id, new)
        self._remove(story.id, gone)

    def _index(self, number: int, terms: Iterable[int]) -> None:
        for term in terms:
            if term % KINDS in LEADING:
                self._by_term.setdefault(term, {})[number] = None

    def _remove(self, number: int, terms: Iterable[int]) -> None:
        for term in terms:
            if term % KINDS in LEADING:
                stories = self._by_term[term]
                del stories[number]
                if not stories:
                    del self._by_term[term]

    def _remember(self, document: Assigned) -> None:
        assignment = document.assignment
        self._recent[assignment.sequence] = assignment
        self._texts.add(assignment.sequence, document.signature, document.specifics)
        self._next = max(self._next, assignment.sequence + 1)
        self._clock = max(self._clock or assignment.seen_at, assignment.seen_at)

    def _forget(self, now: datetime) -> None:
        """Forget texts of which nothing can be a copy any more, and stories that are over."""
        while self._recent:
            sequence, document = next(iter(self._recent.items()))
            if document.seen_at >= now - COPY_WINDOW and self._next - sequence < self._texts.size:
                break
            del self._recent[sequence]
        while self._stories:
            number, story = next(iter(self._stories.items()))
            if story.last_seen_at >= now - STORY_WINDOW and len(self._stories) < MOST_STORIES:
                break
            del self._stories[number]
            self._remove(number, story.terms)


def _count(terms: Iterable[int], known: Container[int]) -> int:
    """How many terms a story has."""
    count = 0
    for term in terms:
        if term in known:
            count += 1
    return count


def _agreement(story: Story, terms: Terms, kind: TermKind) -> Agreement:
    own = terms.of_kind[kind]
    if not own or kind not in story.kinds:
        return Agreement.UNKNOWN
    common = _count(own, story.terms)
    return Agreement.NONE if not common else Agreement.ALL if common == len(own) else Agreement.SOME


def _same_in_slots(story: Story, terms: Terms) -> Agreement:
    """Whether the same stands in the slots that a document and a story have in common.

    Slots and fillings of a text come in pairs, each slot with one filling.
    """
    if TermKind.SLOT not in story.kinds:
        return Agreement.UNKNOWN
    shared = same = 0
    for slot, filling in zip(terms.of_kind[TermKind.SLOT], terms.of_kind[TermKind.FILLING], strict=True):
        if slot in story.terms:
            shared += 1
            same += filling in story.terms
    if not shared:
        return Agreement.UNKNOWN
    return Agreement.NONE if not same else Agreement.ALL if same == shared else Agreement.SOME


def _cosines(embedding: Embedding | None, stories: Sequence[Story]) -> list[float | None]:
    """The cosine between an embedding and the mean of each story's; None for a story of another space."""
    cosines: list[float | None] = [None] * len(stories)
    if embedding is None:
        return cosines
    places = [i for i, story in enumerate(stories) if story.space == embedding.space]
    if not places:
        return cosines
    own = np.frombuffer(embedding.values, np.int8).astype(np.float64)
    totals = np.array([stories[i].total for i in places], np.float64)
    lengths = np.sqrt((totals * totals).sum(axis=1) * (own * own).sum())
    for i, product, length in zip(places, totals @ own, lengths, strict=True):
        cosines[i] = float(product / length) if length else 0.0
    return cosines


def _log2(number: int) -> int:
    """Sixteen times the binary logarithm of a positive number, in whole numbers."""
    bits = number.bit_length() - 1
    return 16 * bits + ((number << 4) >> bits) - 16

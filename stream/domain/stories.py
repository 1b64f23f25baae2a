"""Stories: documents that tell the same event.

A worker writes the StoryFeatures of each document with it.  One task takes documents in order and decides on
each: a StoryAssignment.  It decides by what is stored alone, so that the same inputs give the same stories.
"""

from datetime import datetime

import msgspec

from stream.domain.documents import Embedding, Kind

# The longest origin that is stored, in characters.
LONGEST_ORIGIN = 128


class TextTerms(msgspec.Struct, frozen=True, gc=False):
    """What a text tells, as 32-bit hashes in ascending order.

    `entities` are those that it is about, `numbers` its figures, `periods` the months, quarters and years
    that it names, `names` other names, `countries` and `cities` (and regions) its places, and `words` its
    content words.  `slots` are where figures, periods and names stand, by the words around them ("recalls …",
    "… jobs"), and `fillings` what stands there.
    """

    entities: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    periods: tuple[int, ...] = ()
    names: tuple[int, ...] = ()
    countries: tuple[int, ...] = ()
    cities: tuple[int, ...] = ()
    words: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    fillings: tuple[int, ...] = ()

    @property
    def specifics(self) -> tuple[int, ...]:
        """What no copy of the text has otherwise."""
        return (
            *self.entities, *self.numbers, *self.periods, *self.names, *self.countries, *self.cities,
        )  # fmt: skip


class StoryFeatures(msgspec.Struct, frozen=True, gc=False):
    """What the story of a document depends on.

    `origin` is who said it first (`stream.stories.origin`).  `signature` tells how alike two texts are
    (`stream.stories.signature`).  `is_headline` is whether the document may stand for its story: a news item
    with a title.
    """

    origin: str
    signature: bytes
    terms: TextTerms
    embedding: Embedding | None = None
    is_headline: bool = False


class StoryInput(msgspec.Struct, frozen=True, gc=False):
    """A document that waits for its story."""

    key: str
    kind: Kind
    source: str
    id: str
    received_at: datetime
    features: StoryFeatures

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """Documents are assigned in this order."""
        return self.received_at, self.kind.value, self.source, self.id


class StoryAssignment(msgspec.Struct, frozen=True, gc=False):
    """What was decided on a document.

    `sequence` numbers the documents without gaps, and `seen_at` is the latest time of receipt so far.
    `story` is the sequence of the first document of its story.  `novelty` is from 0 to 100.  `copy_of` is the
    key of the document that it is a copy of.  `is_voice` is whether an independent origin says something of
    its own.
    """

    key: str
    sequence: int
    seen_at: datetime
    story: int
    novelty: int
    copy_of: str | None
    is_voice: bool


# What speaks for or against that a text and a story are about the same event, in the order of the weights:
# the cosine of their embeddings, the share of the text's words that the story has, and for each kind of terms
# whether the story has all, some or none of the text's; the last once more by the share of words, since texts
# that say the same of another name look alike.  Of slots that both have, whether the same stands in them.
TERM_KINDS = ("entities", "numbers", "periods", "names", "places", "slots")
FEATURES = (
    "cosine",
    "words",
    *(f"{kind} {what}" for kind in TERM_KINDS for what in ("all", "some", "none", "none x words")),
)


class StoryWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a text and a story are about the same event, for the embeddings of one space.

    The sum of `weights` times FEATURES must be at least `threshold`.
    """

    threshold: float
    weights: tuple[float, ...]

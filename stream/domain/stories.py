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

    `entities` are those that it is about, `numbers` its figures, `words` its other content words.
    """

    entities: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    words: tuple[int, ...] = ()


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


class StoryWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes a document and a story the same, for the embeddings of one space.

    The sum of what applies must be at least `threshold`.  `cosine` counts by that of the embeddings, from -1
    to 1, `words` by the share of the document's words that the story has, weighed by rarity.  The others
    count once: an entity or a figure in common, or both have some and none in common.
    """

    threshold: float
    cosine: float
    words: float
    same_entity: float
    other_entity: float
    same_number: float
    other_number: float

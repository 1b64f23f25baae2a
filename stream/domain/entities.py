"""Who a text is about: companies, coins, indices, commodities, currencies, central banks and regulators."""

import msgspec

# The longest id of an entity and version of the list of entities that are stored, in characters.
LONGEST_ENTITY, LONGEST_GAZETTEER = 64, 64


class TargetSentiment(msgspec.Struct, frozen=True, gc=False):
    """The sentiment towards a part of a text.

    `sentiment` is the most probable label, with its `probability`; if it is not `certain` it must not be
    counted.  The `score` is p(positive) - p(negative), from -1 to 1.  All three are None if the model has no
    answer: it cannot read the text, or the part is not in what it reads.  `of_target` is false where they are
    those of the text as a whole.
    """

    sentiment: str | None = None
    probability: float | None = None
    score: float | None = None
    certain: bool = True
    of_target: bool = False


class EntityMention(msgspec.Struct, frozen=True, gc=False):
    """One entity of one text.

    `entity` is its stable id (`XNAS:AAPL`, `XSHG:600519`, `crypto:BTC`, `cb:FED`) and `name` how a reader
    knows it, in the language of the text if the gazetteer has such a name.  `spans` are where the text names
    it: half-open ranges of code points of the text as it was sent, in order; empty if only the message's
    `symbols` name it.  `relevance` is from 0 to 100.  `sentiment`, its `probability` and the `score`
    (p(positive) - p(negative), from -1 to 1) are towards this entity.  All are None if the model has no
    answer, and the first two if it is not certain: `uncertain` then is the most probable label and its
    probability.  `of_target` is false where they are those of the text.
    """

    entity: str
    name: str
    spans: tuple[tuple[int, int], ...] = ()
    relevance: int = 0
    sentiment: str | None = None
    probability: float | None = None
    score: float | None = None
    of_target: bool = False
    uncertain: tuple[str, float] | None = None

"""A document and what the classifier predicts for it: the two records that everything else is about.

A document is one news item or comment.  It arrives as JSON on Kafka, `stream.codec` decodes it, `models`
predicts its topic and sentiment, and `stream.storage` stores both and adds the score to the aggregates
(`stream.domain.sums`), which the rules of `alerts` read.

`stream.domain` imports nothing else of the project, so that `models` and `alerts` share these types without
knowing each other.  All times are aware and in UTC.  A score is p(positive) - p(negative), from -1 to 1.  It
is stored as an integer in units of 1 / SCORE_SCALE, so that sums are exact and do not depend on batching.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from urllib.parse import quote

import msgspec

from stream.domain.entities import EntityMention, TargetSentiment

SENTIMENTS = ("positive", "neutral", "negative")
TASKS = ("topic", "sentiment")
SCORE_SCALE = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A word of evidence is shown with at most so many characters: a text without blanks is one word.
LONGEST_WORD = 100
# The `source` of the heartbeat documents that the monitor sends through its own stream.
HEARTBEAT_SOURCE = "monitor-heartbeat"
# The `source` of a document that names none.
UNKNOWN_SOURCE = "unknown"
# The longest source and id that are stored, in characters; see `shorten_name`.
LONGEST_SOURCE, LONGEST_ID = 128, 512
# The longest parts of a key.  Whole, a key fits an index entry of PostgreSQL (2,704 bytes) and a URL.
LONGEST_KEY_SOURCE, LONGEST_KEY_ID = 128, 360
# Half of a SHA-256 sum: nobody finds a second text for a given one.
DIGEST_CHARACTERS = 32
UNESCAPED = re.compile("[A-Za-z0-9._-]*")


class Kind(StrEnum):
    """Whether a document is a news item or a comment; each kind has a Kafka topic of its own."""

    NEWS = "news"
    COMMENT = "comment"


class DocumentStatus(StrEnum):
    """How a document counts, by the name stored in SQL and used as a metric label.

    Only OK counts towards a sentiment.  UNCERTAIN has a topic and a score, and counts as uncertain.
    UNSUPPORTED has neither, and is excluded from aggregates.
    """

    OK = "ok"
    UNCERTAIN = "uncertain"
    UNSUPPORTED = "unsupported"


class Precision(StrEnum):
    """How exactly the time of a document is known, by the name in messages and in SQL.

    EXACT is a time, DAY a date alone (its midnight), SEEN the time at which the text was first seen.
    Documents of DAY and SEEN fire no window of the past: their time says little about when they were written.
    """

    EXACT = "exact"
    DAY = "day"
    SEEN = "seen"


class Document(msgspec.Struct, frozen=True, gc=False):
    """One news item or comment.  `kind`, `source` and `id` together identify it.

    `shortened` names the fields that are not what was sent.  `updated_at` is when this version of the text
    was published, if the feed says so: a newer version replaces an older one.
    """

    id: str
    kind: Kind
    source: str
    published_at: datetime
    title: str = ""
    text: str = ""
    author: str | None = None
    url: str | None = None
    symbols: tuple[str, ...] = ()
    lang: str | None = None
    shortened: tuple[str, ...] = ()
    published_precision: Precision = Precision.EXACT
    updated_at: datetime | None = None

    @property
    def key(self) -> str:
        """Its identity as one text; see `document_key`."""
        return document_key(self.kind, self.source, self.id)

    @property
    def content(self) -> str:
        """The text to classify: title and text, joined by a newline if there are both."""
        return join_content(self.title, self.text)

    @property
    def text_input(self) -> "TextInput":
        """What the classifier reads of it."""
        return TextInput(self.content, self.lang, len(self.title), self.symbols)


class TextInput(msgspec.Struct, frozen=True, gc=False):
    """A text to classify.  Its first `title_length` characters are its title; 0 if it has none.

    `lang` is the language that the feed declares, `symbols` the tickers that the message names; both may be
    wrong, and missing.  `targets` are parts of the text, from character start up to end, to classify the
    sentiment towards.
    """

    text: str
    lang: str | None = None
    title_length: int = 0
    symbols: tuple[str, ...] = ()
    targets: tuple[tuple[int, int], ...] = ()


def document_key(kind: Kind, source: str, id_: str) -> str:
    """The identity of a document as one opaque text: the same in SQL, messages and addresses.

    It is `kind:source:id`, such as `news:wire:17`.  In source and id, each byte that is no letter, digit,
    dot, hyphen or underscore is `~` and two hexadecimal digits, so that `:` separates only, and the key is
    part of a URL as it is.  Of a part that is too long the beginning is kept, then `~~` and a hash of all of
    it.  Two identities never share a key: texts that differ in case or Unicode normalisation differ.
    """
    return f"{kind.value}:{_key_source(source)}:{_key_part(id_, LONGEST_KEY_ID)}"


@lru_cache(1024)
def _key_source(source: str) -> str:
    """There are few sources and many documents."""
    return _key_part(source, LONGEST_KEY_SOURCE)


def _key_part(text: str, longest: int) -> str:
    part = text
    if not UNESCAPED.fullmatch(text):
        part = quote(text, safe="", errors="surrogatepass").replace("~", "%7E").replace("%", "~")
    if len(part) <= longest:
        return part
    return f"{part[: longest - DIGEST_CHARACTERS - 2]}~~{_digest(text)}"


def shorten_name(name: str, longest: int) -> str:
    """A source or id of at most `longest` characters: a longer one is its beginning, `…#`, and its hash."""
    if len(name) <= longest:
        return name
    return f"{name[: longest - DIGEST_CHARACTERS - 2]}…#{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]


def join_content(title: str, text: str) -> str:
    """The text to classify, from its title and its body; either may be empty."""
    return f"{title}\n{text}" if title and text else title or text


def printable(text: str) -> str:
    """Replace control characters by spaces, so that no text can steer a terminal or forge a log line."""
    return "".join(char if char.isprintable() else " " for char in text)


class Span(msgspec.Struct, frozen=True, gc=False):
    """A part of the text as it was sent, from character `start` up to `end`, and its weight as evidence.

    `text` is that part as a reader sees it (`stream.domain.text.cleaning`), cut to LONGEST_WORD characters.
    The weight is the share (0 to 1) that this part has in the prediction of the `task`.
    """

    task: str
    text: str
    start: int
    end: int
    weight: float


class EventLabel(msgspec.Struct, frozen=True, gc=False):
    """An event that a text reports, such as a default, and how probable it is."""

    type: str
    probability: float


class Embedding(msgspec.Struct, frozen=True, gc=False):
    """What a text tells, as a vector of signed bytes: texts that tell the same have a small angle.

    Only embeddings of one `space` (a model, and its part for the language) can be compared.
    """

    space: str
    values: bytes


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """What the classifier predicts for one text.

    `probabilities` maps each task to the probability of each label.  An unsupported text (no words, or a
    language that the model was not trained for) has no labels and is not `certain`: `topic`, `sentiment` and
    `score` are None, and `probabilities` is empty.  If the model is not `certain` of labels, they are its
    most probable ones and must not be counted.  A long text is read in several `windows`.  `target` is the
    part of the text whose sentiment was asked for, None for the whole text, and `targets` is the sentiment
    towards each of the parts that were asked for together with it.  `entities` are those that the text is
    about, by falling relevance, and `gazetteer` is the version of the list that found them; None if none
    looked.  `events` are those that the text reports, by falling probability.

    `embedding` is that of the text, None if the model gives none.

    `model` is the version of everything that the labels depend on, and `judged_by` the version of the model
    whose labels these are: with a second opinion there are two.  None stands for `model`.
    """

    model: str
    lang: str | None
    topic: str | None = None
    sentiment: str | None = None
    score: float | None = None
    probabilities: Mapping[str, Mapping[str, float]] = {}
    evidence: tuple[Span, ...] = ()
    truncated: bool = False
    certain: bool = True
    windows: int = 1
    target: str | None = None
    targets: tuple[TargetSentiment, ...] = ()
    entities: tuple[EntityMention, ...] = ()
    gazetteer: str | None = None
    events: tuple[EventLabel, ...] = ()
    judged_by: str | None = None
    embedding: Embedding | None = None

    @property
    def counted_sentiment(self) -> str | None:
        """The sentiment under which the document is counted; None if the model is not certain."""
        return self.sentiment if self.certain else None

    @property
    def status(self) -> DocumentStatus:
        if self.sentiment is None and self.score is None:
            return DocumentStatus.UNSUPPORTED
        return DocumentStatus.OK if self.certain else DocumentStatus.UNCERTAIN

    @property
    def is_finite(self) -> bool:
        """Whether the score and all probabilities are finite numbers."""
        sums = (sum(labels.values()) for labels in self.probabilities.values())
        return math.isfinite(self.score or 0.0) and all(map(math.isfinite, sums))

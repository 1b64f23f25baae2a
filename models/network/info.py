"""What `model.json` says of a model; readable without torch, for commands that only need the labels."""

from pathlib import Path

import msgspec

from models.errors import WeightsError
from models.network.profile import Profile
from stream.domain.stories import StoryWeights

# The name of the events among tasks: several of a text may be true, or none.
EVENTS = "events"

# The name of a text's embedding among the answers of a network.
EMBEDDING = "embedding"

# The name of the head for the sentiment towards names in weights, temperatures, thresholds and scores.
TARGET = "target"


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A simple text and the labels that an intact model gives it."""

    text: str
    labels: dict[str, str]


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which texts of one part a second, larger model labels instead.

    Those whose doubt, the sum of the features (`models.inference.routing`) by their `weights`, is at least
    the `threshold`.  `share` is the share of such texts in the streams that the threshold was chosen on, by
    file name.

    The probabilities of the texts that stay are tempered by `temperature` once more, by task, since they are
    the surer ones; those of the other texts by `second_temperature`, if the model `second` labels them.
    """

    weights: dict[str, float]
    threshold: float
    share: dict[str, float] = {}
    temperature: dict[str, float] = {}
    second: str = ""
    second_temperature: dict[str, float] = {}


class PartInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a model: an encoder with its heads, the languages it reads, and its figures.

    A task's logits are divided by `temperature`; its label is certain from a confidence of `certain_from`
    on. `data` names what it was trained on (file name to SHA-256), `scores` its scores on the held-out rows
    (task to figures), `reference` the profile of those rows, for drift.  `target_sentiment` is false if the
    part must not answer for the sentiment towards a name, because its training did not teach that;
    `target_head` is the kind of head that answers (`models.network.target_heads`), "target" in `temperature`,
    `certain_from` and `scores` its figures.

    `event_thresholds` has the probability from which each type of event is reported, in the order of the
    head's outputs; empty if the part does not look for events.  `event_scores` are the figures of each type.
    `routing` says which texts need a second opinion; None leaves it to `models.inference.routing`.
    `news_head` is the weight of each number of a token's vector, and the bias last, of the head that tells
    boilerplate from news (`models.inference.long_texts`); empty if the part reads all sentences alike.
    `embedding_size` is the length of a text's embedding; 0 if the part gives none.  `story_weights` say how
    embeddings decide whether two texts tell the same event; None if that was not calibrated.
    """

    folder: str
    languages: tuple[str, ...]
    max_tokens: int
    pooling: str
    sha256: str
    temperature: dict[str, float] = {}
    certain_from: dict[str, float] = {}
    canaries: tuple[Canary, ...] = ()
    data: dict[str, str] = {}
    scores: dict[str, dict[str, float]] = {}
    reference: Profile | None = None
    target_sentiment: bool = True
    target_head: str = "content"
    event_thresholds: dict[str, float] = {}
    event_scores: dict[str, dict[str, float]] = {}
    routing: Routing | None = None
    news_head: tuple[float, ...] = ()
    embedding_size: int = 0
    story_weights: StoryWeights | None = None

    @property
    def target_task(self) -> str:
        """The name of the figures for targets: those of the sentiment of texts, if targets have none."""
        return TARGET if TARGET in self.temperature else "sentiment"

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types of events that the part looks for, in the order of the head's outputs."""
        return tuple(self.event_thresholds)


class ModelInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of `model.json`."""

    name: str
    version: str
    labels: dict[str, tuple[str, ...]]
    parts: tuple[PartInfo, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(language for part in self.parts for language in part.languages)

    def space(self, part: PartInfo) -> str:
        """The name of the embeddings of one of its parts: others cannot be compared with them."""
        return f"{self.version}/{part.folder}"

    @property
    def story_weights(self) -> dict[str, StoryWeights]:
        """How embeddings decide whether texts tell the same event, by their space."""
        return {self.space(part): part.story_weights for part in self.parts if part.story_weights}

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types of events that the model looks for, in any language."""
        return tuple(sorted({name for part in self.parts for name in part.event_thresholds}))

    def part_of(self, language: str | None) -> PartInfo | None:
        """The part that reads a language; None if none does."""
        return next((part for part in self.parts if language in part.languages), None)

    def target_sentiment_error(self, language: str | None) -> str | None:
        """Why there is no sentiment towards names in texts of this language; None if there is one."""
        if any(language in part.languages and not part.target_sentiment for part in self.parts):
            return f"{self.version} was not trained for the sentiment towards names in {language!r} texts"
        return None


def read_info(folder: Path) -> ModelInfo:
    """Read `model.json` without the weights.  Raises WeightsError."""
    path = folder / "model.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelInfo)
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path} is missing: {folder} is not a trained classifier; "
            "`monitor train` writes one, or unset models.weights to use the shipped one"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error

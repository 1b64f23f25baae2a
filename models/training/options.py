"""The options of a training run: which data, which network, how the loop runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from models.network.quantisation import Bits
from models.settings import SHIPPED_WEIGHTS
from models.training.adapters import Method

# Points of macro-F1 that a smaller or faster form of a model may cost.
MAX_LOSS = 0.5
# The same for weights in 4 bits: a part that loses more is better stored in 8, or made smaller otherwise.
MAX_LOSS_OF_4_BITS = 0.3


class Progress(Protocol):
    """Called after each step with the progress so far."""

    def __call__(self, step: int, steps: int, note: str, /) -> None: ...


@dataclass(frozen=True)
class DataOptions:
    """Which rows to train on.

    `columns` maps our field names to the files' column names, `encoding` is that of the files (see `Source`).
    `recipe` is a YAML file of sources, relative to `root`.  The sources of the names in `leave_out` are not
    trained on, but scored.  `rehearsal` is the number of written sentences to
    add against forgetting; None for as many as there are rows.
    """

    files: tuple[Path, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    recipe: Path | None = None
    root: Path | None = None
    licensed_only: bool = False
    valid_files: tuple[Path, ...] = ()
    encoding: str | None = None
    rehearsal: int | None = None
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class FitOptions:
    """How the training loop runs, independent of the rows.

    `head_rate` is how many times as fast as the encoder the heads learn: new heads start from nothing.
    `averaging` is the decay of the exponential moving average of the weights, `augmentation` the probability
    of each meaning-preserving edit, `teacher_share` the weight of a teacher's probabilities.
    `checkpoint_seconds` is the time between two checkpoints: a killed run loses at most so much.
    """

    epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 1e-4
    head_rate: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.06
    label_smoothing: float = 0.1
    class_weights: bool = False
    averaging: float = 0.999
    augmentation: float = 0.0
    r_drop: float = 0.0
    teacher_share: float = 0.5
    teacher_temperature: float = 2.0
    patience: int = 2
    seed: int = 1
    device: str = "auto"
    dtype: str = "auto"
    # Not shown, so that a run can be continued with another one.
    checkpoint_seconds: float = field(default=600.0, repr=False)


@dataclass(frozen=True)
class TrainingOptions:
    """Which network to train and how.  The defaults fine-tune the shipped model on a user's own rows.

    `layers` and `vocabulary` are the numbers of layers and word vectors to keep, 0 for all; the lowest
    `frozen` layers are not trained.  `bits` is how the encoder's matrices are stored.  `only_heads` trains a
    head of a trained model and nothing else.  `embeddings` is a sentence encoder, by name or folder, whose
    embeddings the model learns to give; without it a model keeps giving those that it gave, or none.
    """

    out: Path
    base: str = str(SHIPPED_WEIGHTS)
    name: str = "house"
    languages: tuple[str, ...] = ("en",)
    join: Path | None = None
    teachers: tuple[Path, ...] = ()
    vocabulary: int = 0
    layers: int = 0
    frozen: int = 0
    pooling: str = "additive"
    method: Method = "full"
    rank: int = 8
    max_tokens: int = 128
    holdout: float = 0.05
    seeds: int = 1
    max_loss: float = MAX_LOSS
    bits: Bits = 8
    only_heads: Literal["targets"] | None = None
    embeddings: str | None = None
    fit: FitOptions = field(default_factory=FitOptions)

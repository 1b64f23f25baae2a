"""A network and what belongs to it: the classifier, its tokenizer, the padding token and the label names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tokenizers import Encoding, Tokenizer

from models.network.classifier import AttentionClassifier, Inputs

# What tokenizers call the token for text outside their vocabulary.
UNKNOWN_TOKENS = ("[UNK]", "<unk>")


@dataclass(frozen=True)
class Network:
    """A classifier with everything that is needed to run it on texts.

    Training, release, scoring, export and inference pass it around as one value.  `labels` names the classes
    of each task in the order of its logits, and `event_types` the outputs of the head for events.  The
    tokenizer's truncation is set by whoever uses it.
    """

    classifier: AttentionClassifier
    tokenizer: Tokenizer
    pad_id: int
    labels: Mapping[str, tuple[str, ...]]
    event_types: tuple[str, ...] = ()

    @cached_property
    def unknown_id(self) -> int:
        """The token id for text outside the vocabulary; -1 if the tokenizer has none."""
        ids = map(self.tokenizer.token_to_id, UNKNOWN_TOKENS)
        return next((token_id for token_id in ids if token_id is not None), -1)

    def inputs(self, windows: Sequence[Encoding], counts: Sequence[int] | None = None) -> Inputs:
        """A padded batch on the CPU; `counts` is the number of windows of each text, None for one each."""
        return Inputs.of(windows, self.pad_id, counts)

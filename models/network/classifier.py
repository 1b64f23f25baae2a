"""The classifier: one shared encoder, an attention-pooling head a task, and heads for targets, events and the
text's embedding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor, nn
from torch.nn import functional

from models.network.pooling import POOLINGS, masked_softmax
from models.network.target_heads import TARGET_HEADS


@dataclass(frozen=True)
class Inputs:
    """A batch of texts as the network reads them.

    `ids`, `attention_mask` and `words` are [windows, tokens]: token ids (int64), 1 for tokens and 0 for
    padding (int64), and true for the text's own tokens (special tokens and padding get no attention from the
    pooling).  `windows` [texts] is the number of windows of each text, in order; None means one each.
    """

    ids: Tensor
    attention_mask: Tensor
    words: Tensor
    windows: Sequence[int] | None = None

    @classmethod
    def of(cls, encodings: Sequence[Encoding], pad_id: int, windows: Sequence[int] | None = None) -> "Inputs":
        """Pad tokenised windows into one batch."""
        shape = len(encodings), max(len(encoding) for encoding in encodings)
        ids, attention_mask = np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64)
        words = np.zeros(shape, bool)
        for row, encoding in enumerate(encodings):
            tokens = len(encoding)
            ids[row, :tokens], attention_mask[row, :tokens] = encoding.ids, 1
            words[row, :tokens] = np.asarray(encoding.special_tokens_mask) == 0
        return cls(torch.from_numpy(ids), torch.from_numpy(attention_mask), torch.from_numpy(words), windows)

    def to(self, device: torch.device) -> "Inputs":
        attention_mask = self.attention_mask.to(device)
        return Inputs(self.ids.to(device), attention_mask, self.words.to(device), self.windows)


@dataclass(frozen=True)
class Hidden:
    """Token vectors of a batch; the windows of a text are joined.

    `vectors` are [texts, tokens, width]; `words` and `first` bool [texts, tokens].  Packed `vectors` are
    [slots, width], and `slots` int64 [texts, tokens] is the slot of each token; it is arbitrary for padding.
    `scores` are the scores of a task's pooling for each vector, if the encoder computed them.  `log_weights`
    [texts, tokens] are added to the scores of every pooling: they say how much each token counts.
    """

    vectors: Tensor
    words: Tensor
    first: Tensor
    slots: Tensor | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    log_weights: Tensor | None = None

    def weighed(self, scores: Tensor) -> Tensor:
        """Scores [texts, tokens] or [texts, any, tokens] with the weights of the tokens."""
        if self.log_weights is None:
            return scores
        weights = self.log_weights if scores.ndim == 2 else self.log_weights.unsqueeze(1)
        return scores.float() + weights

    def of_texts(self, texts: Tensor, tokens: int) -> Tensor:
        """The first vectors of some texts, by their indexes int64 [n]: [n, tokens, width]."""
        if self.slots is None:
            return self.vectors[texts, :tokens]
        slots = self.slots[texts, :tokens]
        return self.vectors.index_select(0, slots.flatten()).view(*slots.shape, -1)

    def by_text(self, values: Tensor) -> Tensor:
        """Values of each vector, in the layout of `vectors`, as [texts, tokens, *]."""
        if self.slots is None:
            return values
        return values.index_select(0, self.slots.view(-1)).view(*self.slots.shape, *values.shape[1:])


class Head(nn.Module):
    """Pools the tokens with attention of its own and classifies the pooled vector into `labels` classes."""

    def __init__(self, width: int, labels: int, pooling: str = "additive", dropout: float = 0.1) -> None:
        super().__init__()
        self.kind = pooling
        self.pooling = POOLINGS[pooling](width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, labels)

    def forward(self, hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Logits [texts, labels] and attention weights [texts, tokens], both float32."""
        vectors = hidden.by_text(hidden.vectors)
        pooled, weights = self.pooling(vectors, hidden.words, hidden.first, hidden.log_weights)
        return self.output(self.dropout(pooled)).float(), weights

    def with_contributions(self, hidden: Hidden, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [texts, labels] and contributions to the winning label [texts, tokens], in float32.

        The logits are linear in the pooled vector, which is a weighted sum of token vectors.  So each token
        has a vote W h_t, and the logits are the sum of a_t W h_t.  The contribution of a token is its share
        of the winner's lead over the mean of all labels (weighted by probability).  Multi-head pooling is
        not linear: there the contribution is the attention.  For inference only: without dropout.  `scores`
        are the pooling's scores of the vectors, if they are already known.
        """
        if not self.pooling.is_weighted_sum:
            return self.forward(hidden)
        scores = self.pooling.scores(hidden.vectors) if scores is None else scores
        attended = self.pooling.attended(hidden.words, hidden.first)
        weights = masked_softmax(hidden.weighed(hidden.by_text(scores)), attended)
        votes = hidden.by_text(functional.linear(hidden.vectors, self.output.weight)).float()
        parts = weights.unsqueeze(-1) * votes
        logits = parts.sum(1) + self.output.bias.float()
        share = torch.softmax(logits, dim=-1)
        against_mean = functional.one_hot(logits.argmax(-1), logits.shape[-1]) - share
        return logits, torch.einsum("btl,bl->bt", parts, against_mean)


# The logit of an event before anything is learned: a text reports few of the types, and most report none.
RARE = -4.0


class EventHead(nn.Module):
    """The events that a text reports; there may be several, or none.

    Each type has attention of its own over the tokens, and the attended tokens vote for the type (Mullenbach
    et al. 2018, "Explainable Prediction of Medical Codes from Clinical Text").  Both are one product with the
    token vectors.
    """

    def __init__(self, width: int, types: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.query = nn.Linear(width, types, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, types)
        nn.init.constant_(self.output.bias, RARE)

    def forward(self, hidden: Hidden) -> Tensor:
        """Logits [texts, types] in float32; the sigmoid of one is the probability of that type."""
        weight = torch.cat([self.query.weight, self.output.weight])
        products = functional.linear(self.dropout(hidden.vectors), weight)
        scores, votes = hidden.by_text(products).float().transpose(1, 2).chunk(2, dim=1)
        weights = masked_softmax(hidden.weighed(scores), hidden.words.unsqueeze(1))
        return (weights * votes).sum(-1) + self.output.bias.float()


class EmbeddingHead(nn.Module):
    """A text's embedding: texts that tell the same have similar ones, whatever their mood.

    It is the mean of the projected token vectors, of length 1 (Reimers and Gurevych 2019, "Sentence-BERT").
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.output = nn.Linear(width, size)

    def forward(self, hidden: Hidden) -> Tensor:
        """Embeddings [texts, size] in float32, of length 1."""
        projected = hidden.by_text(functional.linear(hidden.vectors, self.output.weight)).float()
        uniform = torch.zeros(hidden.words.shape, device=projected.device)
        weights = masked_softmax(hidden.weighed(uniform), hidden.words)
        mean = torch.einsum("bt,btd->bd", weights, projected) + self.output.bias.float()
        return functional.normalize(mean, dim=-1)


class AttentionClassifier(nn.Module):
    """One pass of the encoder serves every task, every target, the events and the embedding.

    `encoder` is any Hugging Face encoder whose output has `last_hidden_state` of `width`.  Without
    `event_types`, their number, there is no head for events, and without `embedding_size` none for the
    embedding.
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        labels: Mapping[str, Sequence[str]],
        pooling: str = "additive",
        event_types: int = 0,
        target_head: str = "distance",
        embedding_size: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({task: Head(width, len(names), pooling) for task, names in labels.items()})
        self.target = TARGET_HEADS[target_head](width, len(labels["sentiment"]))
        self.events = EventHead(width, event_types) if event_types else None
        self.embedding = EmbeddingHead(width, embedding_size) if embedding_size else None

    def encode(
        self, inputs: Inputs, embeddings: Tensor | None = None, encoder: nn.Module | None = None
    ) -> Hidden:
        """Run the encoder, or `encoder` in its place, whose output may be packed (`Hidden.slots`).

        `embeddings` [windows, tokens, width] replace the embeddings of the ids.
        """
        tokens = {"input_ids": inputs.ids} if embeddings is None else {"inputs_embeds": embeddings}
        output = (encoder or self.encoder)(**tokens, attention_mask=inputs.attention_mask)
        vectors, slots = output.last_hidden_state, getattr(output, "slots", None)
        words = inputs.words.to(vectors.device)
        first = torch.zeros_like(words)
        first[:, 0] = True
        if inputs.windows is not None:
            words, first = (join_windows(mask, inputs.windows) for mask in (words, first))
            if slots is None:
                vectors = join_windows(vectors, inputs.windows)
            else:
                slots = join_windows(slots, inputs.windows)
        return Hidden(vectors, words, first, slots, getattr(output, "scores", {}))

    def forward(self, inputs: Inputs) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task: logits [texts, labels] and attention weights [texts, tokens]."""
        return self.apply_heads(self.encode(inputs))

    def apply_heads(self, hidden: Hidden) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task: logits [texts, labels] and attention weights [texts, tokens]."""
        return {task: head(hidden) for task, head in self.heads.items()}

    def with_contributions(self, hidden: Hidden) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task: logits [texts, labels] and contributions [texts, tokens]: see Head."""
        return {
            task: head.with_contributions(hidden, hidden.scores.get(task))  # type: ignore[operator]
            for task, head in self.heads.items()
        }


def join_windows(values: Tensor, windows: Sequence[int]) -> Tensor:
    """From [windows, tokens, ...] to [texts, maximum windows x tokens, ...], padded with zeros.

    `windows` is the number of windows of each text.
    """
    maximum, tokens = max(windows), values.shape[1]
    joined = values.new_zeros((len(windows), maximum, *values.shape[1:]))
    start = 0
    for text, count in enumerate(windows):
        joined[text, :count] = values[start : start + count]
        start += count
    return joined.view(len(windows), maximum * tokens, *values.shape[2:])


def span_mask(window: Encoding, places: Sequence[tuple[int, int]]) -> list[bool]:
    """Which tokens of a window overlap one of the places (start, end) of the text."""
    tokens = zip(window.offsets, window.special_tokens_mask, strict=True)
    return [not special and any(a < end and b > start for start, end in places) for (a, b), special in tokens]

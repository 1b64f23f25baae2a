"""The classifier: one shared encoder, one attention-pooling head for each task, one for targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor, nn
from torch.nn import functional

from models.network.pooling import POOLINGS, masked_softmax, scaled_dot_product, weighted_sum


@dataclass(frozen=True)
class Inputs:
    """A batch of texts as the network reads them.

    `ids`, `attend` and `words` are [windows, tokens]: token ids (int64), 1 where there is a token
    (int64), true for the text's own tokens (special tokens and padding take no attention).
    `windows` [texts] counts the windows of each text, in order; None means one each.
    """

    ids: Tensor
    attend: Tensor
    words: Tensor
    windows: Sequence[int] | None = None

    @classmethod
    def of(cls, encodings: Sequence[Encoding], pad_id: int, windows: Sequence[int] | None = None) -> "Inputs":
        """From tokenised windows without padding."""
        shape = len(encodings), max(len(encoding) for encoding in encodings)
        ids, attend = np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64)
        words = np.zeros(shape, bool)
        for row, encoding in enumerate(encodings):
            tokens = len(encoding)
            ids[row, :tokens], attend[row, :tokens] = encoding.ids, 1
            words[row, :tokens] = np.asarray(encoding.special_tokens_mask) == 0
        return cls(torch.from_numpy(ids), torch.from_numpy(attend), torch.from_numpy(words), windows)

    def to(self, device: torch.device) -> "Inputs":
        return Inputs(self.ids.to(device), self.attend.to(device), self.words.to(device), self.windows)


@dataclass(frozen=True)
class Hidden:
    """Token vectors of a batch, the windows of a text side by side.

    `vectors` [texts, tokens, width]; `words` and `first` bool [texts, tokens].  Or packed: `vectors` are
    [places, width], and `at` int64 [texts, tokens] says at which place each token stands, any where none is.
    `scores` are those of a task's pooling for each of `vectors`, where the encoder gave them already.
    """

    vectors: Tensor
    words: Tensor
    first: Tensor
    at: Tensor | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)

    def by_text(self, values: Tensor) -> Tensor:
        """What there is of each of `vectors`, [..., *] as they lie: [texts, tokens, *]."""
        if self.at is None:
            return values
        return values.index_select(0, self.at.view(-1)).view(*self.at.shape, *values.shape[1:])


class Head(nn.Module):
    """Pools the tokens with its own attention and names one of `labels` classes."""

    def __init__(self, width: int, labels: int, pooling: str = "additive", dropout: float = 0.1) -> None:
        super().__init__()
        self.kind = pooling
        self.pooling = POOLINGS[pooling](width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, labels)

    def forward(self, hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Logits [texts, labels] and attention weights [texts, tokens], both float32."""
        pooled, weights = self.pooling(hidden.by_text(hidden.vectors), hidden.words, hidden.first)
        return self.output(self.dropout(pooled)).float(), weights

    def explained(self, hidden: Hidden, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [texts, labels] and what each token did for the label that won [texts, tokens], in float32.

        The logits are linear in the pooled vector, which is a weighted sum of token vectors: so each token
        votes for itself, W h_t, and the text's answer is the sum of a_t W h_t.  What a token did is its part
        of the winner's lead over the mean of all labels (weighted by probability).  Multi-head pooling is
        not linear: there it is the attention.  For inference: without dropout.  `scores` are the pooling's
        own, where they are known.
        """
        if not self.pooling.sums:
            return self.forward(hidden)
        scores = self.pooling.scores(hidden.vectors) if scores is None else scores
        weights = masked_softmax(hidden.by_text(scores), self.pooling.counted(hidden.words, hidden.first))
        votes = hidden.by_text(functional.linear(hidden.vectors, self.output.weight)).float()
        parts = weights.unsqueeze(-1) * votes
        logits = parts.sum(1) + self.output.bias.float()
        share = torch.softmax(logits, dim=-1)
        against_mean = functional.one_hot(logits.argmax(-1), logits.shape[-1]) - share
        return logits, torch.einsum("btl,bl->bt", parts, against_mean)


class TargetHead(nn.Module):
    """The sentiment towards one stretch of a text: what the text says, asked from there.

    The mean vector t of the target's tokens asks all tokens by scaled dot-product attention
    (query W_q t, keys W_k h); context and t together name the label.
    """

    def __init__(self, width: int, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * width, labels)

    def forward(self, hidden: Hidden, text: Tensor, spans: Tensor) -> tuple[Tensor, Tensor]:
        """One answer a target: logits [targets, labels], weights [targets, tokens].

        `text` int64 [targets] says which text of `hidden`; `spans` bool [targets, tokens] where the
        target stands.
        """
        vectors = hidden.vectors[text]
        target = weighted_sum(masked_softmax(vectors.new_zeros(spans.shape), spans), vectors)
        query = self.query(target).unsqueeze(1)
        context, weights = scaled_dot_product(query, self.key(vectors), vectors, hidden.words[text])
        both = torch.cat([context.squeeze(1), target], dim=-1)
        return self.output(self.dropout(both)).float(), weights.squeeze(1)


class AttentionClassifier(nn.Module):
    """One pass of the encoder serves every task and every target.

    `encoder` is any Hugging Face encoder whose output has `last_hidden_state` of `width`.
    """

    def __init__(
        self, encoder: nn.Module, width: int, labels: Mapping[str, Sequence[str]], pooling: str = "additive"
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({task: Head(width, len(names), pooling) for task, names in labels.items()})
        self.target = TargetHead(width, len(labels["sentiment"]))

    def encode(
        self, inputs: Inputs, embeddings: Tensor | None = None, encoder: nn.Module | None = None
    ) -> Hidden:
        """Run the encoder, or another one that stands for it, which may answer packed (`Hidden.at`).

        `embeddings` [windows, tokens, width] stand in for the ids where given.
        """
        given = {"input_ids": inputs.ids} if embeddings is None else {"inputs_embeds": embeddings}
        answer = (encoder or self.encoder)(**given, attention_mask=inputs.attend)
        vectors, at = answer.last_hidden_state, getattr(answer, "at", None)
        words = inputs.words.to(vectors.device)
        first = torch.zeros_like(words)
        first[:, 0] = True
        if inputs.windows is not None:
            words, first = (side_by_side(part, inputs.windows) for part in (words, first))
            if at is None:
                vectors = side_by_side(vectors, inputs.windows)
            else:
                at = side_by_side(at, inputs.windows)
        return Hidden(vectors, words, first, at, getattr(answer, "scores", {}))

    def forward(self, inputs: Inputs) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task: logits [texts, labels] and attention weights [texts, tokens]."""
        return self.judge(self.encode(inputs))

    def judge(self, hidden: Hidden) -> dict[str, tuple[Tensor, Tensor]]:
        return {task: head(hidden) for task, head in self.heads.items()}

    def explained(self, hidden: Hidden) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task: logits [texts, labels] and what each token did for the label that won."""
        return {
            task: head.explained(hidden, hidden.scores.get(task))  # type: ignore[operator]
            for task, head in self.heads.items()
        }


def side_by_side(values: Tensor, windows: Sequence[int]) -> Tensor:
    """[windows, tokens, ...] to [texts, most windows x tokens, ...], zeros where a text has fewer."""
    most, tokens = max(windows), values.shape[1]
    out = values.new_zeros((len(windows), most, *values.shape[1:]))
    at = 0
    for text, count in enumerate(windows):
        out[text, :count] = values[at : at + count]
        at += count
    return out.view(len(windows), most * tokens, *values.shape[2:])


def span_mask(window: Encoding, start: int, end: int) -> list[bool]:
    """Which tokens of a window overlap the characters from `start` to `end` of its text."""
    own = zip(window.offsets, window.special_tokens_mask, strict=True)
    return [not special and a < end and b > start for (a, b), special in own]

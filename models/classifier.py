"""The classifier: one shared encoder, one attention-pooling head for each task."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.attention import AdditivePooling


class Head(nn.Module):
    """Pools the tokens with its own attention and names one of `labels` classes."""

    def __init__(self, width: int, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.pooling = AdditivePooling(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, labels)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [batch, labels] in float32 and attention weights [batch, tokens]."""
        pooled, weights = self.pooling(hidden, mask)
        return self.output(self.dropout(pooled)).float(), weights


class Classifier(nn.Module):
    """One pass of the encoder serves every task.

    `encoder` is any Hugging Face encoder whose output has `last_hidden_state` of `width`.
    """

    def __init__(self, encoder: nn.Module, width: int, labels: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({task: Head(width, len(names)) for task, names in labels.items()})

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, words: Tensor
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """For each task: logits [batch, labels] and attention weights [batch, tokens].

        `input_ids` and `attention_mask` are int64 [batch, tokens]; `words` is bool [batch, tokens],
        true for tokens of the text itself: special tokens and padding take no attention.
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {task: head(hidden, words) for task, head in self.heads.items()}


def pad(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Rows of unequal length as one int64 tensor [rows, longest]."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])

"""Attention pooling: from the vectors of a text's tokens to one vector, with a weight for each token.

Every pooling takes the same three steps: a score for each token, a softmax over the attended tokens, and a
weighted sum of values.  They differ in how the scores are computed.  A text of several windows is no special
case: its tokens are pooled together.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension of `scores` [..., tokens] where `mask` (broadcast) is true.

    Computed in float32.  The weights sum to one over the mask; if the mask is empty, they are zero, not NaN.
    """
    lowest = torch.finfo(torch.float32).min
    weights = torch.softmax(scores.float().masked_fill(~mask, lowest), dim=-1)
    return weights * mask


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(Q K' / sqrt(d)) V (Vaswani et al. 2017, "Attention Is All You Need", equation 1).

    query [..., queries, d], key [..., tokens, d], value [..., tokens, width], mask [..., tokens].
    Returns [..., queries, width] and the weights [..., queries, tokens] in float32.
    """
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    weights = masked_softmax(scores, mask.unsqueeze(-2))
    return weights.to(value.dtype) @ value, weights


def weighted_sum(weights: Tensor, hidden: Tensor) -> Tensor:
    """The sum of hidden [batch, tokens, width], weighted by weights [batch, tokens]: [batch, width]."""
    return torch.bmm(weights.to(hidden.dtype).unsqueeze(1), hidden).squeeze(1)


class Pooling(nn.Module):
    """Base of the poolings: `forward(hidden, words, first, log_weights)`, built from the width of vectors.

    hidden is [batch, tokens, width]; words bool [batch, tokens], true for the text's own tokens;
    first bool [batch, tokens], true for the first token of a window ([CLS]).  `log_weights` [batch, tokens]
    are added to the scores: how much each token counts.
    Returns pooled [batch, width] and weights [batch, tokens] in float32.
    `is_weighted_sum` is false for a pooling whose result is not the weighted sum of the vectors: it has a
    `forward` of its own.
    """

    is_weighted_sum = True

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(
        self, hidden: Tensor, words: Tensor, first: Tensor, log_weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        scores = self.scores(hidden)
        if log_weights is not None:
            scores = scores.float() + log_weights
        weights = masked_softmax(scores, self.attended(words, first))
        return weighted_sum(weights, hidden), weights

    def scores(self, vectors: Tensor) -> Tensor:
        """The score of each token [...] from its vector [..., width]."""
        return vectors.new_zeros(vectors.shape[:-1])

    def attended(self, words: Tensor, first: Tensor) -> Tensor:
        """Which tokens can get attention: bool [batch, tokens]."""
        return words


class MeanPooling(Pooling):
    """The mean of the text's own tokens: equal attention."""


class FirstPooling(Pooling):
    """The vector of the first token, as in BERT's own classifier (Devlin et al. 2019)."""

    def attended(self, words: Tensor, first: Tensor) -> Tensor:
        return first


class AdditivePooling(Pooling):
    """Additive attention with a learned query (Yang et al. 2016, "Hierarchical Attention Networks").

    u_t = tanh(W h_t + b);  a = softmax(v . u);  pooled = sum over t of a_t h_t.
    The form of the score is from Bahdanau et al. 2015.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, 1, bias=False)

    def scores(self, vectors: Tensor) -> Tensor:
        # In float32: on a CPU tanh in half precision takes three times as long.
        keys = torch.tanh(self.key(vectors).float()).to(vectors.dtype)
        scores: Tensor = self.query(keys).squeeze(-1)
        return scores


class ScaledDotProductPooling(Pooling):
    """A learned query against projected keys: a = softmax(q . W h_t / sqrt(width)); values are h."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.key = nn.Linear(width, width)
        self.query = nn.Parameter(torch.randn(1, width))

    def scores(self, vectors: Tensor) -> Tensor:
        query = self.query.to(vectors.dtype)
        return functional.linear(self.key(vectors), query).squeeze(-1) / math.sqrt(query.shape[-1])


class MultiHeadPooling(Pooling):
    """Several learned queries, each over its own slice of keys and values (Vaswani et al. 2017).

    pooled = norm(mean(h) + W_o concat(head_1 ... head_k)): the heads add to the mean as a
    residual.  The weights returned are the mean over the heads.  All tokens count alike.
    """

    is_weighted_sum = False

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__(width)
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, 1, width // heads))
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def attend(self, hidden: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """The output of the heads [batch, width], and their weights [batch, heads, tokens]."""
        batch, tokens, width = hidden.shape
        parts = (batch, tokens, self.heads, width // self.heads)
        key = self.key(hidden).view(parts).transpose(1, 2)
        value = self.value(hidden).view(parts).transpose(1, 2)
        query = self.query.to(hidden.dtype).expand(batch, -1, -1, -1)
        pooled, weights = scaled_dot_product(query, key, value, words.unsqueeze(1))
        return self.output(pooled.reshape(batch, width)), weights.squeeze(2)

    def forward(
        self, hidden: Tensor, words: Tensor, first: Tensor, log_weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        pooled, weights = self.attend(hidden, words)
        mean = weighted_sum(masked_softmax(hidden.new_zeros(words.shape), words), hidden)
        return self.norm(mean + pooled), weights.mean(dim=1)


POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling,
    "first": FirstPooling,
    "additive": AdditivePooling,
    "dot": ScaledDotProductPooling,
    "multihead": MultiHeadPooling,
}

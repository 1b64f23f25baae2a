"""Heads for the sentiment towards one target of a text, such as a name: see TARGET_HEADS."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.pooling import masked_softmax, scaled_dot_product, weighted_sum

if TYPE_CHECKING:
    from models.network.classifier import Hidden

# Upper ends of the ranges of tokens between a target and a token; what is further away is one more range.
DISTANCES = (0, 1, 2, 3, 4, 6, 9, 14, 22, 40)


class TargetHead(nn.Module):
    """Base of the heads: the mean vector of the target's tokens attends to the tokens of the text."""

    # The name in TARGET_HEADS.
    kind: str

    def forward(self, hidden: "Hidden", text: Tensor, spans: Tensor) -> tuple[Tensor, Tensor]:
        """For each target, logits [targets, labels] and attention weights [targets, tokens].

        `text` int64 [targets] is the index of the target's text in `hidden`; `spans` bool [targets, tokens]
        is true for the tokens of the target.  The tokens may be fewer than those of `hidden`, if that is all
        that these texts have.
        """
        tokens = spans.shape[1]
        vectors = hidden.of_texts(text, tokens)
        target = weighted_sum(masked_softmax(vectors.new_zeros(spans.shape), spans), vectors)
        logits, weights = self.classify(target, vectors, hidden.words[text, :tokens], spans)
        return logits.float(), weights

    def classify(
        self, target: Tensor, vectors: Tensor, words: Tensor, spans: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits and attention weights of targets.

        `target` [targets, width] are the mean vectors, `vectors` [targets, tokens, width] the tokens of each
        target's text, `words` and `spans` bool [targets, tokens].
        """
        raise NotImplementedError


class ContentTargetHead(TargetHead):
    """Attends by content alone, with one head.

    The label comes from the context vector and the target's, concatenated.
    """

    kind = "content"

    def __init__(self, width: int, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * width, labels)

    def classify(
        self, target: Tensor, vectors: Tensor, words: Tensor, spans: Tensor
    ) -> tuple[Tensor, Tensor]:
        # Q (W_k h + b) is (Q W_k) h and the same for all tokens, which the softmax ignores: so no key is
        # computed for each token of each target.
        query = (self.query(target) @ self.key.weight).unsqueeze(1)
        context, weights = scaled_dot_product(query, vectors, vectors, words)
        both = torch.cat([context.squeeze(1), target], dim=-1)
        return self.output(self.dropout(both)), weights.squeeze(1)


class DistanceAttention(nn.Module):
    """Multi-head attention from a target to the tokens of its text, by content and by signed distance.

    A head adds a learned bias for the distance, in ranges of tokens before and after the target (Raffel et
    al. 2020, "T5"): what is said of a name mostly stands near it.  Keys and values are linear in the token
    vectors, and there is one query a head: so both projections are moved to the target's side, and the cost
    does not grow with tokens times width squared.
    """

    def __init__(self, asking: int, width: int, size: int, heads: int) -> None:
        """`asking` is the width of what asks, `width` that of the tokens, `size` that of the context."""
        super().__init__()
        self.shape = heads, size // heads
        self.query = nn.Linear(asking, size)
        self.key = nn.Linear(width, size, bias=False)
        self.value = nn.Linear(width, size)
        self.distance = nn.Parameter(torch.zeros(2 * len(DISTANCES) + 1, heads))

    def forward(
        self, asking: Tensor, vectors: Tensor, words: Tensor, distances: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Contexts [targets, size] and weights [targets, heads, tokens].

        `asking` is [targets, asking]; `distances` int64 [targets, tokens] are rows of `distance`.
        """
        query, key = self.query(asking).view(-1, *self.shape), self.key.weight.view(*self.shape, -1)
        content = torch.einsum("nhd,hdw->nhw", query, key) @ vectors.transpose(1, 2)
        scores = content / math.sqrt(self.shape[1]) + self.distance[distances].transpose(1, 2)
        weights = masked_softmax(scores, words.unsqueeze(1))
        summed = weights.to(vectors.dtype) @ vectors
        value = self.value.weight.view(*self.shape, -1)
        return torch.einsum("nhw,hdw->nhd", summed, value).flatten(1) + self.value.bias, weights


class DistanceTargetHead(TargetHead):
    """Attends by content and distance, twice: the second query knows what the first one found.

    The label comes from the target's vector and both contexts (Tang et al. 2016, "Aspect level sentiment
    classification with deep memory network").  The contexts are smaller than the token vectors, so that the
    head has no more weights than the one before it.
    """

    kind = "distance"

    def __init__(
        self, width: int, labels: int, dropout: float = 0.1, size: int = 128, heads: int = 8
    ) -> None:
        super().__init__()
        self.first = DistanceAttention(width, width, size, heads)
        self.second = DistanceAttention(width + size, width, size, heads)
        self.dropout = nn.Dropout(dropout)
        self.inner = nn.Linear(width + 2 * size, size)
        self.output = nn.Linear(size, labels)

    def classify(
        self, target: Tensor, vectors: Tensor, words: Tensor, spans: Tensor
    ) -> tuple[Tensor, Tensor]:
        distances = signed_ranges(spans)
        one, first = self.first(target, vectors, words, distances)
        two, second = self.second(torch.cat([target, one], dim=-1), vectors, words, distances)
        inner = functional.gelu(self.inner(self.dropout(torch.cat([target, one, two], dim=-1))))
        return self.output(self.dropout(inner)), (first + second).mean(1) / 2


def signed_ranges(spans: Tensor) -> Tensor:
    """For each token the range of its distance from the nearest token of the target: int64 [targets, tokens].

    The target's own tokens are in the middle range; before it ranges are smaller, after it larger.
    """
    tokens = spans.shape[1]
    place = torch.arange(tokens, device=spans.device).expand_as(spans)
    far = 2 * tokens + DISTANCES[-1]
    last = place.masked_fill(~spans, -far).cummax(1).values
    following = place.masked_fill(~spans, far).flip(1).cummin(1).values.flip(1)
    after, before = place - last, following - place
    limits = torch.tensor(DISTANCES, device=spans.device)
    ranges = torch.bucketize(torch.minimum(after, before), limits)
    return len(DISTANCES) + torch.where(after <= before, ranges, -ranges)


# By `PartInfo.target_head`.  A folder that does not name its head has the first one.
TARGET_HEADS: dict[str, Any] = {head.kind: head for head in (ContentTargetHead, DistanceTargetHead)}

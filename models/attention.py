"""Attention pooling: from the vectors of a text's tokens to one vector, with weights one can show."""

import torch
from torch import Tensor, nn


class AdditivePooling(nn.Module):
    """Additive attention with a learned query (Yang et al. 2016, "Hierarchical Attention Networks").

    u_t = tanh(W h_t + b);  a = softmax(v . u);  pooled = sum over t of a_t h_t.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool `hidden` [batch, tokens, width] over the tokens where `mask` [batch, tokens] is true.

        Returns pooled [batch, width] and weights [batch, tokens], which sum to one over the mask.
        A row whose mask is empty pools to zeros with zero weights, never to NaN.  The softmax runs
        in float32 whatever the type of `hidden`.
        """
        scores = self.query(torch.tanh(self.key(hidden))).squeeze(-1).float()
        scores = scores.masked_fill(~mask, torch.finfo(torch.float32).min)
        weights = torch.softmax(scores, dim=-1) * mask
        pooled = torch.bmm(weights.to(hidden.dtype).unsqueeze(1), hidden).squeeze(1)
        return pooled, weights

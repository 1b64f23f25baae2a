"""Training losses: partial labels, distillation and R-Drop."""

import torch
from torch import Tensor

# Weight of the loss that pushes probability away from labels outside the options of a row.
OUTSIDE_WEIGHT = 0.3


def allowed_loss(logits: Tensor, allowed: Tensor, among: Tensor, smoothing: float) -> Tensor:
    """Negative log of the summed probability of the allowed labels, given the labels to choose among.

    logits [n, labels], allowed and among bool [n, labels]; returns [n].  With one allowed label among all
    labels this is cross-entropy.  With fewer labels to choose among, the loss of the others is added with
    OUTSIDE_WEIGHT.  `smoothing` is the share of the target spread over all labels to choose among.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    lowest = torch.finfo(log_p.dtype).min
    log_among = log_p.masked_fill(~among, lowest).logsumexp(-1)
    log_allowed = log_p.masked_fill(~allowed, lowest).logsumexp(-1) - log_among
    spread = ((log_p - log_among[:, None]) * among).sum(-1) / among.sum(-1)
    partial = allowed.sum(-1) > 1  # no smoothing: a set does not say how its members share the probability
    mixed = torch.where(partial, log_allowed, (1 - smoothing) * log_allowed + smoothing * spread)
    return -mixed - OUTSIDE_WEIGHT * log_among


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the teacher's probabilities [n, labels], both softened; [n].

    It is scaled by the temperature squared to keep the size of the gradient (Hinton et al. 2015).
    """
    target = torch.softmax(teacher.clamp(min=1e-6).log() / temperature, dim=-1)
    log_p = torch.log_softmax(logits / temperature, dim=-1)
    return (target * (target.log() - log_p)).sum(-1) * temperature**2


def r_drop_loss(first: Tensor, second: Tensor) -> Tensor:
    """R-Drop (Liang et al. 2021): the mean divergence in both directions between two passes with dropout."""
    p, q = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
    both = (p.exp() * (p - q)).sum(-1) + (q.exp() * (q - p)).sum(-1)
    return 0.5 * both.mean()

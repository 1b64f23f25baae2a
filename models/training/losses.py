"""Training losses: partial labels, events, distillation and R-Drop."""

import torch
from torch import Tensor
from torch.nn import functional

# Weight of the loss that pushes probability away from labels outside the options of a row.
OUTSIDE_WEIGHT = 0.3
# Weight of the loss of texts whose topic excludes some types of events, and which say nothing of the others.
PARTLY_KNOWN_WEIGHT = 0.3


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


def loss_without_added(logits: Tensor, allowed: Tensor, among: Tensor, added: Tensor) -> Tensor:
    """Negative log of the summed probability of the allowed labels, as if the `added` ones did not exist.

    It is for rows with a label that was right before a newer one came: what the network says without the
    newer one stays right.  All bool [n, labels] but the logits; returns [n], 0 for rows without added labels.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    lowest = torch.finfo(log_p.dtype).min
    older = log_p.masked_fill(~(allowed & ~added), lowest).logsumexp(-1)
    rest = log_p.masked_fill(~(among & ~added), lowest).logsumexp(-1)
    return torch.where(added.any(-1), rest - older, 0.0)


def event_loss(logits: Tensor, reported: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the types of events and averaged over the texts.

    logits [n, types]; reported [n, types] are 1 for the events that a text reports, or their probabilities,
    and NaN where nobody knows.  Texts of which only some types are known, from their topic, are many and say
    little: they count with PARTLY_KNOWN_WEIGHT.
    """
    known = ~reported.isnan()
    losses = functional.binary_cross_entropy_with_logits(logits, reported.nan_to_num(), reduction="none")
    by_text = (losses * known).sum(-1)
    whole, partly = known.all(-1), known.any(-1) & ~known.all(-1)
    loss = by_text[whole].mean() if whole.any() else logits.new_zeros(())
    return loss + PARTLY_KNOWN_WEIGHT * by_text[partly].mean() if partly.any() else loss


def embedding_loss(embeddings: Tensor, lesson: Tensor) -> Tensor:
    """The mean cosine distance of embeddings from what they should be, both [n, size] and of length 1."""
    return 1 - (embeddings * lesson).sum(-1).mean()


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

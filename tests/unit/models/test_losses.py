"""The losses and learning rates of training, on numbers that are small enough to follow."""

import torch

from models.training.fit import adamw
from models.training.losses import allowed_loss, loss_without_added
from models.training.options import FitOptions

MASK = torch.tensor([[True, False, True], [True, False, False]])
ADDED = torch.tensor([[False, False, True], [False, False, False]])
ALL = torch.ones_like(MASK)


def test_without_the_added_label_the_older_one_is_learned_too() -> None:
    """The first row may be the third label, which came later; else it is the first one."""
    logits = torch.zeros(2, 3, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=0.5)
    for _ in range(200):
        loss = allowed_loss(logits, MASK, ALL, 0.0) + loss_without_added(logits, MASK, ALL, ADDED)
        optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    p = torch.softmax(logits, -1)[0]
    assert p[1] < 0.02 and p[0] / (p[0] + p[1]) > 0.98


def test_rows_without_added_labels_have_no_such_loss() -> None:
    losses = loss_without_added(torch.tensor([[0.1, 2.0, 0.3]] * 2), MASK, ALL, ADDED)
    assert losses[0] > 0 and losses[1] == 0


def test_heads_learn_faster_than_their_encoder_by_the_rate_that_is_asked_for() -> None:
    encoder, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    weights = [*encoder.parameters(), *head.parameters()]
    options = FitOptions(learning_rate=1e-4, head_rate=10, weight_decay=0.01)
    groups = adamw(weights, options, list(encoder.parameters())).param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert [found[id(p)] for p in weights] == [(1e-4, 0.01), (1e-4, 0.0), (1e-3, 0.01), (1e-3, 0.0)]

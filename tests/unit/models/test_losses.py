"""The losses of training, on logits that are small enough to follow."""

import torch

from models.training.losses import allowed_loss, loss_without_added

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

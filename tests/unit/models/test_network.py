"""Attention pooling, batching and quantisation, against their formulas."""

import pytest
import torch

from models.attention import AdditivePooling
from models.batching import token_batches
from models.classifier import pad
from models.weights import pack, unpack


def test_additive_pooling_is_its_formula() -> None:
    torch.manual_seed(1)
    pooling, hidden = AdditivePooling(6), torch.randn(2, 4, 6)
    mask = torch.tensor([[True, True, True, False], [False, True, True, True]])
    pooled, weights = pooling(hidden, mask)
    for row in range(2):
        kept = hidden[row][mask[row]]
        scores = torch.tanh(kept @ pooling.key.weight.T + pooling.key.bias) @ pooling.query.weight[0]
        share = torch.exp(scores) / torch.exp(scores).sum()
        torch.testing.assert_close(weights[row][mask[row]], share)
        torch.testing.assert_close(pooled[row], (share[:, None] * kept).sum(0))
    assert (weights[~mask] == 0).all()


def test_a_row_without_tokens_pools_to_zeros_and_large_scores_stay_finite() -> None:
    pooling = AdditivePooling(3)
    with torch.no_grad():
        pooling.query.weight.fill_(1e30)
    pooled, weights = pooling(torch.randn(2, 5, 3), torch.tensor([[False] * 5, [True] * 5]))
    assert torch.isfinite(pooled).all()
    assert (weights[0] == 0).all() and (pooled[0] == 0).all()
    assert weights[1].sum().item() == pytest.approx(1)


def test_the_gradient_of_the_pooling_is_right() -> None:
    pooling = AdditivePooling(3).double()
    # The softmax runs in float32, so the check needs a coarser step than usual.
    hidden = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda h: pooling(h, mask)[0], hidden, eps=1e-2, atol=2e-2)


def test_batches_hold_every_text_once_longest_first_within_the_budget() -> None:
    batches = token_batches([3, 50, 7, 7, 200, 1], budget=60)
    assert batches == [[4], [1], [2, 3, 0, 5]]
    assert token_batches([], 60) == []


def test_padding_fills_to_the_longest() -> None:
    assert pad([[1, 2, 3], [4]], 0).tolist() == [[1, 2, 3], [4, 0, 0]]


def test_int8_with_a_scale_a_row_is_off_by_half_a_step_at_most() -> None:
    torch.manual_seed(1)
    state = {
        "encoder.dense.weight": torch.randn(20, 30) * torch.logspace(-4, 4, 20)[:, None],
        "encoder.zero.weight": torch.zeros(2, 3),
        "encoder.norm.weight": torch.randn(30),
        "heads.topic.output.weight": torch.randn(4, 30),
    }
    packed = pack(state)
    assert packed["encoder.dense.weight"].dtype is torch.int8
    restored = unpack(packed)
    assert restored.keys() == state.keys()
    step = state["encoder.dense.weight"].abs().amax(1, keepdim=True) / 127
    assert ((restored["encoder.dense.weight"] - state["encoder.dense.weight"]).abs() <= 0.51 * step).all()
    for key in ("encoder.zero.weight", "encoder.norm.weight", "heads.topic.output.weight"):
        assert torch.equal(restored[key], state[key])

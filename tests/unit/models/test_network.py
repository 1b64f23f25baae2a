"""Attention pooling, batching and quantisation, compared with their formulas and torch's own functions."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.inference.batching import packed_batches, token_batches
from models.network.classifier import Head, Hidden, join_windows
from models.network.pooling import (
    POOLINGS,
    AdditivePooling,
    MultiHeadPooling,
    ScaledDotProductPooling,
    masked_softmax,
    scaled_dot_product,
)
from models.network.quantisation import LARGE, pack, unpack
from models.network.target_heads import (
    DISTANCES,
    TARGET_HEADS,
    ContentTargetHead,
    DistanceAttention,
    signed_ranges,
)

MASK = torch.tensor([[False, True, True, False], [False, True, True, True]])
FIRST = torch.tensor([[True, False, False, False]] * 2)


def test_masked_softmax_equals_torch_softmax_where_the_mask_is_true() -> None:
    scores = torch.randn(2, 4)
    weights = masked_softmax(scores, MASK)
    expected = functional.softmax(scores.masked_fill(~MASK, -math.inf), dim=-1)
    torch.testing.assert_close(weights, expected)
    assert (weights[~MASK] == 0).all()


def test_scaled_dot_product_equals_the_function_of_torch() -> None:
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 4, 8), torch.randn(2, 4, 5)
    actual, weights = scaled_dot_product(query, key, value, MASK)
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=MASK.unsqueeze(1))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))


def test_additive_pooling_computes_its_formula() -> None:
    torch.manual_seed(1)
    pooling, hidden = AdditivePooling(6), torch.randn(2, 4, 6)
    pooled, weights = pooling(hidden, MASK, FIRST)
    for row in range(2):
        kept = hidden[row][MASK[row]]
        scores = torch.tanh(kept @ pooling.key.weight.T + pooling.key.bias) @ pooling.query.weight[0]
        share = torch.exp(scores) / torch.exp(scores).sum()
        torch.testing.assert_close(weights[row][MASK[row]], share)
        torch.testing.assert_close(pooled[row], (share[:, None] * kept).sum(0))
    assert (weights[~MASK] == 0).all()


def test_dot_product_pooling_computes_its_formula() -> None:
    pooling, hidden = ScaledDotProductPooling(6), torch.randn(2, 4, 6)
    pooled, weights = pooling(hidden, MASK, FIRST)
    kept = hidden[1][MASK[1]]
    share = torch.softmax(
        (kept @ pooling.key.weight.T + pooling.key.bias) @ pooling.query[0] / math.sqrt(6), 0
    )
    torch.testing.assert_close(weights[1][MASK[1]], share)
    torch.testing.assert_close(pooled[1], (share[:, None] * kept).sum(0))


def test_multi_head_pooling_equals_multi_head_attention_of_torch() -> None:
    torch.manual_seed(2)
    pooling, hidden = MultiHeadPooling(8, heads=2), torch.randn(2, 4, 8)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        # Our queries are learned directly, so torch's must pass them through.
        attention.in_proj_weight.copy_(torch.cat([torch.eye(8), pooling.key.weight, pooling.value.weight]))
        attention.in_proj_bias.copy_(torch.cat([torch.zeros(8), pooling.key.bias, pooling.value.bias]))
        attention.out_proj.weight.copy_(pooling.output.weight)
        attention.out_proj.bias.copy_(pooling.output.bias)
    query = pooling.query.reshape(1, 1, 8).expand(2, 1, 8)
    expected, shares = attention(query, hidden, hidden, key_padding_mask=~MASK, average_attn_weights=False)
    pooled, weights = pooling.attend(hidden, MASK)
    torch.testing.assert_close(pooled, expected.squeeze(1))
    torch.testing.assert_close(weights, shares.squeeze(2))
    result, _ = pooling(hidden, MASK, FIRST)
    mean = torch.stack([hidden[row][MASK[row]].mean(0) for row in range(2)])
    torch.testing.assert_close(result, pooling.norm(mean + pooled))


def test_mean_and_first_pool_the_mean_and_the_first_token() -> None:
    hidden = torch.randn(2, 4, 6)
    mean, _ = POOLINGS["mean"](6)(hidden, MASK, FIRST)
    torch.testing.assert_close(mean[0], hidden[0, 1:3].mean(0))
    first, weights = POOLINGS["first"](6)(hidden, MASK, FIRST)
    torch.testing.assert_close(first, hidden[:, 0])
    assert weights[0].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("kind", POOLINGS)
def test_rows_without_tokens_and_large_scores_stay_finite(kind: str) -> None:
    pooling = POOLINGS[kind](4)
    no_tokens = torch.zeros(2, 5, dtype=torch.bool)
    pooled, weights = pooling(torch.randn(2, 5, 4) * 1e15, no_tokens, no_tokens)
    assert torch.isfinite(pooled).all()
    assert (weights == 0).all()


@pytest.mark.parametrize("kind", POOLINGS)
def test_weights_sum_to_one_over_the_mask_and_half_precision_is_kept(kind: str) -> None:
    pooling = POOLINGS[kind](8).bfloat16()
    pooled, weights = pooling(torch.randn(2, 4, 8).bfloat16(), MASK, FIRST)
    assert pooled.dtype is torch.bfloat16 and weights.dtype is torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(2))


@pytest.mark.parametrize("kind", POOLINGS)
def test_the_gradient_of_the_pooling_is_correct(kind: str) -> None:
    torch.manual_seed(3)
    pooling = POOLINGS[kind](4).double()
    # The softmax runs in float32, so the check needs a coarser step than usual.
    hidden = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    words, first = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[True, False, False]])

    def pooled(vectors: Tensor) -> Tensor:
        return pooling(vectors, words, first)[0]

    assert torch.autograd.gradcheck(pooled, hidden, eps=1e-2, atol=3e-2)


def test_the_content_head_uses_the_target_as_its_query() -> None:
    torch.manual_seed(4)
    head, vectors = ContentTargetHead(6, 3).eval(), torch.randn(2, 4, 6)
    spans = torch.tensor([[False, True, True, False]])
    logits, weights = head(Hidden(vectors, MASK, FIRST), torch.tensor([1]), spans)
    target = vectors[1, 1:3].mean(0)
    kept = vectors[1][MASK[1]]
    scores = head.key(kept) @ head.query(target) / math.sqrt(6)
    context = (torch.softmax(scores, 0)[:, None] * kept).sum(0)
    torch.testing.assert_close(logits[0], head.output(torch.cat([context, target])))
    torch.testing.assert_close(weights[0].sum(), torch.tensor(1.0))


def test_distances_from_a_target_are_signed_ranges_from_its_nearest_token() -> None:
    middle = len(DISTANCES)
    one = torch.tensor([[False, False, True, True, False, False]])
    two = torch.tensor([[True, False, False, False, False, True]])
    assert (signed_ranges(one) - middle).tolist() == [[-2, -1, 0, 0, 1, 2]]
    assert (signed_ranges(two) - middle).tolist() == [[0, 1, 2, -2, -1, 0]]
    first_of_many = torch.arange(200)[None] == 0
    assert (
        signed_ranges(first_of_many).max() == 2 * middle and signed_ranges(first_of_many.flip(1)).min() == 0
    )


def test_the_distance_head_computes_attention_of_several_heads_with_a_bias_for_distance() -> None:
    torch.manual_seed(5)
    attention, vectors = DistanceAttention(6, 6, 4, 2), torch.randn(2, 5, 6)
    nn.init.normal_(attention.distance)
    words = torch.tensor([[True] * 5, [True, True, True, False, False]])
    asking, distances = torch.randn(2, 6), torch.randint(0, 2 * len(DISTANCES), (2, 5))
    context, weights = attention(asking, vectors, words, distances)
    for n in range(2):
        for head, part in enumerate((slice(0, 2), slice(2, 4))):
            query = attention.query(asking[n])[part]
            keys, values = attention.key(vectors[n])[:, part], attention.value(vectors[n])[:, part]
            scores = keys @ query / math.sqrt(2) + attention.distance[distances[n], head]
            expected = torch.softmax(scores.masked_fill(~words[n], -1e9), 0)
            torch.testing.assert_close(weights[n, head], expected)
            torch.testing.assert_close(context[n, part], expected @ values)


@pytest.mark.parametrize("kind", TARGET_HEADS)
def test_the_answer_for_a_target_depends_on_its_own_text_alone(kind: str) -> None:
    torch.manual_seed(6)
    head, vectors = TARGET_HEADS[kind](6, 3).eval(), torch.randn(2, 4, 6)
    hidden = Hidden(vectors, MASK, FIRST)
    spans = torch.tensor([[False, True, False, False], [False, True, True, False]])
    logits, weights = head(hidden, torch.tensor([0, 1]), spans)
    alone, _ = head(hidden, torch.tensor([1]), spans[1:])
    torch.testing.assert_close(logits[1], alone[0])
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[~MASK] == 0).all()


def test_the_windows_of_a_text_are_joined() -> None:
    windows = torch.arange(12).view(3, 4)
    assert join_windows(windows, [2, 1]).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 0, 0, 0, 0]]


def test_batches_hold_every_text_once_largest_first_and_within_the_budget() -> None:
    shapes = [(1, 3), (1, 50), (1, 7), (1, 7), (1, 200), (1, 1)]
    assert token_batches(shapes, budget=60) == [[4], [1], [2, 3, 0, 5]]
    assert token_batches([], 60) == []


def test_every_window_of_a_long_text_counts_towards_the_budget() -> None:
    assert token_batches([(1, 10), (3, 10), (1, 10)], budget=40) == [[1, 0], [2]]


def test_the_error_of_int8_weights_is_at_most_half_a_step() -> None:
    torch.manual_seed(1)
    large = torch.randn(20, LARGE // 20 + 1) * torch.logspace(-4, 4, 20)[:, None]
    state = {
        "encoder.dense.weight": large,
        "encoder.zero.weight": torch.zeros_like(large),
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


def test_packed_groups_have_about_equal_sizes_and_mix_long_and_short_texts() -> None:
    sizes = [30] * 40 + [12] * 60
    groups = packed_batches(sizes, budget=1000, wide=64)
    assert len(groups) == 2
    for group in groups:
        assert sum(sizes[i] for i in group) == pytest.approx(960, abs=30)
        assert {sizes[i] for i in group} == {12, 30}


@pytest.mark.parametrize(
    ("sizes", "most_groups"),
    [
        ([500, *[10] * 60, 90], 2),
        ([3000, 10], 2),
        ([3000, 2000, 1000, *[10] * 10], 4),
        ([700, 600, 20], 2),
        ([999, 999, 2], 3),
        ([], 0),
    ],
)
def test_texts_that_need_wide_rows_share_few_groups_within_the_budget(
    sizes: list[int], most_groups: int
) -> None:
    groups = packed_batches(sizes, budget=1000, wide=64)
    assert len(groups) <= most_groups
    assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
    for group in groups:
        assert group
        assert sum(sizes[i] for i in group) <= 1000 or len(group) == 1
    wide_groups = [index for index, group in enumerate(groups) if any(sizes[i] > 64 for i in group)]
    assert wide_groups == list(range(len(wide_groups)))


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("packed", [False, True])
def test_token_contributions_sum_to_the_lead_of_the_winning_label(kind: str, packed: bool) -> None:
    torch.manual_seed(5)
    head, vectors = Head(8, 3, kind).eval(), torch.randn(2, 4, 8)
    hidden = Hidden(vectors, MASK, FIRST)
    # A packed encoder returns the tokens in another order, with other slots between them.
    flat, slots = torch.randn(11, 8), torch.tensor([[9, 2, 0, 4], [1, 10, 3, 7]])
    flat[slots] = vectors
    logits, weights = head(hidden)
    encoded = Hidden(flat, MASK, FIRST, slots) if packed else hidden
    same_logits, contributions = head.with_contributions(encoded)
    torch.testing.assert_close(same_logits, logits)
    if kind == "multihead":
        torch.testing.assert_close(contributions, weights)
        return
    share = torch.softmax(logits, -1)
    matrix = head.output.weight
    lead = matrix[logits.argmax(-1)] - share @ matrix
    torch.testing.assert_close(contributions, weights * torch.einsum("btw,bw->bt", vectors, lead))
    pooled = torch.einsum("bt,btw->bw", weights, vectors)
    torch.testing.assert_close(contributions.sum(-1), (pooled * lead).sum(-1))
